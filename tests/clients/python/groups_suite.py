"""Consumer groups with confluent-kafka (librdkafka), of the classic protocol and of the consumer protocol, and with
kafka-python: what members process, what they find when they come back, and what an administrator sees and does."""

import threading
import time

from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupType, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaConsumer

from checks import Suite, equal, eventually

suite = Suite("groups")
admin = AdminClient({"bootstrap.servers": suite.bootstrap})


def done(futures):
    (future,) = futures.values()
    return future.result(30)


def make(label, partitions=1):
    name = suite.topic(label)
    done(admin.create_topics([NewTopic(name, partitions, 1)]))
    eventually(lambda: len(admin.list_topics(name, 10).topics[name].partitions) == partitions, f"metadata of {name}")
    return name


def fill(topic, partitions, count, start=0):
    producer = Producer({"bootstrap.servers": suite.bootstrap})
    for i in range(start, start + count):
        producer.produce(topic, b"%d" % i, partition=i % partitions)
    producer.flush(30)


def consumer(group, **config):
    """A member, of the classic protocol if it is told no other."""
    config = {k.replace("_", "."): v for k, v in config.items()}
    if config.setdefault("group.protocol", "classic") == "classic":
        config = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500, **config}
    return Consumer(
        {
            "bootstrap.servers": suite.bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **config,
        }
    )


def drain(member, count, seconds=30):
    """So many values, in the order they came."""
    values = []
    end = time.monotonic() + seconds
    while len(values) < count:
        assert time.monotonic() < end, f"{len(values)} of {count} records within {seconds} s"
        message = member.poll(0.2)
        if message is not None and message.error() is None:
            values.append(int(message.value()))
    return values


@suite
def a_member_goes_on_where_it_has_committed():
    topic, group = make("resume"), suite.topic("g")
    fill(topic, 1, 10)
    member = consumer(group)
    member.subscribe([topic])
    equal(drain(member, 4), [0, 1, 2, 3])
    member.commit(offsets=[TopicPartition(topic, 0, 4)], asynchronous=False)
    member.close()
    member = consumer(group)
    member.subscribe([topic])
    equal(drain(member, 6), [4, 5, 6, 7, 8, 9])
    (committed,) = member.committed([TopicPartition(topic, 0)], 10)
    equal(committed.offset, 4)
    member.close()


@suite
def members_share_partitions_and_take_over():
    topic, group = make("share", 4), suite.topic("g")
    fill(topic, 4, 40)
    seen, assigned, stop = [], {}, threading.Event()
    leaving = threading.Event()

    def work(name):
        member = consumer(group)
        member.subscribe([topic])
        while not stop.is_set() and not (name == "a" and leaving.is_set()):
            message = member.poll(0.1)
            if message is not None and message.error() is None:
                seen.append(int(message.value()))
                member.commit(message, asynchronous=False)
            assigned[name] = len(member.assignment())
        member.close()
        assigned[name] = 0

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    try:
        for thread in threads:
            thread.start()
        eventually(lambda: sorted(assigned.values()) == [2, 2], "both have their half", 30)
        eventually(lambda: set(range(40)) <= set(seen), "all records", 30)
        leaving.set()
        eventually(lambda: assigned.get("b") == 4, "the other takes over", 30)
        fill(topic, 4, 40, 40)
        eventually(lambda: set(range(80)) <= set(seen), "all records of the second half", 30)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@suite
def a_member_that_is_silent_loses_its_place():
    topic, group = make("silent", 2), suite.topic("g")
    silent = consumer(group, max_poll_interval_ms=6000)
    silent.subscribe([topic])
    eventually(lambda: silent.poll(0.1) is None and len(silent.assignment()) == 2, "all partitions")
    other = consumer(group)
    other.subscribe([topic])
    eventually(lambda: other.poll(0.1) is None and len(other.assignment()) == 2, "all partitions of the other", 40)
    other.close()
    silent.close()


@suite
def a_static_member_comes_back_without_a_rebalance():
    topic, group = make("static", 2), suite.topic("g")
    steady = consumer(group, group_instance_id="steady")
    steady.subscribe([topic])
    eventually(lambda: steady.poll(0.1) is None and len(steady.assignment()) == 2, "all partitions")
    members = lambda: done(admin.describe_consumer_groups([group])).members
    (first,) = members()
    equal(first.group_instance_id, "steady")
    steady.close()
    # It has not left: its partitions wait for it.
    (kept,) = members()
    equal(kept.member_id, first.member_id)
    again = consumer(group, group_instance_id="steady")
    again.subscribe([topic])
    eventually(lambda: again.poll(0.1) is None and len(again.assignment()) == 2, "the same partitions")
    (second,) = members()
    assert second.member_id != first.member_id
    again.close()


