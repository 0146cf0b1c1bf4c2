"""What a hostile or broken client sends, and what must come of it: the right error or a closed connection, and nobody else
disturbed. After each check a connection that was opened before all of them still writes and reads.

The expected answers are those of Apache Kafka; where it answers UNKNOWN_SERVER_ERROR because a codec threw, an error that
names the cause is as good.
"""

import gzip
import os
import socket
import struct
import threading
import time
import uuid

from checks import Suite, equal, eventually
from raw import (
    API_VERSIONS,
    CREATE_TOPICS,
    FETCH,
    METADATA,
    PRODUCE,
    Closed,
    Connection,
    array,
    batch,
    create_topic,
    fetch,
    fetched,
    frame,
    header,
    int32,
    produce,
    produced,
    record,
    string,
    varint,
)

UNKNOWN_SERVER_ERROR, CORRUPT, UNKNOWN_TOPIC, TOO_LARGE, INVALID_TOPIC = -1, 2, 3, 10, 17
INVALID_ACKS, INVALID_TIMESTAMP, UNSUPPORTED_VERSION, INVALID_REQUEST = 21, 32, 35, 42
OUT_OF_ORDER, INVALID_EPOCH, TRANSACTION_REFUSED, UNSUPPORTED_CODEC, INVALID_RECORD = 45, 47, 53, 76, 87

suite = Suite("hostile")
now_ms = int(time.time() * 1000)
topic = f"hostile-{uuid.uuid4().hex[:8]}"
strict_topic = f"{topic}-keys"


def connect(seconds=20):
    return Connection(suite.host, suite.port, seconds)


class Bystander:
    """Somebody else, on one connection from the first check to the last."""

    def __init__(self):
        self.connection = connect()
        self.connection.call(CREATE_TOPICS, 3, create_topic(topic, 4))
        self.connection.call(CREATE_TOPICS, 3, create_topic(strict_topic, 1, [("cleanup.policy", "compact")]))
        eventually(lambda: self.write(0, topic)[0] == 0, "the topic")
        eventually(lambda: write(batch([b"v"], payload=record(0, b"k", b"v"), now_ms=now_ms), name=strict_topic)[0] == 0,
                   "the topic with keys")
        self.next = self.write(3, topic)[1] + 1

    def starts_anew(self):
        """After a failed check, so that the next ones are judged by themselves."""
        self.connection.socket.close()
        self.connection = connect()
        self.next = self.write(3, topic)[1] + 1

    def write(self, partition, name):
        return produced(self.connection.call(PRODUCE, 8, produce(name, batch([b"x"], now_ms=now_ms), -1, partition)))

    def is_undisturbed(self):
        error, offset, _ = self.write(3, topic)
        equal((error, offset), (0, self.next), "the bystander's write")
        error, high, records = fetched(self.connection.call(FETCH, 4, fetch(topic, self.next, 3)))
        equal((error, high), (0, self.next + 1), "the bystander's read")
        assert len(records) > 60, records
        self.next += 1


def hostile(check):
    def with_bystander():
        try:
            check()
            bystander.is_undisturbed()
        except Exception:
            bystander.starts_anew()
            raise

    with_bystander.__name__ = check.__name__
    return suite(with_bystander)


def stricter(check):
    """A check that Apache Kafka does not pass: it takes memory for a request as soon as its length is claimed."""
    if os.environ.get("CORELOG_CLIENTS_AGAINST") == "apache-kafka":
        suite.skip(check)
        return check
    return hostile(check)


def write(records, name=None, partition=0, acks=-1, version=8):
    with connect() as c:
        return produced(c.call(PRODUCE, version, produce(name or topic, records, acks, partition)))


def refused(errors, records, **options):
    error, offset, message = write(records, **options)
    assert error in errors, f"error {error} ({message}) instead of {errors}"
    equal(offset, -1, "offset of a refused batch")


def closes(*chunks, wait=0.0):
    """Sends bytes and expects that the broker closes the connection without a reply."""
    with connect() as c:
        try:
            for chunk in chunks:
                c.send(chunk)
                time.sleep(wait)
        except Closed:
            return
        assert c.is_closed(), "the connection stays open"


def answers(key, version, body):
    with connect() as c:
        return c.call(key, version, body)


@hostile
def another_protocol_is_closed():
    closes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    closes(bytes.fromhex("16030100c8010000c40303") + bytes(200))
    closes(b"\xff" * 1000)


@hostile
def impossible_lengths_are_closed():
    closes(int32(-1))
    closes(int32(-(2**31)))
    closes(int32(2**31 - 1))
    closes(int32(104857601))
    closes(int32(0))
    closes(int32(3) + b"abc")


