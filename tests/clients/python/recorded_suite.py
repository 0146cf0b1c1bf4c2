"""Segments that one broker wrote, read through another.

recorded_suite.py ADDRESS write FILE fills topics in every way that shapes a segment, and records in FILE what a reader sees;
recorded_suite.py ADDRESS read FILE, against a broker on the same folder, must see the same, and can go on writing.
"""

import json
import sys

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec

from checks import BASE_MS, CODECS, Suite, equal, sample

bootstrap, phase, path = sys.argv[1:4]
del sys.argv[2:]
suite = Suite(f"recorded-{phase}")
admin = AdminClient({"bootstrap.servers": bootstrap})

# name: (partitions, configs)
TOPICS = {
    **{f"codec-{codec}": (1, {"segment.bytes": "1048576"}) for codec in CODECS},
    "stamped": (1, {"message.timestamp.type": "LogAppendTime"}),
    "partitions": (7, {}),
    "trimmed": (1, {"segment.bytes": "1048576"}),
    "idempotent": (1, {}),
    "with.dots_and-dashes": (1, {"retention.ms": "900000000"}),
    "empty": (2, {}),
    "indexed": (1, {"index.interval.bytes": "100"}),
    "transactions": (2, {"segment.bytes": "1048576"}),
}


def done(futures):
    return [future.result(20) for future in futures.values()]


def producer(**config):
    return Producer({"bootstrap.servers": bootstrap, **{k.replace("_", "."): v for k, v in config.items()}})


def send(p, name, records, partition=0):
    failed = []
    for key, value, headers, at in records:
        p.produce(name, value, key, partition, timestamp=at, headers=headers, on_delivery=lambda e, _: e and failed.append(e))
        p.poll(0)
    equal((p.flush(60), failed), (0, []), "deliveries")


def read(name, partition, offset=0, isolation="read_committed"):
    """Everything from an offset on, as far as JSON carries it."""
    c = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False,
                  "enable.partition.eof": True, "fetch.wait.max.ms": 50, "auto.offset.reset": "earliest",
                  "isolation.level": isolation})
    c.assign([TopicPartition(name, partition, offset)])
    found = []
    while True:
        m = c.poll(20)
        assert m is not None, "nothing more"
        if m.error():
            if m.error().code() == KafkaError._PARTITION_EOF:
                c.close()
                return found
            raise KafkaException(m.error())
        headers = [[k, text(v)] for k, v in m.headers() or []]
        found.append([m.offset(), text(m.key()), text(m.value()), list(m.timestamp()), headers])


def transact():
    """Transactions of two producers at a time, committed and aborted, each over several segments and batches."""
    ends = ["commit", "abort", "abort", "commit", "abort", "commit", "commit", "abort"]
    producers = [producer(transactional_id=f"t{i}", linger_ms=5, batch_size=20_000) for i in range(2)]
    for p in producers:
        p.init_transactions(30)
    for round, (first, second) in enumerate(zip(ends[::2], ends[1::2])):
        for p in producers:
            p.begin_transaction()
        for part in range(3):
            for number, p in enumerate(producers):
                end = (first, second)[number]
                key = b"%s %d" % (end.encode(), round)
                records = [(key, b"%d" % i * 300, [], BASE_MS + i) for i in range(500)]
                send(p, "transactions", records, part % 2)
        for p, end in zip(producers, (first, second)):
            p.commit_transaction(30) if end == "commit" else p.abort_transaction(30)


def aborted(records):
    return [r for r in records if bytes.fromhex(r[1]).startswith(b"abort")]


def text(data):
    return None if data is None else data.hex()


def offset(name, partition, spec):
    (result,) = done(admin.list_offsets({TopicPartition(name, partition): spec}))
    return [result.offset, result.timestamp]


