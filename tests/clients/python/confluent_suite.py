"""confluent-kafka (librdkafka, current): producing, reading by assigned partitions, and its whole admin client."""

import time

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    ElectionType,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)
from confluent_kafka import TopicCollection

from checks import BASE_MS, CODECS, Suite, equal, eventually, sample

suite = Suite("confluent")
admin = AdminClient({"bootstrap.servers": suite.bootstrap})


def done(futures):
    """The single result of an admin call that returned one future for each resource."""
    (future,) = futures.values()
    return future.result(30)


def refused(code, call, text=None):
    try:
        call()
    except KafkaException as e:
        equal(e.args[0].code(), code, e.args[0].str())
        if text is not None:
            equal(e.args[0].str(), text)
        return
    raise AssertionError(f"expected error {code}")


def make(label, partitions=1, **config):
    name = suite.topic(label)
    config = {k.replace("_", "."): str(v) for k, v in config.items()}
    done(admin.create_topics([NewTopic(name, partitions, 1, config=config)]))
    eventually(lambda: len(metadata_of(name)) == partitions, f"metadata of {name}")
    return name


def metadata_of(name):
    return admin.list_topics(name, 10).topics[name].partitions


def producer(**config):
    return Producer({"bootstrap.servers": suite.bootstrap, **{k.replace("_", "."): v for k, v in config.items()}})


def consumer(**config):
    return Consumer(
        {
            "bootstrap.servers": suite.bootstrap,
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
            **{k.replace("_", "."): v for k, v in config.items()},
        }
    )


def send(p, topic, records, partition=0):
    """Sends records and returns the delivered messages in order of delivery."""
    delivered = []

    def report(error, message):
        delivered.append(error or message)

    for key, value, headers, timestamp in records:
        p.produce(topic, value, key, partition, on_delivery=report, timestamp=timestamp, headers=headers)
        p.poll(0)
    equal(p.flush(30), 0, "left in the queue")
    equal(len(delivered), len(records), "deliveries")
    for d in delivered:
        assert not isinstance(d, KafkaError), d
    return delivered


def read(topic, partition=0, offset=OFFSET_BEGINNING, **config):
    """All messages from an offset to the end of the partition."""
    c = consumer(**config)
    c.assign([TopicPartition(topic, partition, offset)])
    messages = []
    try:
        while True:
            m = c.poll(20)
            assert m is not None, f"nothing within 20 s after {len(messages)} messages"
            if m.error():
                if m.error().code() == KafkaError._PARTITION_EOF:
                    return messages
                raise KafkaException(m.error())
            messages.append(m)
    finally:
        c.close()


def check_same(messages, records):
    equal(len(messages), len(records), "records")
    for i, (m, (key, value, headers, timestamp)) in enumerate(zip(messages, records)):
        equal((m.offset(), m.key(), m.value()), (i, key, value))
        equal(m.headers() or [], headers, f"headers of {i}")
        equal(m.timestamp(), (1, timestamp), f"timestamp of {i}")


@suite
def cluster_is_described():
    cluster = admin.describe_cluster().result(10)
    equal(len(cluster.nodes), 1)
    equal(cluster.controller.id, cluster.nodes[0].id)
    equal(cluster.nodes[0].port, suite.port)
    equal(len(cluster.cluster_id), 22, "cluster id")
    equal(admin.list_topics(timeout=10).cluster_id, cluster.cluster_id)


@suite
def topic_is_created_described_and_deleted():
    name = make("life", 3, retention_ms=123456789)
    described = done(admin.describe_topics(TopicCollection([name])))
    equal(described.name, name)
    equal([p.id for p in described.partitions], [0, 1, 2])
    for p in described.partitions:
        equal([r.id for r in p.replicas], [p.leader.id])
        equal([r.id for r in p.isr], [p.leader.id])
    assert str(described.topic_id) and described.is_internal is False
    refused(
        KafkaError.TOPIC_ALREADY_EXISTS,
        lambda: done(admin.create_topics([NewTopic(name, 3, 1)])),
        f"Topic '{name}' already exists.",
    )
    done(admin.delete_topics([name]))
    eventually(lambda: name not in admin.list_topics(timeout=10).topics, "topic gone")
    refused(KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: done(admin.delete_topics([name])))
    refused(KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: done(admin.describe_topics(TopicCollection([name]))))


@suite
def creation_only_validated_leaves_nothing():
    name = suite.topic("dry")
    done(admin.create_topics([NewTopic(name, 1, 1)], validate_only=True))
    assert name not in admin.list_topics(timeout=10).topics
    refused(
        KafkaError.INVALID_CONFIG,
        lambda: done(admin.create_topics([NewTopic(name, 1, 1, config={"retention.ms": "x"})], validate_only=True)),
    )


