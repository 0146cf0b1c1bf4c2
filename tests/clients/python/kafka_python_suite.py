"""kafka-python: a client written in Python alone, with code of its own for every codec and message."""

import time
import uuid

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    InvalidConfigurationError,
    InvalidPartitionsError,
    InvalidReplicationAssignmentError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from kafka.protocol.consumer import OffsetSpec

from checks import BASE_MS, CODECS, Suite, equal, eventually
from checks import plain_sample as sample

suite = Suite("kafka-python")
admin = KafkaAdminClient(bootstrap_servers=suite.bootstrap)


def make(label, partitions=1, **configs):
    name = suite.topic(label)
    configs = {k.replace("_", "."): str(v) for k, v in configs.items()}
    admin.create_topics({name: {"num_partitions": partitions, "configs": configs}}, wait_for_metadata=True)
    return name


def refused(error, call):
    try:
        call()
    except error:
        return
    raise AssertionError(f"expected {error.__name__}")


def send(topic, records, partition=0, **config):
    p = KafkaProducer(bootstrap_servers=suite.bootstrap, **config)
    futures = [
        p.send(topic, value=value, key=key, headers=headers, partition=partition, timestamp_ms=timestamp)
        for key, value, headers, timestamp in records
    ]
    p.flush(30)
    results = [f.get(30) for f in futures]
    p.close()
    return results


def reader(**config):
    return KafkaConsumer(bootstrap_servers=suite.bootstrap, group_id=None, enable_auto_commit=False, **config)


def read(topic, count, partition=0, offset=None, **config):
    c = reader(auto_offset_reset="earliest", consumer_timeout_ms=20000, **config)
    tp = TopicPartition(topic, partition)
    c.assign([tp])
    if offset is None:
        c.seek_to_beginning(tp)
    else:
        c.seek(tp, offset)
    records = []
    while len(records) < count:
        records.append(next(c))
    c.close()
    return records


def check_same(seen, records):
    equal(len(seen), len(records))
    for i, (m, (key, value, headers, timestamp)) in enumerate(zip(seen, records)):
        equal((m.offset, m.key, m.value), (i, key, value))
        equal(list(m.headers), headers)
        equal((m.timestamp, m.timestamp_type), (timestamp, 0))


@suite
def cluster_is_described():
    cluster = admin.describe_cluster()
    equal([(b["port"]) for b in cluster["brokers"]], [suite.port])
    equal(cluster["controller_id"], cluster["brokers"][0].get("broker_id", cluster["brokers"][0].get("node_id")))
    equal(len(cluster["cluster_id"]), 22)


@suite
def the_quorum_is_described():
    quorum = admin.describe_metadata_quorum()
    (partition,) = quorum["topics"][0]["partitions"]
    equal(partition["error"], None)
    equal([v["replica_id"] for v in partition["current_voters"]], [partition["leader_id"]])
    assert partition["high_watermark"] > 0 and partition["leader_epoch"] > 0


@suite
def features_are_described():
    features = admin.describe_features()
    assert "metadata.version" in features, features
    low, high = features["metadata.version"]["supported"]
    assert low <= features["metadata.version"]["finalized"][1] <= high


@suite
def topics_are_administered():
    name = make("admin", 2, retention_ms=5000000)
    refused(TopicAlreadyExistsError, lambda: admin.create_topics({name: {}}))
    refused(InvalidTopicError, lambda: admin.create_topics({"bad/name": {}}))
    refused(InvalidConfigurationError, lambda: admin.create_topics({suite.topic("x"): {"configs": {"retention.ms": "?"}}}))
    (described,) = admin.describe_topics([name])
    equal(sorted(p["partition_index"] for p in described["partitions"]), [0, 1])
    node = admin.describe_cluster()["controller_id"]
    refused(InvalidReplicationAssignmentError, lambda: admin.create_partitions({name: 4}))
    admin.create_partitions({name: {"count": 4, "assignments": [[node], [node]]}})
    eventually(lambda: len(admin.describe_topics([name])[0]["partitions"]) == 4, "four partitions")
    refused(InvalidPartitionsError, lambda: admin.create_partitions({name: {"count": 3, "assignments": []}}))
    admin.create_topics({suite.topic("dry"): {}}, validate_only=True)
    assert name in admin.list_topics()
    admin.delete_topics([name])
    eventually(lambda: name not in admin.list_topics(), "topic gone")
    refused(UnknownTopicOrPartitionError, lambda: admin.delete_topics([name]))


@suite
def a_topic_is_deleted_by_its_id():
    name = make("by-id")
    (described,) = admin.describe_topics([name])
    admin.delete_topics([uuid.UUID(str(described["topic_id"]))])
    eventually(lambda: name not in admin.list_topics(), "topic gone")


@suite
def partitions_are_described_in_pages():
    names = [make(f"page-{i}", 3) for i in range(3)]
    described = admin.describe_topic_partitions(names, response_partition_limit=2)
    topics = described["topics"] if isinstance(described, dict) else described
    assert topics, described
    equal(topics[0]["name"], sorted(names)[0])


