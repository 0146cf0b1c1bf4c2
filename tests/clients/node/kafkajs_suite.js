// kafkajs: older versions of most messages, offsets as strings, codecs in JavaScript. Prints a line for each check, then
// the count that tests/clients.rs reads. Topics get fresh names, so that the suite can be repeated against one broker.
'use strict';

const assert = require('node:assert/strict');
const { randomBytes } = require('node:crypto');
const kafkajs = require('kafkajs');
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel, Partitioners } = kafkajs;
const lz4 = require('lz4js');
const { ZstdCodec } = require('zstd-codec');

const SECONDS_MAX = 60;
const BASE_MS = Math.floor(Date.now() / 1000) * 1000 - 3600_000;
const CODECS = ['None', 'GZIP', 'Snappy', 'LZ4', 'ZSTD'];

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy');
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => lz4Stored(encoder.buffer),
  decompress: async (buffer) => Buffer.from(lz4.decompress(buffer)),
});
// lz4js writes dependent blocks, which Kafka refuses: a frame of stored, independent blocks of 64 KiB instead.
function lz4Stored(bytes) {
  const parts = [Buffer.from('04224d18604082', 'hex')];
  for (let at = 0; at < bytes.length; at += 65536) {
    const block = bytes.subarray(at, at + 65536);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(block.length + 0x80000000);
    parts.push(length, block);
  }
  return Buffer.concat([...parts, Buffer.alloc(4)]);
}

const zstd = new Promise((resolve) => ZstdCodec.run((z) => resolve(new z.Simple())));
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from((await zstd).compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from((await zstd).decompress(buffer)),
});

const [bootstrap, ...wanted] = process.argv.slice(2);
const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 3 } });
const admin = kafka.admin();
const checks = [];
const check = (name, run) => checks.push({ name, run });
const topicName = (label) => `kafkajs-${label}-${randomBytes(4).toString('hex')}`;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function eventually(condition, what) {
  for (let i = 0; i < 200; i++) {
    if (await condition()) return;
    await pause(50);
  }
  assert.fail(`never: ${what}`);
}

async function hasLeaders(topic) {
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    return topics[0].partitions.every((p) => p.leader >= 0);
  } catch {
    return false;
  }
}

async function make(label, numPartitions = 1, config = {}) {
  const topic = topicName(label);
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value: String(value) }));
  const created = await admin.createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions, configEntries }] });
  assert.equal(created, true);
  await eventually(() => hasLeaders(topic), `leaders of ${topic}`);
  return topic;
}

// Null and empty keys and values, repeated and random-looking bytes, repeated headers.
function sample(count) {
  return Array.from({ length: count }, (_, i) => ({
    key: [null, Buffer.alloc(0), Buffer.from(`key-${i}`), Buffer.from(`schlüssel-${i}`)][i % 4],
    value: [Buffer.from(`value ${i}`), null, Buffer.alloc(0), Buffer.alloc(i % 977, 'x'), noise(i % 211, i)][i % 5],
    headers: [{}, { a: ['1', '2'] }, { b: 'ü', empty: '' }][i % 3],
    timestamp: String(BASE_MS + i * 10),
    partition: 0,
  }));
}

const noise = (length, seed) => Buffer.from(Array.from({ length }, (_, j) => (seed * 31 + j * 17) % 256));

async function withProducer(options, use) {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...options });
  await producer.connect();
  try {
    return await use(producer);
  } finally {
    await producer.disconnect();
  }
}

// kafkajs has no consumer without a group, and groups are not what is tested here: Fetch is called on the broker object
// that its consumer uses.
async function withCluster(use) {
  const [createCluster] = Object.getOwnPropertySymbols(kafka).filter((s) => /createCluster/.test(String(s)));
  const cluster = kafka[createCluster]({ metadataMaxAge: 300_000, isolationLevel: 0 });
  await cluster.connect();
  try {
    return await use(cluster);
  } finally {
    await cluster.disconnect();
  }
}