@suite
def bad_creations_are_refused():
    def create(name=None, partitions=1, factor=1, **more):
        return lambda: done(admin.create_topics([NewTopic(name or suite.topic("bad"), partitions, factor, **more)]))

    for name in ["bad name", "..", ".", "a" * 250, "slash/ed", "ümlaut"]:
        refused(KafkaError.TOPIC_EXCEPTION, create(name))
    refused(KafkaError.INVALID_PARTITIONS, create(partitions=0))
    refused(KafkaError.INVALID_REPLICATION_FACTOR, create(factor=2))
    refused(KafkaError.INVALID_CONFIG, create(config={"no.such.config": "1"}))
    refused(KafkaError.INVALID_CONFIG, create(config={"retention.ms": "soon"}))
    refused(KafkaError.INVALID_CONFIG, create(config={"max.message.bytes": "-1"}))
    refused(KafkaError.INVALID_CONFIG, create(config={"cleanup.policy": "burn"}))
    refused(KafkaError.INVALID_CONFIG, create(config={"compression.type": "rar"}))


@suite
def names_that_differ_by_dot_and_underscore_collide():
    name = make("collide.x")
    refused(KafkaError.TOPIC_EXCEPTION, lambda: done(admin.create_topics([NewTopic(name.replace(".", "_"), 1, 1)])))


@suite
def defaults_and_manual_assignment():
    name = suite.topic("defaults")
    done(admin.create_topics([NewTopic(name, -1, -1)]))
    eventually(lambda: len(metadata_of(name)) == 1, "default number of partitions")
    node = admin.describe_cluster().result(10).nodes[0].id
    name = suite.topic("manual")
    done(admin.create_topics([NewTopic(name, 2, replica_assignment=[[node], [node]])]))
    eventually(lambda: len(metadata_of(name)) == 2, "manual assignment")
    refused(
        KafkaError.INVALID_REPLICA_ASSIGNMENT,
        lambda: done(admin.create_topics([NewTopic(suite.topic("manual"), 1, replica_assignment=[[node + 7]])])),
    )


@suite
def partitions_are_added():
    name = make("grow", 2)
    send(producer(), name, sample(3), 1)
    done(admin.create_partitions([NewPartitions(name, 5)]))
    eventually(lambda: len(metadata_of(name)) == 5, "five partitions")
    send(producer(), name, sample(3), 4)
    check_same(read(name, 4), sample(3))
    check_same(read(name, 1), sample(3))
    refused(KafkaError.INVALID_PARTITIONS, lambda: done(admin.create_partitions([NewPartitions(name, 5)])))
    refused(KafkaError.INVALID_PARTITIONS, lambda: done(admin.create_partitions([NewPartitions(name, 4)])))
    refused(
        KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: done(admin.create_partitions([NewPartitions(suite.topic("no"), 5)]))
    )


@suite
def records_come_back_identical_through_each_codec():
    records = sample(3000)
    for codec in CODECS:
        for idempotent in [False, True]:
            name = make(f"codec-{codec}")
            delivered = send(
                producer(compression_type=codec, enable_idempotence=idempotent, linger_ms=20), name, records
            )
            equal([d.offset() for d in delivered], list(range(len(records))))
            check_same(read(name), records)


@suite
def acks_of_each_kind():
    for acks in [0, 1, "all"]:
        name = make(f"acks-{acks}")
        send(producer(acks=acks), name, sample(200))
        eventually(lambda: len(read(name)) == 200, f"200 records with acks={acks}")
        check_same(read(name), sample(200))


@suite
def the_broker_stamps_log_append_time():
    name = make("stamped", message_timestamp_type="LogAppendTime")
    before = time.time() * 1000 - 1000
    send(producer(compression_type="lz4", linger_ms=20), name, sample(50))
    stamps = [m.timestamp() for m in read(name)]
    equal({kind for kind, _ in stamps}, {2})
    assert all(before <= at <= time.time() * 1000 + 1000 for _, at in stamps), stamps[:3]


@suite
def a_timestamp_from_the_future_is_refused():
    name = make("future")
    errors = []
    p = producer()
    p.produce(name, b"v", timestamp=int(time.time() * 1000) + 2 * 3600 * 1000, on_delivery=lambda e, _: errors.append(e))
    p.flush(30)
    equal([e.code() for e in errors], [KafkaError.INVALID_TIMESTAMP])


