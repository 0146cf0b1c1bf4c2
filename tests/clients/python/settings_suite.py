"""Settings that change while the broker runs: what is refused and in which words, what contradicts itself and is taken,
and what retention makes of it. Records at the ends of what times and keys can be."""

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
)

from checks import Suite, equal, eventually

suite = Suite("settings")
admin = AdminClient({"bootstrap.servers": suite.bootstrap})

TOPIC, BROKER = ConfigResource.Type.TOPIC, ConfigResource.Type.BROKER
LONG_MAX = 2**63 - 1
# Two values of so many bytes do not fit in the smallest segment.
SMALLEST = {"segment.bytes": "1048576"}
LARGE = b"v" * 600_000
# More checks of retention than one, as the suites configure the broker.
CHECKS_SECONDS = 3


def done(futures):
    (future,) = futures.values()
    return future.result(30)


def make(label, **config):
    name = suite.topic(label)
    config = {k.replace("_", "."): str(v) for k, v in config.items()}
    done(admin.create_topics([NewTopic(name, 1, 1, config=config)]))
    eventually(lambda: len(admin.list_topics(name, 10).topics[name].partitions) == 1, f"metadata of {name}")
    return name


def alter(kind, name, changes, op=AlterConfigOpType.SET):
    entries = [ConfigEntry(n, v, incremental_operation=op) for n, v in changes.items()]
    done(admin.incremental_alter_configs([ConfigResource(kind, name, incremental_configs=entries)]))


def refused(code, text, call):
    try:
        call()
    except KafkaException as e:
        equal((e.args[0].code(), e.args[0].str()), (code, text))
        return
    raise AssertionError(f"taken, although: {text}")


def try_put(topic, value=b"v", key=None, timestamp=None):
    """Sends one record with acks=all; the error, or the message as it was delivered."""
    outcome = []
    p = Producer({"bootstrap.servers": suite.bootstrap, "acks": "all", "message.max.bytes": 20_000_000})
    times = {} if timestamp is None else {"timestamp": timestamp}
    p.produce(topic, value, key, on_delivery=lambda e, m: outcome.append(e or m), **times)
    equal(p.flush(30), 0)
    return outcome[0]


def put(topic, *record, **more):
    outcome = try_put(topic, *record, **more)
    assert not isinstance(outcome, KafkaError), outcome
    return outcome.offset()


def offset(topic, spec):
    found = done(admin.list_offsets({TopicPartition(topic, 0): spec}))
    return found.offset, found.timestamp


def earliest(topic):
    return offset(topic, OffsetSpec.earliest())[0]


def read(topic):
    c = Consumer(
        {
            "bootstrap.servers": suite.bootstrap,
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.message.max.bytes": 5_000_000,
        }
    )
    c.assign([TopicPartition(topic, 0, 0)])
    messages = []
    try:
        while True:
            m = c.poll(20)
            assert m is not None, "nothing within 20 s"
            if m.error():
                equal(m.error().code(), KafkaError._PARTITION_EOF)
                return messages
            messages.append(m)
    finally:
        c.close()


@suite
def values_out_of_range_are_refused_in_kafkas_words():
    name = make("range")
    number = "Not a number of type"
    least, most = "Value must be at least", "Value must be no more than"
    for property, value, why in [
        ("retention.ms", "-2", f"{least} -1"),
        ("retention.ms", "9223372036854775808", f"{number} LONG"),
        ("retention.ms", "", f"{number} LONG"),
        ("segment.bytes", "1048575", f"{least} 1048576"),
        ("segment.bytes", "2147483648", f"{number} INT"),
        ("segment.ms", "0", f"{least} 1"),
        ("segment.jitter.ms", "-1", f"{least} 0"),
        ("segment.index.bytes", "3", f"{least} 4"),
        ("file.delete.delay.ms", "-1", f"{least} 0"),
        ("local.retention.ms", "-3", f"{least} -2"),
        ("min.insync.replicas", "0", f"{least} 1"),
        ("max.message.bytes", "-1", f"{least} 0"),
        ("min.cleanable.dirty.ratio", "1.1", f"{most} 1"),
        ("compression.gzip.level", "0", "Value must be between 1 and 9 or equal to -1"),
        ("compression.zstd.level", "23", f"{most} 22"),
        ("cleanup.policy", "burn", "String must be one of: compact, delete"),
        ("preallocate", "1", "Expected value to be either true or false"),
    ]:
        text = f"Invalid value {value} for configuration {property}: {why}"
        refused(KafkaError.INVALID_CONFIG, text, lambda: alter(TOPIC, name, {property: value}))
    refused(KafkaError.INVALID_CONFIG, "Unknown topic config name: nonsense", lambda: alter(TOPIC, name, {"nonsense": "1"}))
    node = str(admin.describe_cluster().result(10).nodes[0].id)
    for property, value, text in [
        ("log.dirs", "/tmp/x", "Cannot update these configs dynamically: [log.dirs]"),
        ("log.retention.hours", "5", "Cannot update these configs dynamically: [log.retention.hours]"),
        ("log.segment.bytes", "14", f"Invalid value 14 for configuration log.segment.bytes: {least} 1048576"),
        ("max.connections", "-1", f"Invalid value -1 for configuration max.connections: {least} 0"),
    ]:
        refused(KafkaError.INVALID_REQUEST, text, lambda: alter(BROKER, node, {property: value}))


