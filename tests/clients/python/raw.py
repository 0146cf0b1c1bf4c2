"""The protocol by hand, with nothing but the standard library: frames, headers of the versions without tagged fields,
and record batches that can be wrong in any field."""

import socket
import struct

PRODUCE, FETCH, LIST_OFFSETS, METADATA, FIND_COORDINATOR, API_VERSIONS, CREATE_TOPICS = 0, 1, 2, 3, 10, 18, 19


class Closed(Exception):
    """The broker closed the connection."""


class Connection:
    def __init__(self, host, port, seconds=20):
        self.socket = socket.create_connection((host, port), seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def receive(self, count):
        data = b""
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionResetError:
                raise Closed from None
            if not part:
                raise Closed
            data += part
        return data

    def request(self, key, version, body):
        """Sends a frame and returns its correlation id."""
        self.correlation += 1
        self.send(frame(header(key, version, self.correlation) + body))
        return self.correlation

    def reply(self):
        """The next reply's correlation id and the bytes after it."""
        data = self.receive(struct.unpack(">i", self.receive(4))[0])
        return struct.unpack(">i", data[:4])[0], Reader(data[4:])

    def call(self, key, version, body):
        wanted = self.request(key, version, body)
        correlation, reader = self.reply()
        assert correlation == wanted, f"reply {correlation} to request {wanted}"
        return reader

    def is_closed(self):
        """Waits until the broker closes; whatever it still sends is thrown away."""
        try:
            while True:
                if not self.socket.recv(65536):
                    return True
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, kind):
        (value,) = struct.unpack_from(">" + kind, self.data, self.at)
        self.at += struct.calcsize(">" + kind)
        return value

    def string(self):
        length = self.take("h")
        if length < 0:
            return None
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def bytes(self):
        length = self.take("i")
        if length < 0:
            return None
        self.at += length
        return self.data[self.at - length : self.at]

    def array(self, item):
        return [item() for _ in range(self.take("i"))]


def frame(data):
    return struct.pack(">i", len(data)) + data


def header(key, version, correlation, client="hostile"):
    return struct.pack(">hhi", key, version, correlation) + string(client)


def string(text):
    if text is None:
        return struct.pack(">h", -1)
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def int32(value):
    return struct.pack(">i", value)


def produce(topic, records, acks=-1, partition=0):
    """Version 8 and before."""
    data = int32(-1) if records is None else int32(len(records)) + records
    part = int32(partition) + data
    return string(None) + struct.pack(">hi", acks, 10000) + array([string(topic) + array([part])])


def produced(reader):
    """Error, base offset and message of the only partition, version 8."""

    def partition():
        found = reader.take("i"), reader.take("h"), reader.take("q"), reader.take("q"), reader.take("q")
        reader.array(lambda: (reader.take("i"), reader.string()))
        return found[1], found[2], reader.string()

    def topic():
        reader.string()
        return reader.array(partition)

    ((result,),) = reader.array(topic)
    return result


def fetch(topic, offset, partition=0, wait_ms=100, max_bytes=1 << 20):
    """Version 4."""
    part = struct.pack(">iqi", partition, offset, max_bytes)
    return struct.pack(">iiiib", -1, wait_ms, 1, max_bytes, 0) + array([string(topic) + array([part])])


def fetched(reader):
    """Error, high watermark and record bytes of the only partition, version 4."""
    reader.take("i")

    def partition():
        _, error, high, _ = reader.take("i"), reader.take("h"), reader.take("q"), reader.take("q")
        reader.array(lambda: (reader.take("q"), reader.take("q")))
        return error, high, reader.bytes()

    def topic():
        reader.string()
        return reader.array(partition)

    ((result,),) = reader.array(topic)
    return result


def create_topic(name, partitions=1, configs=()):
    """Version 2 and 3."""
    entries = array([string(k) + string(v) for k, v in configs])
    return array([string(name) + struct.pack(">ih", partitions, 1) + array([]) + entries]) + struct.pack(">ib", 10000, 0)


def varint(value):
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def record(delta, key, value):
    def field(data):
        return varint(-1) if data is None else varint(len(data)) + data

    body = b"\0" + varint(delta) + varint(delta) + field(key) + field(value) + varint(0)
    return varint(len(body)) + body


def batch(values, *, now_ms=0, base=0, magic=2, attributes=0, last_delta=None, count=None, crc=None, length=None,
          producer=(-1, -1, -1), payload=None, epoch=-1):
    """A record batch; any field can be given a value that does not fit."""
    records = b"".join(record(i, None, v) for i, v in enumerate(values)) if payload is None else payload
    deltas = len(values) - 1 if last_delta is None else last_delta
    rest = struct.pack(">hiqqqhii", attributes, deltas, now_ms, now_ms + len(values) - 1, *producer,
                       len(values) if count is None else count) + records
    crc = crc32c(rest) if crc is None else crc
    tail = struct.pack(">ibI", epoch, magic, crc) + rest
    return struct.pack(">qi", base, len(tail) if length is None else length) + tail


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def crc_table():
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


CRC_TABLE = list(crc_table())