@suite
def topic_compression_is_applied_by_the_broker():
    for codec in CODECS[1:]:
        name = make(f"recoded-{codec}", compression_type=codec)
        send(producer(linger_ms=20), name, sample(500))
        check_same(read(name), sample(500))
    name = make("recoded-none", compression_type="uncompressed")
    send(producer(linger_ms=20, compression_type="zstd"), name, sample(500))
    check_same(read(name), sample(500))


@suite
def large_records_pass_up_to_the_limit():
    name = make("large")
    big = bytes(range(256)) * 4090
    send(producer(message_max_bytes=5_000_000), name, [(b"k", big, [], BASE_MS)])
    equal(read(name)[0].value(), big)
    errors = []
    p = producer(message_max_bytes=5_000_000)
    p.produce(name, b"x" * 1_100_000, on_delivery=lambda e, _: errors.append(e))
    p.flush(30)
    equal([e.code() for e in errors], [KafkaError.MSG_SIZE_TOO_LARGE])
    equal(len(read(name)), 1)


@suite
def larger_limits_are_honoured():
    name = make("larger", max_message_bytes=9_000_000)
    big = bytes(range(256)) * 31250
    send(producer(message_max_bytes=9_000_000), name, [(None, big, [], BASE_MS)] * 3)
    equal([m.value() == big for m in read(name, fetch_message_max_bytes=1000)], [True] * 3)


@suite
def reading_from_the_middle_and_seeking():
    name = make("middle")
    records = sample(5000)
    send(producer(linger_ms=5, compression_type="zstd"), name, records)
    tail = read(name, offset=4321)
    equal([m.offset() for m in tail], list(range(4321, 5000)))
    equal([m.value() for m in tail], [r[1] for r in records[4321:]])
    c = consumer()
    c.assign([TopicPartition(name, 0, 0)])
    for offset in [2500, 10, 4999, 0]:
        c.seek(TopicPartition(name, 0, offset))
        m = eventually(lambda: c.poll(5), "a message after seek")
        while m.error() or m.offset() != offset:
            m = c.poll(5)
            assert m is not None, f"seek to {offset}"
        equal(m.value(), records[offset][1])
    c.close()


@suite
def an_offset_out_of_range_is_an_error_or_a_reset():
    name = make("range")
    send(producer(), name, sample(10))
    refused(KafkaError._AUTO_OFFSET_RESET, lambda: read(name, offset=100, auto_offset_reset="error"))
    equal(len(read(name, offset=100, auto_offset_reset="earliest")), 10)
    equal(len(read(name, offset=100, auto_offset_reset="latest")), 0)


@suite
def an_empty_partition_ends_at_once():
    name = make("empty", 2)
    equal(read(name, 1), [])
    c = consumer()
    equal(c.get_watermark_offsets(TopicPartition(name, 1), 10), (0, 0))
    c.close()


@suite
def offsets_are_found_by_time_and_by_kind():
    name = make("offsets", 2)
    send(producer(linger_ms=5, compression_type="gzip"), name, sample(1000))
    send(producer(), name, [(None, b"later", [], BASE_MS + 3_000_000), (None, b"earlier", [], BASE_MS - 5000)])
    zero, one = TopicPartition(name, 0), TopicPartition(name, 1)

    def offset(partition, spec):
        (future,) = admin.list_offsets({partition: spec}).values()
        return future.result(10)

    equal(offset(zero, OffsetSpec.earliest()).offset, 0)
    equal(offset(zero, OffsetSpec.latest()).offset, 1002)
    newest = offset(zero, OffsetSpec.max_timestamp())
    equal((newest.offset, newest.timestamp), (1000, BASE_MS + 3_000_000))
    found = offset(zero, OffsetSpec.for_timestamp(BASE_MS + 4995))
    equal((found.offset, found.timestamp), (500, BASE_MS + 5000))
    equal(offset(zero, OffsetSpec.for_timestamp(0)).offset, 0)
    equal(offset(zero, OffsetSpec.for_timestamp(BASE_MS + 3_100_000)).offset, -1)
    equal(offset(one, OffsetSpec.earliest()).offset, 0)
    equal(offset(one, OffsetSpec.latest()).offset, 0)
    equal(offset(one, OffsetSpec.max_timestamp()).offset, -1)
    equal(offset(one, OffsetSpec.for_timestamp(0)).offset, -1)
    c = consumer()
    (found,) = c.offsets_for_times([TopicPartition(name, 0, BASE_MS + 9990)], 10)
    equal(found.offset, 999)
    equal(c.get_watermark_offsets(zero, 10), (0, 1002))
    c.close()