@suite
def settings_that_contradict_each_other():
    name = make("contradiction")
    refused(
        KafkaError.INVALID_CONFIG,
        "conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (4)",
        lambda: alter(TOPIC, name, {"min.compaction.lag.ms": "5", "max.compaction.lag.ms": "4"}),
    )
    refused(
        KafkaError.INVALID_CONFIG,
        "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.",
        lambda: alter(TOPIC, name, {"remote.storage.enable": "true"}),
    )
    # What comes twice counts once.
    alter(TOPIC, name, {"cleanup.policy": "delete,delete"})
    described = done(admin.describe_configs([ConfigResource(TOPIC, name)]))
    equal(described["cleanup.policy"].value, "delete")
    # More is kept locally than altogether, where nothing is kept elsewhere.
    alter(TOPIC, name, {"local.retention.ms": "500", "retention.ms": "100"})
    # A segment is larger than what is kept.
    alter(TOPIC, name, {"retention.ms": "-1", "retention.bytes": "1", "segment.bytes": "1048576"})
    # More replicas have to be in sync than there are.
    alter(TOPIC, name, {"min.insync.replicas": "9"})
    equal(put(name), 0)


@suite
def times_to_the_end_of_time():
    name = make("times")
    equal(try_put(name, timestamp=LONG_MAX).code(), KafkaError.INVALID_TIMESTAMP)
    equal(put(name, timestamp=-1), 0)
    alter(TOPIC, name, {"message.timestamp.after.max.ms": str(LONG_MAX)})
    equal(put(name, timestamp=LONG_MAX), 1)
    equal(put(name), 2)
    equal([m.timestamp()[1] for m in read(name)][:2], [-1, LONG_MAX])
    equal(offset(name, OffsetSpec.max_timestamp()), (1, LONG_MAX))
    equal(offset(name, OffsetSpec.for_timestamp(LONG_MAX)), (1, LONG_MAX))
    equal(offset(name, OffsetSpec.for_timestamp(0)), (1, LONG_MAX))


@suite
def keys_of_a_megabyte():
    name = make("keys")
    key = bytes(range(250)) * 4000
    equal(put(name, b"v", key), 0)
    equal([(m.key(), m.value()) for m in read(name)], [(key, b"v")])
    equal(try_put(name, b"v", b"k" * 1048576).code(), KafkaError.MSG_SIZE_TOO_LARGE)


@suite
def retention_follows_its_settings():
    name = make("retention", **SMALLEST)
    for _ in range(4):
        put(name, LARGE)
    alter(TOPIC, name, {"local.retention.ms": "1", "local.retention.bytes": "1"})
    time.sleep(CHECKS_SECONDS)
    equal(earliest(name), 0)
    alter(TOPIC, name, {"retention.bytes": "1300000"})
    eventually(lambda: earliest(name) == 1, "retention.bytes")
    alter(TOPIC, name, {"retention.ms": "1"})
    eventually(lambda: earliest(name) == 4, "retention.ms")


@suite
def what_is_of_the_future_outlives_retention():
    settings = {**SMALLEST, "message.timestamp.after.max.ms": LONG_MAX}
    future, past = make("future", **settings), make("past", **settings)
    for name, time_ms in [(future, LONG_MAX), (past, int(time.time() * 1000))]:
        put(name, LARGE, timestamp=time_ms)
        put(name, LARGE)
        alter(TOPIC, name, {"retention.ms": "1"})
    eventually(lambda: earliest(past) == 2, "retention.ms")
    time.sleep(CHECKS_SECONDS)
    equal(earliest(future), 0)
    alter(TOPIC, future, {"retention.bytes": "1"})
    eventually(lambda: earliest(future) == 2, "retention.bytes")


suite.run()