@hostile
def half_frames_hold_nobody_up():
    waiting = [connect() for _ in range(50)]
    for i, c in enumerate(waiting):
        c.send(frame(header(METADATA, 1, 1) + int32(0))[: 1 + i % 20])
    bystander.is_undisturbed()
    for c in waiting:
        c.socket.close()


@stricter
def a_claimed_hundred_megabytes_cost_nothing_until_they_come():
    waiting = [connect() for _ in range(40)]
    for c in waiting:
        c.send(int32(104857600) + header(PRODUCE, 8, 1))
    bystander.is_undisturbed()
    for c in waiting:
        c.socket.close()


@hostile
def a_request_byte_by_byte_is_served():
    with connect() as c:
        for byte in frame(header(METADATA, 1, 77) + int32(0)):
            c.send(bytes([byte]))
            time.sleep(0.002)
        equal(c.reply()[0], 77, "correlation id")


@hostile
def unknown_apis_and_versions_are_closed():
    for key, version in [(9999, 0), (-5, 0), (4, 0), (62, 0), (METADATA, 99), (METADATA, -1), (FETCH, 3), (PRODUCE, 99)]:
        closes(frame(header(key, version, 1) + bytes(20)))
    for version in [0, 1, 2]:
        # Advertised for librdkafka's sake only: refused in a reply or by closing, but not served.
        part = int32(0) + int32(14) + bytes(14)
        with connect() as c:
            try:
                reply = c.call(PRODUCE, version, struct.pack(">hi", -1, 1000) + array([string(topic) + array([part])]))
            except Closed:
                continue
            reply.take("i"), reply.string(), reply.take("i"), reply.take("i")
            equal(reply.take("h"), UNSUPPORTED_VERSION, f"Produce v{version}")


@hostile
def an_unknown_version_of_api_versions_is_answered_in_version_0():
    for version in [99, 32767, -1]:
        reply = answers(API_VERSIONS, version, b"\0\1\1\0")
        equal(reply.take("h"), UNSUPPORTED_VERSION, "error")
        ranges = {reply.take("h"): (reply.take("h"), reply.take("h")) for _ in range(reply.take("i"))}
        low, high = ranges[API_VERSIONS]
        assert low == 0 and high >= 3, ranges
    reply = answers(API_VERSIONS, 3, b"\0" + b"\1" + b"\1" + b"\0")
    equal(reply.take("h"), INVALID_REQUEST, "an empty software name")


@hostile
def impossible_counts_are_closed():
    closes(frame(header(METADATA, 1, 1) + int32(2**31 - 1)))
    closes(frame(header(METADATA, 12, 1) + b"\0" + b"\xff\xff\xff\xff\x0f"))
    closes(frame(header(METADATA, 12, 1) + b"\0" + b"\xff" * 10))
    closes(frame(header(METADATA, 1, 1) + int32(1) + struct.pack(">h", 30000) + b"ab"))
    closes(frame(header(METADATA, 1, 1) + b"\0\0"))
    closes(frame(struct.pack(">hhih", METADATA, 1, 1, 32767) + b"a"))
    closes(frame(header(PRODUCE, 8, 1) + string(None) + struct.pack(">hi", -1, 1000) + int32(2**31 - 1)))
    closes(frame(header(PRODUCE, 8, 1) + string(None) + struct.pack(">hi", -1, 1000) + int32(1) + string(topic) + int32(2**31 - 1)))
    some = string(None) + struct.pack(">hi", -1, 1000) + array([string(topic) + int32(1) + int32(0) + int32(2**31 - 1)])
    closes(frame(header(PRODUCE, 8, 1) + some))
    closes(frame(header(FETCH, 4, 1) + struct.pack(">iiiib", -1, 100, 1, 1000, 0) + int32(2**31 - 1)))
    closes(frame(header(CREATE_TOPICS, 3, 1) + int32(2**31 - 1)))


@hostile
def a_wrong_checksum_is_corrupt():
    refused([CORRUPT], batch([b"a"], now_ms=now_ms, crc=1))
    good = bytearray(batch([b"some value"], now_ms=now_ms))
    good[-3] ^= 1
    refused([CORRUPT], bytes(good))