def seen():
    """What a reader can tell about every topic."""
    everything = {}
    for name, (partitions, configs) in TOPICS.items():
        for partition in range(partitions):
            records = read(name, partition)
            specs = [OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.max_timestamp()]
            specs += [OffsetSpec.for_timestamp(BASE_MS + ms) for ms in (-10_000, 4_321, 15_555, 90_000_000)]
            everything[f"{name}/{partition}"] = {
                "records": records,
                "offsets": [offset(name, partition, spec) for spec in specs],
            }
        (described,) = done(admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name)]))
        everything[f"{name}/configs"] = {key: described[key].value for key in configs}
        everything[f"{name}/partitions"] = len(admin.list_topics(name, 10).topics[name].partitions)
    everything["cluster"] = admin.list_topics(timeout=10).cluster_id
    return everything


def write():
    topics = [NewTopic(name, partitions, 1, config=configs) for name, (partitions, configs) in TOPICS.items()]
    done(admin.create_topics(topics))
    large = [(b"k%d" % i, b"%d" % i * 300, [], BASE_MS + i * 10) for i in range(4000)]
    for codec in CODECS:
        p = producer(compression_type=codec, linger_ms=5, batch_size=20_000)
        send(p, f"codec-{codec}", large)
        send(p, f"codec-{codec}", sample(2000))
    send(producer(linger_ms=5), "stamped", sample(500))
    for partition in range(7):
        send(producer(linger_ms=5), "partitions", sample(50 * partition), partition)
    send(producer(), "trimmed", large)
    equal(done(admin.delete_records([TopicPartition("trimmed", 0, 2345)]))[0].low_watermark, 2345)
    for _ in range(3):
        send(producer(enable_idempotence=True), "idempotent", sample(100))
    send(producer(), "with.dots_and-dashes", sample(10))
    send(producer(linger_ms=5, batch_size=1000), "indexed", sample(3000))
    transact()


if phase == "write":

    @suite
    def everything_is_written():
        write()
        with open(path, "w") as file:
            json.dump({"base": BASE_MS, "seen": seen()}, file)

else:
    with open(path) as file:
        recorded = json.load(file)
    BASE_MS = recorded["base"]
    now = {}

    @suite
    def everything_is_found_again():
        now.update(seen())
        equal(sorted(now), sorted(recorded["seen"]), "partitions")
        for place, wanted in recorded["seen"].items():
            if isinstance(wanted, dict) and "records" in wanted:
                equal(len(now[place]["records"]), len(wanted["records"]), f"records of {place}")
                for mine, theirs in zip(now[place]["records"], wanted["records"]):
                    equal(mine, theirs, f"a record of {place}")
                equal(now[place]["offsets"], wanted["offsets"], f"offsets of {place}")
            else:
                equal(now[place], wanted, place)

    @suite
    def reading_starts_anywhere():
        for place in ["codec-zstd/0", "codec-none/0", "indexed/0"]:
            name, wanted = place.split("/")[0], recorded["seen"][place]["records"]
            for at in [1, len(wanted) // 3, len(wanted) // 2 + 7, len(wanted) - 1]:
                equal(read(name, 0, at), wanted[at:], f"{place} from {at}")

    @suite
    def aborted_transactions_stay_aborted():
        for partition, count in [(0, 8000), (1, 4000)]:
            wanted = recorded["seen"][f"transactions/{partition}"]["records"]
            equal((len(wanted), aborted(wanted)), (count // 2, []), "records of committed transactions")
            for at in [wanted[len(wanted) // 3][0] + 1, wanted[-1][0]]:
                equal(read("transactions", partition, at), [r for r in wanted if r[0] >= at], f"from {at}")
            everything = read("transactions", partition, isolation="read_uncommitted")
            equal((len(everything), len(aborted(everything))), (count, count // 2), "with aborted ones")

    @suite
    def writing_goes_on():
        for name in ["codec-lz4", "trimmed", "empty", "stamped"]:
            before = offset(name, 0, OffsetSpec.latest())[0]
            send(producer(), name, sample(20))
            equal([r[0] for r in read(name, 0, before)], list(range(before, before + 20)), name)


suite.run()