async function read(topic, from = 0, partition = 0) {
  return withCluster(async (cluster) => {
    await cluster.addTargetTopic(topic);
    const leader = cluster.findLeaderForPartitions(topic, [partition]);
    const broker = await cluster.findBroker({ nodeId: Object.keys(leader)[0] });
    const found = [];
    let fetchOffset = BigInt(from);
    for (;;) {
      const partitions = [{ partition, fetchOffset: String(fetchOffset), maxBytes: 1048576 }];
      const response = await broker.fetch({
        replicaId: -1,
        maxWaitTime: 100,
        minBytes: 1,
        maxBytes: 10485760,
        isolationLevel: 0,
        topics: [{ topic, partitions }],
        rackId: '',
      });
      const [{ highWatermark, messages }] = response.responses[0].partitions;
      for (const m of messages) if (BigInt(m.offset) >= fetchOffset) found.push(m);
      if (found.length > 0) fetchOffset = BigInt(found[found.length - 1].offset) + 1n;
      if (fetchOffset >= BigInt(highWatermark)) return found;
    }
  });
}

function same(found, records) {
  assert.equal(found.length, records.length);
  found.forEach((m, i) => {
    const r = records[i];
    const headers = Object.fromEntries(Object.entries(m.headers).map(([k, v]) => [k, Array.isArray(v) ? v.map(String) : String(v)]));
    assert.deepEqual([m.offset, m.key, m.value, headers, m.timestamp], [String(i), r.key, r.value, r.headers, r.timestamp]);
  });
}

const refused = (type, call) =>
  assert.rejects(call, (e) => {
    const seen = e.type || (e.errors && e.errors[0] && e.errors[0].type);
    assert.equal(seen, type, String(e));
    return true;
  });

check('cluster is described', async () => {
  const { brokers, controller, clusterId } = await admin.describeCluster();
  assert.deepEqual(brokers.map((b) => `${b.host}:${b.port}`), [bootstrap]);
  assert.equal(controller, brokers[0].nodeId);
  assert.equal(clusterId.length, 22);
});

check('topics are administered', async () => {
  const topic = await make('admin', 2, { 'retention.ms': 5000000 });
  assert.equal(await admin.createTopics({ topics: [{ topic }] }), false);
  await refused('INVALID_TOPIC_EXCEPTION', () => admin.createTopics({ topics: [{ topic: 'bad name' }] }));
  await refused('INVALID_CONFIG', () =>
    admin.createTopics({ topics: [{ topic: topicName('x'), configEntries: [{ name: 'retention.ms', value: '?' }] }] }));
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] });
  const partitions = async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length;
  await eventually(async () => (await partitions()) === 3, 'three partitions');
  await refused('INVALID_PARTITIONS', () => admin.createPartitions({ topicPartitions: [{ topic, count: 2 }] }));
  await admin.createTopics({ validateOnly: true, waitForLeaders: false, topics: [{ topic: topicName('dry') }] });
  assert((await admin.listTopics()).includes(topic));
  await admin.deleteTopics({ topics: [topic] });
  await eventually(async () => !(await admin.listTopics()).includes(topic), 'topic gone');
});

check('configs are described and altered', async () => {
  const topic = await make('config');
  const type = ConfigResourceTypes.TOPIC;
  const value = async (name) => {
    const { resources } = await admin.describeConfigs({ includeSynonyms: true, resources: [{ type, name: topic }] });
    return resources[0].configEntries.find((e) => e.configName === name);
  };
  assert.equal((await value('segment.bytes')).configValue, '1073741824');
  await admin.alterConfigs({ resources: [{ type, name: topic, configEntries: [{ name: 'retention.ms', value: '777000' }] }] });
  await eventually(async () => (await value('retention.ms')).configValue === '777000', 'altered');
  assert.equal((await value('retention.ms')).isDefault, false);
});

check('records come back identical through each codec', async () => {
  const records = sample(500);
  for (const codec of CODECS) {
    const topic = await make(codec);
    await withProducer({}, async (p) => {
      const [result] = await p.send({ topic, compression: CompressionTypes[codec], messages: records });
      assert.deepEqual([result.errorCode, result.baseOffset], [0, '0']);
    });
    same(await read(topic), records);
  }
});

check('acks of each kind with and without idempotence', async () => {
  for (const [acks, idempotent] of [[0, false], [1, false], [-1, false], [-1, true]]) {
    const topic = await make('acks');
    await withProducer({ idempotent, maxInFlightRequests: 1 }, async (p) => {
      for (let i = 0; i < 5; i++) await p.send({ topic, acks, messages: sample(10) });
    });
    await eventually(async () => (await read(topic)).length === 50, '50 records');
    same((await read(topic)).slice(0, 10), sample(10));
  }
});