@hostile
def batches_of_a_wrong_shape_are_refused():
    refused([INVALID_RECORD], batch([b"a"], now_ms=now_ms, magic=0))
    refused([INVALID_RECORD], batch([b"a"], now_ms=now_ms, magic=1))
    refused([CORRUPT], batch([b"a"], now_ms=now_ms, magic=3))
    refused([CORRUPT], batch([b"a"], now_ms=now_ms, length=-1))
    refused([CORRUPT], batch([b"a"], now_ms=now_ms, length=10))
    refused([INVALID_RECORD, CORRUPT], batch([b"a"], now_ms=now_ms, length=1000))
    refused([INVALID_RECORD, CORRUPT], batch([b"a" * 100], now_ms=now_ms)[:-20])
    refused([INVALID_RECORD], b"")
    refused([INVALID_RECORD, CORRUPT], b"abc")
    refused([INVALID_RECORD], batch([b"a"], now_ms=now_ms) * 2)
    refused([INVALID_RECORD], batch([b"a"], now_ms=now_ms, base=5))
    refused([INVALID_RECORD], batch([], now_ms=now_ms, last_delta=0, count=0))


@hostile
def record_counts_must_be_true():
    for count, last_delta in [(5, None), (0, None), (-1, None), (2**31 - 1, 2**31 - 2), (None, 7), (None, -1)]:
        refused([INVALID_RECORD], batch([b"a"], now_ms=now_ms, count=count, last_delta=last_delta))


@hostile
def records_must_decode():
    for payload in [
        varint(100) + b"\0\0\0\1\1\0",
        varint(-5) + b"\0\0\0\1\1\0",
        record(0, None, b"a") + b"zz",
        varint(12) + b"\0\0\0" + varint(-1) + varint(-1) + varint(2**31 - 1) + b"ab",
        b"\xff" * 11,
    ]:
        refused([INVALID_RECORD, CORRUPT, UNKNOWN_SERVER_ERROR], batch([b"a"], now_ms=now_ms, payload=payload))


@hostile
def compressed_garbage_is_refused():
    wrong = [UNKNOWN_SERVER_ERROR, CORRUPT, INVALID_RECORD]
    for codec in [1, 2, 3, 4]:
        refused(wrong, batch([b"a"], now_ms=now_ms, attributes=codec, payload=b"garbage!" * 9))
    refused(wrong, batch([b"a"], now_ms=now_ms, attributes=1, payload=gzip.compress(record(0, None, b"a") + b"rest")))
    refused(wrong, batch([b"a"], now_ms=now_ms, attributes=1, payload=gzip.compress(record(0, None, b"a"))[:-9]))
    refused(wrong, batch([b"a"] * 2, now_ms=now_ms, attributes=1, payload=gzip.compress(record(0, None, b"a"))))


@hostile
def a_compression_that_does_not_exist_is_refused():
    for codec in [5, 6, 7]:
        refused([UNKNOWN_SERVER_ERROR], batch([b"a"], now_ms=now_ms, attributes=codec))


