"""A whole book, verse by verse with its reference as the key, in through one client and out through another.

text_suite.py ADDRESS write FILE, then, after whatever happened to the broker, text_suite.py ADDRESS read FILE. Each codec has
a topic of three partitions; the client's own partitioner chooses among them, and a header keeps the number of the line.
"""

import asyncio
import hashlib
import inspect
import subprocess
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka import TopicPartition as ConfluentPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaProducer

from checks import Suite, equal

PARTITIONS = 3
bootstrap, phase, path = sys.argv[1:4]
del sys.argv[2:]
suite = Suite(f"text-{phase}")
text = open(path, "rb").read()
lines = text.splitlines(keepends=True)


def topic(codec):
    return f"text-{codec}"


def records():
    for number, line in enumerate(lines):
        key, _, verse = line.rstrip(b"\n").partition(b" ")
        yield key, verse, [("line", b"%d" % number)]


# ---- the clients as writers and as readers; a reader gives (partition, key, value, headers) until all are read


def write_with_confluent(name, codec):
    failed = []
    p = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "enable.idempotence": True, "linger.ms": 20})
    for key, verse, headers in records():
        p.produce(name, verse, key, headers=headers, on_delivery=lambda error, _: error and failed.append(error))
        p.poll(0)
    equal((p.flush(60), failed), (0, []), "deliveries")


def write_with_kafka_python(name, codec):
    p = KafkaProducer(bootstrap_servers=bootstrap, compression_type=codec, acks="all", linger_ms=20, batch_size=65536)
    sent = [p.send(name, key=key, value=verse, headers=headers) for key, verse, headers in records()]
    p.flush(60)
    for future in sent:
        future.get(1)
    p.close()


async def write_with_aiokafka(name, codec):
    p = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=codec, enable_idempotence=True, linger_ms=20)
    await p.start()
    sent = [await p.send(name, key=key, value=verse, headers=headers) for key, verse, headers in records()]
    await asyncio.gather(*sent)
    await p.stop()


def read_with_confluent(name):
    c = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False})
    c.assign([ConfluentPartition(name, p, 0) for p in range(PARTITIONS)])
    for _ in lines:
        m = c.poll(20)
        assert m is not None, "nothing more"
        if m.error():
            raise KafkaException(m.error())
        yield m.partition(), m.key(), m.value(), m.headers()
    c.close()


async def read_with_aiokafka(name):
    c = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await c.start()
    partitions = [TopicPartition(name, p) for p in range(PARTITIONS)]
    c.assign(partitions)
    await c.seek_to_beginning(*partitions)
    found = []
    while len(found) < len(lines):
        for batch in (await asyncio.wait_for(c.getmany(timeout_ms=1000), 20)).values():
            found += [(m.partition, m.key, m.value, m.headers) for m in batch]
    await c.stop()
    return found


def read_with_kcat(name):
    for partition in range(PARTITIONS):
        command = ["kcat", "-b", bootstrap, "-C", "-t", name, "-p", str(partition), "-e", "-q", "-f", "%h\t%k\t%s\n"]
        for line in subprocess.run(command, capture_output=True, check=True, timeout=50).stdout.splitlines():
            header, key, value = line.split(b"\t")
            yield partition, key, value, [tuple(header.split(b"="))]


WAYS = {
    "none": (write_with_confluent, read_with_kcat),
    "gzip": (write_with_kafka_python, read_with_confluent),
    "snappy": (write_with_aiokafka, read_with_confluent),
    "lz4": (write_with_confluent, read_with_aiokafka),
    "zstd": (write_with_aiokafka, read_with_confluent),
}


def write(codec, way):
    name = topic(codec)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (made,) = admin.create_topics([NewTopic(name, PARTITIONS, 1)]).values()
    made.result(20)
    done = way(name, None if codec == "none" and way is not write_with_confluent else codec)
    if inspect.iscoroutine(done):
        asyncio.run(done)


def read(codec, way):
    found = way(topic(codec))
    if inspect.iscoroutine(found):
        found = asyncio.run(found)
    restored = [None] * len(lines)
    last = {}
    partition_of_key = {}
    for partition, key, value, headers in found:
        number = int(headers[0][1])
        assert number > last.get(partition, -1), f"line {number} after {last[partition]} in partition {partition}"
        last[partition] = number
        equal(partition_of_key.setdefault(key, partition), partition, f"partition of {key}")
        equal(restored[number], None, f"line {number} read twice")
        restored[number] = key + b" " + value + b"\n"
    assert len(last) == PARTITIONS, f"only partitions {list(last)} were written to"
    equal(hashlib.sha256(b"".join(restored)).hexdigest(), hashlib.sha256(text).hexdigest(), "the whole text")


def checks():
    for codec, (writer, reader) in WAYS.items():

        def check(codec=codec, way=writer if phase == "write" else reader):
            (write if phase == "write" else read)(codec, way)

        check.__name__ = f"{codec}_{(writer if phase == 'write' else reader).__name__}"
        suite(check)


assert text.endswith(b"\n") and len(lines) > 30_000, f"{path} is not the whole text"
checks()
suite.run()