check('large records come back identical', async () => {
  const topic = await make('large', 1, { 'max.message.bytes': 8_000_000 });
  // The second is in a request of its own and larger than the 1 MiB that are fetched of a partition by default.
  const records = [900_000, 5_000_000, 10].map((length, i) => ({
    key: Buffer.from(`large-${i}`), value: randomBytes(length), headers: { n: String(i) }, timestamp: String(BASE_MS + i),
  }));
  for (const codec of ['None', 'GZIP']) {
    await withProducer({}, async (p) => {
      for (const record of records) await p.send({ topic, compression: CompressionTypes[codec], messages: [record] });
    });
  }
  same(await read(topic), [...records, ...records]);
});

check('a record too large is refused', async () => {
  const topic = await make('large', 1, { 'max.message.bytes': 50000 });
  await withProducer({}, async (p) => {
    await p.send({ topic, messages: [{ value: 'x'.repeat(49000) }] });
    await refused('MESSAGE_TOO_LARGE', () => p.send({ topic, messages: [{ value: 'x'.repeat(51000) }] }));
  });
});

check('the broker stamps log append time', async () => {
  const topic = await make('stamped', 1, { 'message.timestamp.type': 'LogAppendTime' });
  await withProducer({}, (p) => p.send({ topic, messages: sample(10) }));
  for (const m of await read(topic)) assert(Number(m.timestamp) > BASE_MS + 1800_000, m.timestamp);
});

check('offsets are found by time', async () => {
  const topic = await make('offsets', 2);
  await withProducer({}, (p) => p.send({ topic, messages: sample(100) }));
  const ends = (await admin.fetchTopicOffsets(topic)).sort((a, b) => a.partition - b.partition);
  assert.deepEqual(ends, [
    { partition: 0, offset: '100', high: '100', low: '0' },
    { partition: 1, offset: '0', high: '0', low: '0' },
  ]);
  const found = await admin.fetchTopicOffsetsByTimestamp(topic, BASE_MS + 455);
  assert.equal(found.find((f) => f.partition === 0).offset, '46');
});

check('reading from the middle', async () => {
  const topic = await make('middle');
  await withProducer({}, async (p) => {
    for (let i = 0; i < 10; i++) {
      await p.send({ topic, compression: CompressionTypes.GZIP, messages: sample(20) });
    }
  });
  const found = await read(topic, 133);
  assert.equal(found[0].offset, '133');
  assert.equal(found.length, 67);
});

check('an offset out of range is refused', async () => {
  const topic = await make('range');
  await withProducer({}, (p) => p.send({ topic, messages: sample(10) }));
  await refused('OFFSET_OUT_OF_RANGE', () => read(topic, 11));
});

check('records are deleted up to an offset', async () => {
  const topic = await make('trim');
  await withProducer({}, (p) => p.send({ topic, messages: sample(100) }));
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '70' }] });
  assert.equal((await read(topic, 70)).length, 30);
  await refused('OFFSET_OUT_OF_RANGE', () => read(topic, 69));
  assert.equal((await admin.fetchTopicOffsets(topic))[0].low, '70');
});

check('many topics in one batch', async () => {
  const topics = await Promise.all(Array.from({ length: 10 }, (_, i) => make(`batch-${i}`, 4)));
  await withProducer({ idempotent: true, maxInFlightRequests: 1 }, (p) =>
    p.sendBatch({
      topicMessages: topics.map((topic) => ({
        topic,
        messages: [0, 1, 2, 3].map((partition) => ({ partition, value: `${topic} ${partition}` })),
      })),
    }));
  for (const topic of topics) {
    for (const partition of [0, 3]) {
      assert.equal(String((await read(topic, 0, partition))[0].value), `${topic} ${partition}`);
    }
  }
});

async function main() {
  let passed = 0;
  let failed = 0;
  await admin.connect();
  for (const { name, run } of checks) {
    if (wanted.length > 0 && !wanted.some((word) => name.includes(word))) continue;
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no result within ${SECONDS_MAX} s`)), SECONDS_MAX * 1000);
    });
    const begin = Date.now();
    try {
      await Promise.race([run(), late]);
      passed += 1;
      console.log(`ok ${name} (${((Date.now() - begin) / 1000).toFixed(1)} s)`);
    } catch (e) {
      failed += 1;
      console.log(`FAIL ${name}\n${e.stack}`);
    }
    clearTimeout(timer);
  }
  await admin.disconnect();
  console.log(`kafkajs: ${passed} passed, ${failed} failed, 0 skipped`);
  process.exit(failed > 0 ? 1 : 0);
}

main();