@hostile
def a_compression_bomb_takes_no_memory_and_holds_nobody_up():
    bomb = gzip.compress(record(0, None, bytes(300 * 2**20)), 9)
    threads = [threading.Thread(target=write, args=(batch([b"a"], now_ms=now_ms, attributes=1, payload=bomb),)) for _ in range(4)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        bystander.is_undisturbed()
    for t in threads:
        t.join()


@hostile
def reserved_kinds_of_batches_are_refused():
    refused([INVALID_RECORD], batch([b"a"], now_ms=now_ms, attributes=0x20))
    refused([INVALID_RECORD], batch([b"a"], now_ms=now_ms, producer=(7, -1, -1)))
    refused([INVALID_RECORD], batch([b"a"], now_ms=now_ms, producer=(7, 0, -1)))
    refused([TRANSACTION_REFUSED, INVALID_RECORD], batch([b"a"], now_ms=now_ms, attributes=0x10))
    refused([INVALID_RECORD], batch([b"a"], now_ms=now_ms), name=strict_topic)
    refused([INVALID_TIMESTAMP], batch([b"a"], now_ms=now_ms + 7_200_000))
    refused([TOO_LARGE], batch([b"a" * 1_100_000], now_ms=now_ms))


@hostile
def sequences_and_epochs_are_kept():
    def from_producer(epoch, sequence):
        return batch([b"a"], now_ms=now_ms, producer=(123456789, epoch, sequence))

    equal(write(from_producer(0, 0), partition=1)[:2], (0, 0))
    equal(write(from_producer(0, 0), partition=1)[:2], (0, 0), "a repetition")
    refused([OUT_OF_ORDER], from_producer(0, 5), partition=1)
    equal(write(from_producer(0, 1), partition=1)[:2], (0, 1))
    refused([OUT_OF_ORDER], from_producer(1, 3), partition=1)
    equal(write(from_producer(1, 0), partition=1)[:2], (0, 2), "a new epoch")
    refused([INVALID_EPOCH], from_producer(0, 2), partition=1)


@hostile
def strange_places_are_unknown():
    good = batch([b"a"], now_ms=now_ms)
    for name in ["not a name", f"nope-{topic}", "../../etc/passwd", "a" * 300, "__cluster_metadata"]:
        refused([UNKNOWN_TOPIC, INVALID_TOPIC], good, name=name)
    for partition in [99, -1, 2**31 - 1, -(2**31)]:
        refused([UNKNOWN_TOPIC], good, partition=partition)
    for acks in [2, -2, 32767]:
        refused([INVALID_ACKS], good, acks=acks)


@hostile
def without_acks_an_error_closes_the_connection():
    closes(frame(header(PRODUCE, 8, 1) + produce(topic, batch([b"a"], now_ms=now_ms, crc=1), 0)))
    closes(frame(header(PRODUCE, 8, 1) + produce(topic, batch([b"a"], now_ms=now_ms), 0, 99)))
    with connect(2) as c:
        c.request(PRODUCE, 8, produce(topic, batch([b"a"], now_ms=now_ms), 0))
        equal(fetched(c.call(FETCH, 4, fetch(topic, 0)))[0], 0, "the same connection goes on")


@hostile
def strange_fetches_are_answered():
    for offset in [10**9, -1, -2, 2**63 - 1]:
        equal(fetched(answers(FETCH, 4, fetch(topic, offset)))[0], 1, f"offset {offset}")
    for partition in [99, -1, 2**31 - 1]:
        equal(fetched(answers(FETCH, 4, fetch(topic, 0, partition)))[0], UNKNOWN_TOPIC, f"partition {partition}")
    equal(fetched(answers(FETCH, 4, fetch("not a name", 0)))[0], UNKNOWN_TOPIC, "an invalid name")
    equal(fetched(answers(FETCH, 4, fetch(topic, 0, 2)))[:2], (0, 0), "an empty partition")
    equal(fetched(answers(FETCH, 4, fetch(topic, 0, 3, max_bytes=0)))[0], 0, "no room for records")
    for size in [-1, -(2**31)]:
        # Kafka says UNKNOWN_SERVER_ERROR; any answer will do.
        fetched(answers(FETCH, 4, fetch(topic, 0, 3, max_bytes=size)))


@hostile
def replies_keep_the_order_of_requests():
    with connect() as c:
        wanted = []
        for i in range(300):
            kind = i % 4
            if kind == 0:
                wanted.append(c.request(PRODUCE, 8, produce(topic, batch([b"a"], now_ms=now_ms), -1, i // 4 % 3)))
            elif kind == 1:
                wanted.append(c.request(METADATA, 1, int32(0)))
            elif kind == 2:
                wanted.append(c.request(FETCH, 4, fetch(topic, 0, 3, 0)))
            else:
                wanted.append(c.request(API_VERSIONS, 0, b""))
        equal([c.reply()[0] for _ in wanted], wanted, "correlation ids")


@hostile
def whoever_does_not_read_waits_alone():
    values = [bytes(100_000) for _ in range(9)]
    for _ in range(10):
        equal(write(batch(values, now_ms=now_ms), partition=2)[0], 0)
    greedy = [connect() for _ in range(10)]
    for c in greedy:
        c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.socket.setblocking(False)
        try:
            for i in range(200):
                c.socket.send(frame(header(FETCH, 4, i) + fetch(topic, 0, 2, 0, 50_000_000)))
        except BlockingIOError:
            pass
    for _ in range(20):
        bystander.is_undisturbed()
    for c in greedy:
        c.socket.close()


@hostile
def connections_come_and_go():
    for _ in range(8):
        many = [connect() for _ in range(50)]
        for i, c in enumerate(many):
            if i % 2:
                c.send(frame(header(METADATA, 1, i) + int32(0)))
            if i % 3 == 0:
                c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            c.socket.close()


@hostile
def writers_vanish_in_the_middle_of_a_request():
    whole = frame(header(PRODUCE, 8, 1) + produce(topic, batch([bytes(50_000)], now_ms=now_ms)))
    for cut in range(1, len(whole), 2500):
        c = connect()
        c.send(whole[:cut])
        c.socket.close()


@hostile
def random_bytes_in_valid_frames():
    seed = 1
    for round in range(300):
        body = bytearray()
        for _ in range(seed % 97):
            seed = seed * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
            body.append(seed >> 56)
        seed = seed * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        # Group and transaction APIs would wait, or stop others: only those that answer at once.
        key = [0, 1, 2, 3, 10, 18, 23, 32, 35, 55, 60, 75][round % 12]
        c = connect()
        try:
            c.send(frame(header(key, seed % 14, round) + bytes(body)))
        except Closed:
            pass
        c.socket.close()


@hostile
def a_new_connection_is_served_as_ever():
    equal(write(batch([b"a", b"b"], now_ms=now_ms))[0], 0)


bystander = Bystander()
suite.run()
