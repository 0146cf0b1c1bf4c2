"""Named checks of one client against one broker: a line for each, then a count that tests/clients.rs reads.

A check is a function; it passes when it returns and fails when it raises. Topics get fresh names, so that a suite can
be repeated against the same broker.
"""

import asyncio
import inspect
import signal
import sys
import time
import traceback
import uuid

SECONDS_MAX = 60

# Recent enough that no retention touches the records, early enough that every record lies in the past.
BASE_MS = int(time.time()) * 1000 - 3_600_000


class Suite:
    def __init__(self, name):
        self.name = name
        self.bootstrap = sys.argv[1]
        self.host, _, port = self.bootstrap.rpartition(":")
        self.port = int(port)
        self.checks = []
        self.skipped = 0

    def __call__(self, check):
        self.checks.append(check)
        return check

    def skip(self, check):
        self.skipped += 1
        print(f"skip {check.__name__}", flush=True)

    def topic(self, label):
        return f"{self.name}-{label}-{uuid.uuid4().hex[:8]}"

    def run(self):
        """Runs each check, or only those whose names contain an argument after the address."""
        signal.signal(signal.SIGALRM, too_slow)
        wanted = sys.argv[2:]
        passed = failed = 0
        for check in self.checks:
            name = check.__name__
            if wanted and not any(word in name for word in wanted):
                continue
            started = time.monotonic()
            signal.alarm(SECONDS_MAX)
            try:
                result = check()
                if inspect.iscoroutine(result):
                    asyncio.run(result)
                signal.alarm(0)
                passed += 1
                print(f"ok {name} ({time.monotonic() - started:.1f} s)", flush=True)
            except Exception:
                signal.alarm(0)
                failed += 1
                print(f"FAIL {name}\n{traceback.format_exc()}", flush=True)
        print(f"{self.name}: {passed} passed, {failed} failed, {self.skipped} skipped", flush=True)
        sys.exit(1 if failed else 0)


def too_slow(_signal, _frame):
    raise TimeoutError(f"no result within {SECONDS_MAX} s")


def equal(seen, wanted, what=""):
    assert seen == wanted, f"{what}: expected {wanted!r:.300}, saw {seen!r:.300}"


def eventually(condition, what, seconds=20):
    """Metadata reaches clients a moment after an administrative call returns, in Kafka too."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def sample(count):
    """Records of every shape that matters: null and empty keys and values, repeated and random-looking bytes,
    headers with repeated names and null values. (key, value, headers, timestamp in ms)"""
    records = []
    for i in range(count):
        key = [None, b"", b"key-%d" % i, f"schlüssel-{i}".encode()][i % 4]
        noise = bytes((i * 31 + j * 17) % 256 for j in range(i % 211))
        value = [b"value %d" % i, None, b"", b"x" * (i % 977), noise][i % 5]
        headers = [[], [("a", b"1"), ("a", b"2")], [("empty", b""), ("nothing", None)]][i % 3]
        records.append((key, value, headers, BASE_MS + i * 10))
    return records


def plain_sample(count):
    """For clients that refuse to send null headers, and records without key and value."""
    return [
        (
            b"" if key is None and value is None else key,
            value,
            [(name, b"" if content is None else content) for name, content in headers],
            timestamp,
        )
        for key, value, headers, timestamp in sample(count)
    ]


CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