@suite
def cooperative_members_keep_what_stays_theirs():
    topic, group = make("cooperative", 4), suite.topic("g")
    revoked = []
    first = consumer(group, partition_assignment_strategy="cooperative-sticky")
    first.subscribe([topic], on_revoke=lambda _, gone: revoked.extend(p.partition for p in gone))
    eventually(lambda: first.poll(0.1) is None and len(first.assignment()) == 4, "all partitions")
    second = consumer(group, partition_assignment_strategy="cooperative-sticky")
    second.subscribe([topic])

    def both():
        first.poll(0.05), second.poll(0.05)
        return len(first.assignment()) == 2 and len(second.assignment()) == 2

    eventually(both, "a half each", 40)
    equal(len(revoked), 2, "only what the other gets is given up")
    first.close()
    second.close()


@suite
def offsets_of_an_empty_group_are_altered_listed_and_deleted():
    topic, group = make("admin", 2), suite.topic("g")
    wanted = [TopicPartition(topic, 0, 7), TopicPartition(topic, 1, 8)]
    done(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)]))
    listed = done(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
    equal(sorted((p.topic, p.partition, p.offset) for p in listed.topic_partitions), [(topic, 0, 7), (topic, 1, 8)])
    found = [g for g in admin.list_consumer_groups().result(30).valid if g.group_id == group]
    equal([(g.state, g.is_simple_consumer_group) for g in found], [(ConsumerGroupState.EMPTY, True)])
    done(admin.delete_consumer_groups([group]))
    found = [g for g in admin.list_consumer_groups().result(30).valid if g.group_id == group]
    equal(found, [])
    try:
        done(admin.delete_consumer_groups([group]))
    except KafkaException as e:
        equal(e.args[0].code(), KafkaError.GROUP_ID_NOT_FOUND)
    else:
        raise AssertionError("a group is deleted once")


@suite
def a_group_with_members_is_described_and_not_deleted():
    topic, group = make("described", 2), suite.topic("g")
    member = consumer(group, client_id="who-am-i")
    member.subscribe([topic])
    eventually(lambda: member.poll(0.1) is None and len(member.assignment()) == 2, "all partitions")
    described = done(admin.describe_consumer_groups([group]))
    equal((described.state, described.partition_assignor), (ConsumerGroupState.STABLE, "range"))
    (seen,) = described.members
    equal((seen.client_id, seen.host), ("who-am-i", "/127.0.0.1"))
    equal(sorted(p.partition for p in seen.assignment.topic_partitions), [0, 1])
    try:
        done(admin.delete_consumer_groups([group]))
    except KafkaException as e:
        equal(e.args[0].code(), KafkaError.NON_EMPTY_GROUP)
    else:
        raise AssertionError("a group with members is not deleted")
    member.close()


@suite
def kafka_python_consumes_in_a_group():
    topic, group = make("python", 2), suite.topic("g")
    fill(topic, 2, 20)

    def read(count):
        member = KafkaConsumer(
            topic, bootstrap_servers=suite.bootstrap, group_id=group, auto_offset_reset="earliest",
            enable_auto_commit=False)
        values, end = [], time.monotonic() + 30
        while len(values) < count:
            assert time.monotonic() < end, f"{len(values)} of {count} records"
            for records in member.poll(200).values():
                values.extend(int(record.value) for record in records)
        member.commit()
        member.close()
        return sorted(values)

    equal(read(20), list(range(20)))
    fill(topic, 2, 5, 20)
    equal(read(5), list(range(20, 25)))


@suite
def a_member_of_the_consumer_protocol_goes_on_where_it_has_committed():
    topic, group = make("new-resume"), suite.topic("g")
    fill(topic, 1, 10)
    member = consumer(group, group_protocol="consumer")
    member.subscribe([topic])
    equal(drain(member, 4), [0, 1, 2, 3])
    member.commit(offsets=[TopicPartition(topic, 0, 4)], asynchronous=False)
    member.close()
    member = consumer(group, group_protocol="consumer")
    member.subscribe([topic])
    equal(drain(member, 6), [4, 5, 6, 7, 8, 9])
    (committed,) = member.committed([TopicPartition(topic, 0)], 10)
    equal(committed.offset, 4)
    member.close()


@suite
def members_of_the_consumer_protocol_share_partitions_and_take_over():
    topic, group = make("new-share", 4), suite.topic("g")
    fill(topic, 4, 40)
    seen = []
    members = [consumer(group, group_protocol="consumer") for _ in range(2)]
    for member in members:
        member.subscribe([topic])

    def halves():
        for member in members:
            message = member.poll(0.1)
            if message is not None and message.error() is None:
                seen.append(int(message.value()))
        return [len(member.assignment()) for member in members] == [2, 2]

    eventually(lambda: halves() and set(range(40)) <= set(seen), "both have their half, and all records", 40)
    members.pop().close()
    eventually(lambda: members[0].poll(0.1) is None and len(members[0].assignment()) == 4, "one takes over", 40)
    members[0].close()


@suite
def members_of_the_consumer_protocol_subscribe_to_patterns():
    label, group = suite.topic("new-pattern"), suite.topic("g")
    topics = [make(label + "-a"), make(label + "-b")]
    for topic in topics:
        fill(topic, 1, 5)
    member = consumer(group, group_protocol="consumer")
    member.subscribe([f"^.*{label}-[ab].*"])
    equal(sorted(drain(member, 10, 40)), sorted(2 * list(range(5))))
    member.close()


@suite
def a_group_of_the_consumer_protocol_is_listed_and_deleted_when_it_is_empty():
    topic, group = make("new-listed", 2), suite.topic("g")
    member = consumer(group, group_protocol="consumer")
    member.subscribe([topic])
    eventually(lambda: member.poll(0.1) is None and len(member.assignment()) == 2, "all partitions", 40)
    (found,) = [g for g in admin.list_consumer_groups().result(30).valid if g.group_id == group]
    equal((found.state, found.type), (ConsumerGroupState.STABLE, ConsumerGroupType.CONSUMER))
    described = done(admin.describe_consumer_groups([group]))
    equal((described.state, len(described.members)), (ConsumerGroupState.STABLE, 1))
    equal(sorted(p.partition for p in described.members[0].assignment.topic_partitions), [0, 1])
    try:
        done(admin.delete_consumer_groups([group]))
    except KafkaException as e:
        equal(e.args[0].code(), KafkaError.NON_EMPTY_GROUP)
    else:
        raise AssertionError("a group with members is not deleted")
    member.close()
    done(admin.delete_consumer_groups([group]))
    equal([g for g in admin.list_consumer_groups().result(30).valid if g.group_id == group], [])


@suite
def a_group_goes_over_to_the_consumer_protocol_and_back_while_it_works():
    topic, group = make("migration", 4), suite.topic("g")
    fill(topic, 4, 40)
    seen = []

    def work(*members):
        for member in members:
            message = member.poll(0.05)
            if message is not None and message.error() is None:
                seen.append(int(message.value()))
        return [len(member.assignment()) for member in members]

    def kind():
        (found,) = [g for g in admin.list_consumer_groups().result(30).valid if g.group_id == group]
        return found.type

    old = consumer(group, partition_assignment_strategy="cooperative-sticky")
    old.subscribe([topic])
    eventually(lambda: work(old) == [4], "all partitions")
    equal(kind(), ConsumerGroupType.CLASSIC)
    new = consumer(group, group_protocol="consumer")
    new.subscribe([topic])
    eventually(lambda: work(old, new) == [2, 2] and set(range(40)) <= set(seen), "a half each, and all records", 50)
    equal(kind(), ConsumerGroupType.CONSUMER)
    new.close()
    fill(topic, 4, 40, 40)
    eventually(lambda: work(old) == [4] and set(range(80)) <= set(seen), "one has all again", 50)
    equal(kind(), ConsumerGroupType.CLASSIC)
    old.close()


@suite
def an_empty_group_changes_its_protocol_and_keeps_its_offsets():
    topic, group = make("protocols"), suite.topic("g")
    fill(topic, 1, 30)
    for start, protocol in [(0, "classic"), (10, "consumer"), (20, "classic")]:
        member = consumer(group, group_protocol=protocol)
        member.subscribe([topic])
        equal(drain(member, 10)[:10], list(range(start, start + 10)), protocol)
        member.commit(offsets=[TopicPartition(topic, 0, start + 10)], asynchronous=False)
        member.close()


suite.run()
