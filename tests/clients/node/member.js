// A member of a group with kafkajs: what member.py says of itself, in JavaScript.
//
// member.js BOOTSTRAP GROUP TOPIC
'use strict';

const { Kafka, logLevel } = require('kafkajs');

const MS_A_RECORD = 8;
const RECORDS_A_COMMIT = 20;
const CONNECT_MS_MAX = 5_000;

const [bootstrap, groupId, topic] = process.argv.slice(2);
const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { maxRetryTime: 500, retries: 1000 } });
const say = (...words) => process.stdout.write(`${words.join(' ')}\n`);

// One that is connected. A connection that breaks while it is made can leave kafkajs waiting for ever.
async function connected() {
  for (;;) {
    const member = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 200 });
    const connecting = member.connect().then(() => member.subscribe({ topic, fromBeginning: true }));
    const late = new Promise((resolve) => setTimeout(resolve, CONNECT_MS_MAX, 'late'));
    if (await Promise.race([connecting, late]) !== 'late') return member;
  }
}

async function main() {
  const member = await connected();
  member.on(member.events.GROUP_JOIN, ({ payload }) => {
    say('owns', ...(payload.memberAssignment[topic] ?? []));
  });
  process.on('SIGTERM', async () => {
    await member.disconnect();
    say('# left');
    process.exit(0);
  });
  await member.run({
    autoCommitThreshold: RECORDS_A_COMMIT,
    eachMessage: async ({ partition, message }) => {
      await new Promise((resolve) => setTimeout(resolve, MS_A_RECORD));
      say(partition, message.offset);
    },
  });
}

main();