@suite
def configs_are_altered():
    name = make("config")
    resource = lambda configs=None: ConfigResource(ConfigResourceType.TOPIC, name, configs)

    def configs(which="all"):
        return admin.describe_configs([resource()], config_filter=which)["topic"][name]

    equal(configs()["retention.ms"]["value"], "604800000")
    admin.alter_configs([resource({"retention.ms": "777000", "max.message.bytes": "4000"})])
    eventually(lambda: configs()["retention.ms"]["value"] == "777000", "altered")
    equal(set(configs("modified")), {"retention.ms", "max.message.bytes"})
    admin.alter_configs([resource({"retention.bytes": "99"})], incremental=False)
    eventually(lambda: configs()["retention.bytes"]["value"] == "99", "altered the old way")
    admin.reset_configs([resource(["retention.ms"])])
    eventually(lambda: configs()["retention.ms"]["value"] == "604800000", "reset")
    described = admin.describe_configs([resource()], include_synonyms=True, config_filter="all")["topic"][name]
    equal([x["name"] for x in described["segment.bytes"]["synonyms"]], ["log.segment.bytes"])
    equal([x["name"] for x in described["retention.bytes"]["synonyms"]], ["retention.bytes", "log.retention.bytes"])
    assert name in admin.list_config_resources(["TOPIC"])["topic"]


@suite
def records_come_back_identical_through_each_codec():
    records = sample(1000)
    for codec in CODECS:
        name = make(f"codec-{codec}")
        results = send(name, records, compression_type=None if codec == "none" else codec, linger_ms=20)
        equal([r.offset for r in results], list(range(1000)))
        check_same(read(name, 1000), records)


@suite
def acks_of_each_kind_with_and_without_idempotence():
    for acks, idempotent in [(0, False), (1, False), ("all", False), ("all", True)]:
        name = make("acks")
        send(name, sample(100), acks=acks, enable_idempotence=idempotent)
        check_same(read(name, 100), sample(100))


@suite
def a_record_too_large_is_refused():
    name = make("large", max_message_bytes=50000)
    send(name, [(None, b"x" * 49000, [], BASE_MS)])
    refused(MessageSizeTooLargeError, lambda: send(name, [(None, b"x" * 51000, [], BASE_MS)]))
    send(name, [(None, b"y" * 49000, [], BASE_MS)])
    equal(len(read(name, 2)), 2)


@suite
def the_broker_stamps_log_append_time():
    name = make("stamped", message_timestamp_type="LogAppendTime")
    before = time.time() * 1000 - 1000
    results = send(name, sample(10))
    assert all(r.timestamp >= before for r in results), results[0]
    assert all(m.timestamp_type == 1 and m.timestamp >= before for m in read(name, 10))


@suite
def offsets_are_found_by_time_and_by_kind():
    name = make("offsets", 2)
    send(name, sample(100), compression_type="lz4", linger_ms=20)
    zero, one = TopicPartition(name, 0), TopicPartition(name, 1)
    c = reader()
    equal(c.beginning_offsets([zero, one]), {zero: 0, one: 0})
    equal(c.end_offsets([zero, one]), {zero: 100, one: 0})
    found = c.offsets_for_times({zero: BASE_MS + 455, one: 0})
    equal((found[zero].offset, found[zero].timestamp, found[one]), (46, BASE_MS + 460, None))
    equal(c.offsets_for_times({zero: BASE_MS + 3_100_000})[zero], None)
    equal(c.partitions_for_topic(name), {0, 1})
    c.close()
    newest = admin.list_partition_offsets({zero: OffsetSpec.MAX_TIMESTAMP})[zero]
    equal((newest.offset, newest.timestamp), (99, BASE_MS + 990))
    equal(admin.list_partition_offsets({zero: OffsetSpec.EARLIEST_LOCAL})[zero].offset, 0)
    refused(
        UnknownTopicOrPartitionError,
        lambda: admin.list_partition_offsets({TopicPartition(suite.topic("no"), 0): OffsetSpec.LATEST}),
    )


@suite
def reading_from_the_middle_seeking_and_pausing():
    name = make("middle")
    records = sample(500)
    send(name, records, linger_ms=20, compression_type="snappy")
    tp = TopicPartition(name, 0)
    equal(read(name, 1, offset=321)[0].value, records[321][1])
    c = reader(max_poll_records=7)
    c.assign([tp])
    c.seek(tp, 100)
    equal(next(c).offset, 100)
    c.pause(tp)
    equal(c.poll(300), {})
    c.resume(tp)
    equal(next(c).offset, 101)
    c.seek_to_end(tp)
    equal(c.position(tp), 500)
    c.close()


@suite
def an_offset_out_of_range_is_an_error_or_a_reset():
    name = make("range")
    send(name, sample(10))
    tp = TopicPartition(name, 0)
    c = reader(auto_offset_reset="none")
    c.assign([tp])
    c.seek(tp, 11)
    refused(OffsetOutOfRangeError, lambda: [c.poll(500) for _ in range(10)])
    c.close()
    equal(read(name, 1, offset=11)[0].offset, 0)


@suite
def records_are_deleted_up_to_an_offset():
    name = make("trim")
    send(name, sample(100))
    tp = TopicPartition(name, 0)
    equal(admin.delete_records({tp: 40})[tp]["low_watermark"], 40)
    equal(read(name, 1)[0].offset, 40)
    refused(OffsetOutOfRangeError, lambda: admin.delete_records({tp: 101}))
    equal(admin.delete_records({tp: -1})[tp]["low_watermark"], 100)


@suite
def log_dirs_are_described():
    name = make("dirs")
    send(name, sample(100))
    (broker,) = admin.describe_log_dirs()
    (folder,) = broker["log_dirs"]
    equal(folder["error_code"], 0)
    partitions = {t["name"]: t["partitions"] for t in folder["topics"]}
    equal(partitions[name][0]["partition_index"], 0)
    assert partitions[name][0]["partition_size"] > 1000, partitions[name]
    assert folder["total_bytes"] > folder["usable_bytes"] > 0


@suite
def an_auto_created_topic_is_written_to():
    name = suite.topic("auto")
    send(name, sample(5))
    check_same(read(name, 5), sample(5))


suite.run()
