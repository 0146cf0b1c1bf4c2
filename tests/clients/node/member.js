// A member of a group with kafkajs: what member.py says of itself, in JavaScript.
//
// member.js BOOTSTRAP GROUP TOPIC
'use strict';

const { Kafka, logLevel } = require('kafkajs');

const MS_A_RECORD = 8;
const RECORDS_A_COMMIT = 20;

const [bootstrap, groupId, topic] = process.argv.slice(2);
const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { maxRetryTime: 500, retries: 1000 } });
const member = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 200 });
const say = (...words) => process.stdout.write(`${words.join(' ')}\n`);

async function main() {
  member.on(member.events.GROUP_JOIN, ({ payload }) => {
    say('owns', ...(payload.memberAssignment[topic] ?? []));
  });
  process.on('SIGTERM', async () => {
    await member.disconnect();
    say('# left');
    process.exit(0);
  });
  await member.connect();
  await member.subscribe({ topic, fromBeginning: true });
  await member.run({
    autoCommitThreshold: RECORDS_A_COMMIT,
    eachMessage: async ({ partition, message }) => {
      await new Promise((resolve) => setTimeout(resolve, MS_A_RECORD));
      say(partition, message.offset);
    },
  });
}

main();
