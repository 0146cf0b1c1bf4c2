"""kcat as Debian ships it: an old librdkafka, which asks for old versions of the messages and still falls back through
ApiVersions. The suite itself needs nothing but Python's standard library."""

import json
import subprocess
import time

from checks import CODECS, Suite, equal, eventually

suite = Suite("kcat")


def kcat(*arguments, text=b"", fails=False):
    command = ["kcat", "-b", suite.bootstrap, *arguments]
    done = subprocess.run(command, input=text, capture_output=True, timeout=50)
    assert (done.returncode != 0) == fails, f"{command}: {done.returncode} {done.stderr.decode()}"
    return done.stderr.decode() if fails else done.stdout


def read(topic, *arguments, partition=0):
    """Everything from an offset on, one JSON document a record."""
    lines = kcat("-C", "-t", topic, "-p", str(partition), "-e", "-q", "-J", *arguments).splitlines()
    return [json.loads(line) for line in lines]


def create(topic, **config):
    """kcat has no administration, so that its topics come into being by being written to."""
    kcat("-P", "-t", topic, "-p", "0", text=b"first")
    eventually(lambda: len(read(topic)) == 1, "the first record")


@suite
def metadata_is_listed():
    listed = json.loads(kcat("-L", "-J"))
    equal([b["name"] for b in listed["brokers"]], [suite.bootstrap])
    equal(listed["controllerid"], listed["brokers"][0]["id"])


@suite
def a_topic_is_created_by_writing_to_it():
    topic = suite.topic("auto")
    kcat("-P", "-t", topic, text=b"one\ntwo\nthree")
    equal([r["payload"] for r in read(topic)], ["one", "two", "three"])
    listed = json.loads(kcat("-L", "-J", "-t", topic))["topics"][0]
    equal((listed["topic"], len(listed["partitions"])), (topic, 1))


@suite
def keys_headers_and_nulls_come_back():
    topic = suite.topic("shapes")
    kcat("-P", "-t", topic, "-p", "0", "-K:", "-Z", "-H", "a=1", "-H", "b=", "-H", "a=2", text=b"k:v\n:empty key\nnull:\n")
    seen = [(r.get("key"), r.get("payload"), r.get("headers")) for r in read(topic)]
    headers = ["a", "1", "b", "", "a", "2"]
    equal(seen, [("k", "v", headers), (None, "empty key", headers), ("null", None, headers)])


@suite
def each_codec_is_written_and_read():
    lines = b"".join(b"line %d of some text that repeats itself\n" % i for i in range(5000))
    for codec in CODECS:
        topic = suite.topic(codec)
        create(topic)
        kcat("-P", "-t", topic, "-p", "0", "-z", codec, "-X", "linger.ms=50", text=lines)
        equal(kcat("-C", "-t", topic, "-p", "0", "-o", "1", "-e", "-q"), lines, codec)


@suite
def acks_of_each_kind_with_and_without_idempotence():
    for settings in [["acks=0"], ["acks=1"], ["acks=all"], ["acks=all", "enable.idempotence=true"]]:
        topic = suite.topic("acks")
        options = [part for s in settings for part in ("-X", s)]
        kcat("-P", "-t", topic, "-p", "0", *options, text=b"1\n2\n3")
        eventually(lambda: [r["payload"] for r in read(topic)] == ["1", "2", "3"], f"records with {settings}")


@suite
def reading_from_the_middle_and_from_the_end():
    topic = suite.topic("middle")
    kcat("-P", "-t", topic, "-p", "0", text=b"\n".join(b"%d" % i for i in range(100)))
    equal([r["offset"] for r in read(topic, "-o", "90")], list(range(90, 100)))
    equal([r["payload"] for r in read(topic, "-o", "-3")], ["97", "98", "99"])
    equal([r["payload"] for r in read(topic, "-o", "40", "-c", "2")], ["40", "41"])


@suite
def offsets_are_found_by_time():
    topic = suite.topic("time")
    kcat("-P", "-t", topic, "-p", "0", text=b"early")
    time.sleep(0.05)
    kcat("-P", "-t", topic, "-p", "0", text=b"late")
    early, late = [r["ts"] for r in read(topic)]
    assert early < late
    for at, offset in [(early, 0), (early + 1, 1), (late, 1), (late + 1, -1), (-1, 2), (-2, 0)]:
        answer = kcat("-Q", "-t", f"{topic}:0:{at}").decode()
        equal(answer.strip(), f"{topic} [0] offset {offset}")
    equal([r["payload"] for r in read(topic, "-o", f"s@{early + 1}")], ["late"])


@suite
def a_large_message_passes_and_one_too_large_does_not():
    topic = suite.topic("large")
    create(topic)
    limits = ["-X", "message.max.bytes=9000000", "-D", ";"]
    big = bytes(97 + i % 26 for i in range(1_000_000))
    kcat("-P", "-t", topic, "-p", "0", *limits, text=big)
    equal(kcat("-C", "-t", topic, "-p", "0", "-o", "1", "-e", "-q", "-D", ""), big)
    said = kcat("-P", "-t", topic, "-p", "0", *limits, text=big * 2, fails=True)
    assert "Message size too large" in said, said


@suite
def a_group_goes_on_where_it_has_committed():
    topic, group = suite.topic("group"), suite.topic("g")
    settings = ["-X", "auto.offset.reset=earliest", "-q"]
    kcat("-P", "-t", topic, "-p", "0", text=b"1\n2\n3")
    equal(kcat(*settings, "-G", group, "-c", "3", topic), b"1\n2\n3\n")
    kcat("-P", "-t", topic, "-p", "0", text=b"4\n5")
    equal(kcat(*settings, "-G", group, "-c", "2", topic), b"4\n5\n")


@suite
def an_invalid_name_is_refused():
    said = kcat("-P", "-t", "not a name", "-p", "0", "-X", "message.timeout.ms=5000", text=b"v", fails=True)
    assert "Invalid topic" in said, said


suite.run()
