"""A member of a group, with one of the Python clients. It says which partitions it gains and loses or, once thrown out,
forfeits (or which ones it owns from now on), with the machine's monotonic clock in ns, and partition and offset of each
record that it has processed; then it commits. SIGTERM has it leave.

member.py CLIENT BOOTSTRAP GROUP TOPIC PROTOCOL [INSTANCE]
member.py fill BOOTSTRAP TOPIC PARTITIONS RECORDS
"""

import asyncio
import signal
import sys
import time

# Slow enough that there is something left to process when everything has happened.
SECONDS_A_RECORD = 0.008
RECORDS_A_COMMIT = 20

is_running = True


def stop(_signal, _frame):
    global is_running
    is_running = False


def say(*words):
    print(*words, flush=True)


def tell(word, partitions):
    say(word, *(p.partition for p in partitions), f"@{time.monotonic_ns()}")


def process(partition, offset):
    time.sleep(SECONDS_A_RECORD)
    say(partition, offset)


def fill(bootstrap, topic, partitions, records):
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, int(partitions), 1)])[topic].result(30)
    producer = Producer({"bootstrap.servers": bootstrap, "topic.metadata.propagation.max.ms": 30000})
    for i in range(int(records)):
        for partition in range(int(partitions)):
            producer.produce(topic, b"%d" % i, partition=partition)
        producer.poll(0)
    assert producer.flush(30) == 0


def confluent(bootstrap, group, topic, protocol, instance):
    from confluent_kafka import Consumer, KafkaException

    config = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "reconnect.backoff.max.ms": 500,
    }
    if instance:
        config["group.instance.id"] = instance
    if protocol == "consumer":
        config["group.protocol"] = "consumer"
    else:
        strategy = "cooperative-sticky" if protocol == "cooperative" else "range"
        # A static one that takes its own session for over, before it has found the broker again, fences itself for good
        # (librdkafka's issue 3437).
        times = {"session.timeout.ms": 18000 if instance else 6000, "heartbeat.interval.ms": 500}
        config |= {**times, "group.protocol": "classic", "partition.assignment.strategy": strategy}
    member = Consumer(config)

    def told(word):
        return lambda _, partitions: tell(word, partitions)

    member.subscribe([topic], on_assign=told("gained"), on_revoke=told("lost"), on_lost=told("forfeited"))
    processed = 0
    while is_running:
        message = member.poll(0.2)
        if message is not None and message.error() is None:
            process(message.partition(), message.offset())
            processed += 1
        if processed and (message is None or processed >= RECORDS_A_COMMIT):
            processed = 0
            try:
                member.commit(asynchronous=False)
            except KafkaException as e:
                say("# not committed:", e)
    member.close()


async def aiokafka(bootstrap, group, topic, _protocol, instance):
    from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
    from aiokafka.errors import KafkaConnectionError, KafkaError

    class Listener(ConsumerRebalanceListener):
        def on_partitions_assigned(self, assigned):
            tell("gained", assigned)

        def on_partitions_revoked(self, revoked):
            tell("lost", revoked)

    # It gives up at once where nobody listens.
    while True:
        member = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
            session_timeout_ms=6000, heartbeat_interval_ms=500, group_instance_id=instance or None)
        member.subscribe([topic], listener=Listener())
        try:
            await member.start()
            break
        except KafkaConnectionError:
            await member.stop()
            await asyncio.sleep(0.2)
    while is_running:
        for partition, records in (await member.getmany(timeout_ms=200, max_records=RECORDS_A_COMMIT)).items():
            for record in records:
                process(partition.partition, record.offset)
        try:
            await member.commit()
        except KafkaError as e:
            say("# not committed:", e)
    await member.stop()


signal.signal(signal.SIGTERM, stop)
client, bootstrap, *rest = sys.argv[1:]
if client == "fill":
    fill(bootstrap, *rest)
else:
    group, topic, protocol, *instance = rest
    clients = {"confluent": confluent, "aiokafka": aiokafka}
    ended = clients[client](bootstrap, group, topic, protocol, instance[0] if instance else "")
    if ended is not None:
        asyncio.run(ended)
    say("# left")