@suite
def records_are_deleted_up_to_an_offset():
    name = make("trim")
    send(producer(linger_ms=5), name, sample(1000))
    equal(done(admin.delete_records([TopicPartition(name, 0, 600)])).low_watermark, 600)
    messages = read(name, auto_offset_reset="earliest")
    equal([m.offset() for m in messages], list(range(600, 1000)))
    refused(KafkaError.OFFSET_OUT_OF_RANGE, lambda: done(admin.delete_records([TopicPartition(name, 0, 1001)])))
    equal(done(admin.delete_records([TopicPartition(name, 0, 10)])).low_watermark, 600)
    equal(done(admin.delete_records([TopicPartition(name, 0, OFFSET_END)])).low_watermark, 1000)
    c = consumer()
    equal(c.get_watermark_offsets(TopicPartition(name, 0), 10), (1000, 1000))
    c.close()
    send(producer(), name, sample(1))
    equal([m.offset() for m in read(name)], [1000])


@suite
def a_compacted_topic_is_read_from_its_beginning():
    name = make("compacted", cleanup_policy="compact", segment_bytes=1 << 20, min_cleanable_dirty_ratio=0.01)
    value = bytes(range(256)) * 4
    records = [(b"%d" % (i % 50), value + b"%d" % i, [], BASE_MS + i) for i in range(4000)]
    for key in range(25):
        records.append((b"%d" % key, None, [], BASE_MS + 5000))
    send(producer(linger_ms=5), name, records)

    def is_compacted():
        return len(read(name)) < 2500

    eventually(is_compacted, "fewer records", 60)
    messages = read(name)
    for m in messages:
        key, value, _, timestamp = records[m.offset()]
        equal((m.key(), m.value(), m.timestamp()[1]), (key, value, timestamp), f"record {m.offset()}")
    offsets = [m.offset() for m in messages]
    equal(offsets, sorted(set(offsets)))
    # Later ones win, in whatever is left as in all that was written.
    equal({m.key(): m.value() for m in messages}, {key: value for key, value, _, _ in records})
    # A record that is gone is no place to begin at; the next one that is there comes.
    gone = next(offset for offset in range(len(records)) if offset not in offsets)
    following = read(name, offset=gone)[0].offset()
    assert following > gone and following in offsets, f"{following} after {gone}"


def config_of(kind, name):
    return done(admin.describe_configs([ConfigResource(kind, name)]))


@suite
def topic_configs_are_described_and_altered():
    name = make("config", retention_ms=1000000)
    topic = ConfigResource.Type.TOPIC
    entries = config_of(topic, name)
    equal((entries["retention.ms"].value, entries["retention.ms"].source), ("1000000", 1))
    equal((entries["segment.bytes"].value, entries["segment.bytes"].is_default), ("1073741824", True))
    equal(entries["cleanup.policy"].value, "delete")
    for needed in ["compression.type", "max.message.bytes", "message.timestamp.type", "min.insync.replicas"]:
        assert needed in entries, needed

    def alter(name, *changes):
        entries = [ConfigEntry(n, v, incremental_operation=op) for n, v, op in changes]
        done(admin.incremental_alter_configs([ConfigResource(topic, name, incremental_configs=entries)]))

    alter(name, ("retention.bytes", "5000", AlterConfigOpType.SET), ("cleanup.policy", "compact", AlterConfigOpType.APPEND))
    eventually(lambda: config_of(topic, name)["retention.bytes"].value == "5000", "set")
    equal(config_of(topic, name)["cleanup.policy"].value, "delete,compact")
    equal(config_of(topic, name)["retention.ms"].value, "1000000")
    alter(name, ("cleanup.policy", "compact", AlterConfigOpType.SUBTRACT), ("retention.ms", None, AlterConfigOpType.DELETE))
    eventually(lambda: config_of(topic, name)["retention.ms"].value == "604800000", "deleted")
    equal(config_of(topic, name)["cleanup.policy"].value, "delete")
    refused(KafkaError.INVALID_CONFIG, lambda: alter(name, ("retention.ms", "x", AlterConfigOpType.SET)))
    refused(KafkaError.INVALID_CONFIG, lambda: alter(name, ("no.such", "1", AlterConfigOpType.SET)))
    refused(
        KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: alter(suite.topic("no"), ("retention.ms", "1", AlterConfigOpType.SET))
    )
    refused(KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: config_of(topic, suite.topic("no")))


@suite
def an_altered_limit_takes_effect():
    name = make("limit")
    entry = ConfigEntry("max.message.bytes", "2000", incremental_operation=AlterConfigOpType.SET)
    done(
        admin.incremental_alter_configs(
            [ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[entry])]
        )
    )

    def is_refused():
        errors = []
        p = producer()
        p.produce(name, b"x" * 3000, on_delivery=lambda e, _: errors.append(e))
        p.flush(30)
        return errors[0] is not None and errors[0].code() == KafkaError.MSG_SIZE_TOO_LARGE

    eventually(is_refused, "the new limit")


