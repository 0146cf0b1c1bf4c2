"""aiokafka: the asyncio client, with older versions of the messages than the others send."""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError, OffsetOutOfRangeError

from checks import BASE_MS, CODECS, Suite, equal
from checks import plain_sample as sample

suite = Suite("aiokafka")


async def with_admin(call):
    admin = AIOKafkaAdminClient(bootstrap_servers=suite.bootstrap)
    await admin.start()
    try:
        return await call(admin)
    finally:
        await admin.close()


async def make(label, partitions=1, **config):
    name = suite.topic(label)
    config = {k.replace("_", "."): str(v) for k, v in config.items()}
    response = await with_admin(lambda a: a.create_topics([NewTopic(name, partitions, 1, topic_configs=config)]))
    equal([error[1] for error in response.topic_errors], [0])
    await eventually_async(lambda: described(name), f"{name} with a leader")
    return name


async def described(name):
    (topic,) = await with_admin(lambda a: a.describe_topics([name]))
    return topic["error_code"] == 0 and topic["partitions"]


async def eventually_async(condition, what):
    for _ in range(200):
        value = await condition()
        if value:
            return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"never: {what}")


async def send(topic, records, partition=0, **config):
    p = AIOKafkaProducer(bootstrap_servers=suite.bootstrap, **config)
    await p.start()
    try:
        futures = [
            await p.send(topic, value, key, partition, timestamp, headers) for key, value, headers, timestamp in records
        ]
        return await asyncio.gather(*futures)
    finally:
        await p.stop()


async def read(topic, count, partition=0, offset=0, **config):
    c = AIOKafkaConsumer(bootstrap_servers=suite.bootstrap, group_id=None, enable_auto_commit=False, **config)
    await c.start()
    try:
        tp = TopicPartition(topic, partition)
        c.assign([tp])
        c.seek(tp, offset)
        return [await asyncio.wait_for(c.getone(), 20) for _ in range(count)]
    finally:
        await c.stop()


def check_same(seen, records):
    equal(len(seen), len(records))
    for i, (m, (key, value, headers, timestamp)) in enumerate(zip(seen, records)):
        equal((m.offset, m.key, m.value, list(m.headers), m.timestamp), (i, key, value, headers, timestamp))


@suite
async def topics_are_administered():
    name = await make("admin", 2, retention_ms=5000000)
    response = await with_admin(lambda a: a.create_topics([NewTopic(name, 2, 1)]))
    equal([error[1] for error in response.topic_errors], [36])
    await with_admin(lambda a: a.create_partitions({name: NewPartitions(3)}))

    async def grown():
        return len(await described(name)) == 3

    await eventually_async(grown, "three partitions")
    resource = ConfigResource(ConfigResourceType.TOPIC, name)
    (response,) = await with_admin(lambda a: a.describe_configs([resource]))
    values = {entry[0]: entry[1] for entry in response.resources[0][4]}
    equal(values["retention.ms"], "5000000")
    await with_admin(
        lambda a: a.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": "6000000"})])
    )

    async def altered():
        (response,) = await with_admin(lambda a: a.describe_configs([resource]))
        return {entry[0]: entry[1] for entry in response.resources[0][4]}["retention.ms"] == "6000000"

    await eventually_async(altered, "altered")
    response = await with_admin(lambda a: a.delete_topics([name]))
    equal([error[1] for error in response.topic_error_codes], [0])


@suite
async def cluster_is_described():
    cluster = await with_admin(lambda a: a.describe_cluster())
    equal([b["port"] for b in cluster["brokers"]], [suite.port])


@suite
async def records_come_back_identical_through_each_codec():
    records = sample(1000)
    for codec in CODECS:
        name = await make(f"codec-{codec}")
        sent = await send(name, records, compression_type=None if codec == "none" else codec, linger_ms=20)
        equal([s.offset for s in sent], list(range(1000)))
        check_same(await read(name, 1000), records)


@suite
async def acks_of_each_kind_with_and_without_idempotence():
    for config in [{"acks": 0}, {"acks": 1}, {"acks": "all"}, {"enable_idempotence": True}]:
        name = await make("acks")
        await send(name, sample(100), **config)
        check_same(await read(name, 100), sample(100))


@suite
async def a_large_record_passes():
    name = await make("megabyte", max_message_bytes=2_000_000)
    large = [(None, bytes(range(256)) * 4000, [], BASE_MS)]
    await send(name, large, max_request_size=2_000_000)
    check_same(await read(name, 1, max_partition_fetch_bytes=2_000_000), large)


@suite
async def min_insync_replicas_counts_no_more_than_there_can_be():
    name = await make("isr", min_insync_replicas=2)
    await send(name, sample(10), acks="all")
    check_same(await read(name, 10), sample(10))


@suite
async def a_record_too_large_is_refused():
    name = await make("large", max_message_bytes=50000)
    try:
        await send(name, [(None, b"x" * 51000, [], BASE_MS)])
    except MessageSizeTooLargeError:
        return
    raise AssertionError("accepted")


@suite
async def the_broker_stamps_log_append_time():
    name = await make("stamped", message_timestamp_type="LogAppendTime")
    await send(name, sample(10))
    for m in await read(name, 10):
        equal(m.timestamp_type, 1)
        assert m.timestamp > BASE_MS + 1_000_000


@suite
async def offsets_are_found_by_time():
    name = await make("offsets", 2)
    await send(name, sample(100), compression_type="gzip", linger_ms=20)
    c = AIOKafkaConsumer(bootstrap_servers=suite.bootstrap, enable_auto_commit=False)
    await c.start()
    zero, one = TopicPartition(name, 0), TopicPartition(name, 1)
    c.assign([zero, one])
    equal(await c.beginning_offsets([zero, one]), {zero: 0, one: 0})
    equal(await c.end_offsets([zero, one]), {zero: 100, one: 0})
    found = await c.offsets_for_times({zero: BASE_MS + 455, one: 0})
    equal((found[zero].offset, found[zero].timestamp, found[one]), (46, BASE_MS + 460, None))
    await c.stop()


@suite
async def reading_from_the_middle_and_out_of_range():
    name = await make("middle")
    records = sample(300)
    await send(name, records, linger_ms=20, compression_type="zstd")
    (m,) = await read(name, 1, offset=123)
    equal((m.offset, m.value), (123, records[123][1]))
    try:
        await read(name, 1, offset=301, auto_offset_reset="none")
    except OffsetOutOfRangeError:
        return
    raise AssertionError("no error")


@suite
async def records_are_deleted_up_to_an_offset():
    name = await make("trim")
    await send(name, sample(100))
    tp = TopicPartition(name, 0)
    equal(await with_admin(lambda a: a.delete_records({tp: RecordsToDelete(before_offset=70)})), {tp: 70})
    (m,) = await read(name, 1, offset=3, auto_offset_reset="earliest")
    equal(m.offset, 70)


@suite
async def a_waiting_reader_is_woken():
    name = await make("poll")
    reading = asyncio.create_task(read(name, 3, fetch_max_wait_ms=5000))
    await asyncio.sleep(0.5)
    await send(name, sample(3))
    check_same(await reading, sample(3))


suite.run()