@suite
def broker_configs_are_described_and_altered():
    kind = ConfigResource.Type.BROKER
    node = str(admin.describe_cluster().result(10).nodes[0].id)
    entries = config_of(kind, node)
    equal(entries["node.id"].value, node)
    for needed in ["log.dirs", "num.partitions", "message.max.bytes", "listeners", "log.retention.ms", "advertised.listeners"]:
        assert needed in entries, needed
    equal((entries["node.id"].is_read_only, entries["message.max.bytes"].is_read_only), (True, False))

    def alter(name, *changes):
        entries = [ConfigEntry(n, v, incremental_operation=op) for n, v, op in changes]
        done(admin.incremental_alter_configs([ConfigResource(kind, name, incremental_configs=entries)]))

    topic = make("inherits")
    alter(node, ("log.retention.ms", "8000000", AlterConfigOpType.SET))
    eventually(lambda: config_of(ConfigResource.Type.TOPIC, topic)["retention.ms"].value == "8000000", "broker's own")
    equal(config_of(kind, node)["log.retention.ms"].value, "8000000")
    alter(node, ("log.retention.ms", None, AlterConfigOpType.DELETE))
    eventually(lambda: config_of(ConfigResource.Type.TOPIC, topic)["retention.ms"].value == "604800000", "back")
    refused(KafkaError.INVALID_REQUEST, lambda: alter(node, ("node.id", "5", AlterConfigOpType.SET)))
    refused(KafkaError.INVALID_REQUEST, lambda: alter(node, ("message.max.bytes", "x", AlterConfigOpType.SET)))


@suite
def topics_come_into_being_when_written_to():
    name = suite.topic("auto")
    send(producer(), name, sample(10))
    check_same(read(name), sample(10))
    bad = []
    p = producer(message_timeout_ms=5000)
    p.produce("not a name", b"v", on_delivery=lambda e, _: bad.append(e))
    p.flush(30)
    equal([e.code() for e in bad], [KafkaError.TOPIC_EXCEPTION])


@suite
def a_reader_does_not_create_its_topic_but_finds_it_later():
    name = suite.topic("unknown")
    c = consumer(topic_metadata_refresh_interval_ms=200, enable_partition_eof=False)
    c.assign([TopicPartition(name, 0, 0)])
    c.poll(1.0)
    assert name not in admin.list_topics(timeout=10).topics
    done(admin.create_topics([NewTopic(name, 1, 1)]))
    send(producer(), name, sample(1))

    def found():
        m = c.poll(1.0)
        return m is not None and not m.error() and m.offset() == 0

    eventually(found, "the record")
    c.close()


@suite
def many_partitions_are_written_and_read():
    count = 200
    name = make("many", count)
    p = producer(linger_ms=50, enable_idempotence=True)
    delivered = []
    for i in range(count * 20):
        p.produce(name, b"v%d" % i, b"k%d" % i, i % count, on_delivery=lambda e, m: delivered.append(e or m))
        p.poll(0)
    p.flush(30)
    equal([d for d in delivered if isinstance(d, KafkaError)], [])
    c = consumer()
    c.assign([TopicPartition(name, i, 0) for i in range(count)])
    seen = {i: [] for i in range(count)}
    ended = set()
    while len(ended) < count:
        m = c.poll(20)
        assert m is not None, f"{len(ended)} partitions ended"
        if m.error():
            equal(m.error().code(), KafkaError._PARTITION_EOF)
            ended.add(m.partition())
        else:
            seen[m.partition()].append(m.value())
    c.close()
    for i in range(count):
        equal(seen[i], [b"v%d" % (i + j * count) for j in range(20)])


@suite
def a_waiting_reader_is_woken():
    name = make("poll")
    c = consumer(fetch_wait_max_ms=5000, enable_partition_eof=False)
    c.assign([TopicPartition(name, 0, 0)])
    equal(c.poll(1.0), None)
    p = producer()
    for i in range(20):
        send(p, name, [(None, b"%d" % i, [], BASE_MS)])
        m = c.poll(20)
        equal(m and m.value(), b"%d" % i)
    c.close()


@suite
def no_election_is_needed():
    name = make("elect", 2)
    result = admin.elect_leaders(ElectionType.PREFERRED, [TopicPartition(name, 0)]).result(30)
    equal([e.code() for e in result.values()], [KafkaError.ELECTION_NOT_NEEDED])


suite.run()
