import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Future;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.InvalidRecordException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Logs whose records went: compacted, deleted up to an offset, and cut by retention, in the eyes of Apache Kafka's
 * consumer, console consumer and DumpLogSegments. What compaction leaves is compared with a map, record by record.
 */
public final class CompactedSuite {
    private static final String CONSOLE = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    private static final int RECORDS = 4000;
    private static final Pattern DUMPED = Pattern.compile("^\\| offset: (\\d+) .*");
    private static final Map<String, String> COMPACTED = Map.of(
            "cleanup.policy", "compact", "segment.bytes", "1048576", "min.cleanable.dirty.ratio", "0.01");

    /** As it was written, and as it is read again. */
    private record Entry(String key, String value) {
    }

    private final Checks checks = new Checks("compacted");
    private final Path folder;
    private final String bootstrap;
    private final Admin admin;

    private CompactedSuite(Path folder, String bootstrap) {
        this.folder = folder;
        this.bootstrap = bootstrap;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] args) throws Exception {
        Tools.capture();
        CompactedSuite suite = new CompactedSuite(Path.of(args[0]), args[1]);
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            suite.checks.check("the newest of each key with " + codec, () -> suite.newestOfEachKey(codec));
        }
        suite.checks.check("tombstones go", suite::tombstonesGo);
        suite.checks.check("records without keys are refused", suite::recordsWithoutKeys);
        suite.checks.check("records deleted up to an offset", suite::deletedRecords);
        suite.checks.check("a log cut by retention", suite::cutByRetention);
        suite.checks.finish();
    }

    private String make(String label, Map<String, String> config) throws Exception {
        String topic = checks.topic(label);
        admin.createTopics(List.of(new NewTopic(topic, Optional.of(1), Optional.empty()).configs(config))).all().get();
        return topic;
    }

    private KafkaProducer<String, String> producer(String codec) {
        return new KafkaProducer<>(
                Map.of("bootstrap.servers", bootstrap, "compression.type", codec, "batch.size", 16384, "linger.ms", 2),
                new StringSerializer(), new StringSerializer());
    }

    /** Writes these in order; what was written, by offset. */
    private TreeMap<Long, Entry> write(String topic, String codec, List<Entry> entries) throws Exception {
        TreeMap<Long, Entry> written = new TreeMap<>();
        try (KafkaProducer<String, String> producer = producer(codec)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (Entry entry : entries) {
                sent.add(producer.send(new ProducerRecord<>(topic, 0, entry.key, entry.value)));
            }
            for (int i = 0; i < sent.size(); i++) {
                written.put(sent.get(i).get().offset(), entries.get(i));
            }
        }
        return written;
    }

    /** Digits of a fixed generator: they compress to about half. */
    private static String value(long seed) {
        StringBuilder value = new StringBuilder();
        while (value.length() < 1200) {
            seed = seed * 6364136223846793005L + 1442695040888963407L;
            value.append(seed);
        }
        return value.toString();
    }

    private KafkaConsumer<String, String> consumer(String reset) {
        return new KafkaConsumer<>(
                Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", reset, "enable.auto.commit", "false"),
                new StringDeserializer(), new StringDeserializer());
    }

    /** All that the log has, by offset. */
    private TreeMap<Long, Entry> read(String topic) {
        TreeMap<Long, Entry> read = new TreeMap<>();
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaConsumer<String, String> consumer = consumer("earliest")) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            while (consumer.position(partition) < end) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofSeconds(1))) {
                    Checks.that(read.put(record.offset(), new Entry(record.key(), record.value())) == null, "an offset twice");
                }
            }
        }
        return read;
    }

    /** The newest of each key below an offset, and all from there on. */
    private static TreeMap<Long, Entry> compacted(TreeMap<Long, Entry> written, long below) {
        Map<String, Long> newest = new HashMap<>();
        written.headMap(below).forEach((offset, entry) -> newest.put(entry.key, offset));
        TreeMap<Long, Entry> left = new TreeMap<>(written.tailMap(below));
        newest.values().forEach(offset -> left.put(offset, written.get(offset)));
        return left;
    }

    /** Up to where the log is compacted, if what it has is what compaction up to some segment's end leaves; -1 if not. */
    private static long compactedUpTo(TreeMap<Long, Entry> written, TreeMap<Long, Entry> read) {
        // Whatever was not compacted is there without a gap.
        long dense = written.lastKey() + 1;
        while (read.containsKey(dense - 1)) {
            dense--;
        }
        for (long below = dense; below <= written.lastKey(); below++) {
            if (compacted(written, below).equals(read)) {
                return below;
            }
        }
        return -1;
    }

    private void newestOfEachKey(String codec) throws Exception {
        String topic = make(codec, COMPACTED);
        List<Entry> entries = new ArrayList<>();
        for (int i = 0; i < RECORDS; i++) {
            int keys = i < RECORDS / 2 ? 400 : 100;
            entries.add(new Entry("key " + (i * 7919L % keys), i % 50 == 7 ? null : value(i)));
        }
        TreeMap<Long, Entry> written = write(topic, codec, entries);
        Checks.eventually(() -> compactedUpTo(written, read(topic)) > RECORDS / 2, "the log is compacted");
        TreeMap<Long, Entry> left = read(topic);
        Checks.that(left.size() < RECORDS, left.size() + " records");

        String[] args = {"--topic", topic, "--partition", "0", "--from-beginning", "--max-messages", "" + left.size(),
            "--timeout-ms", "20000", "--formatter-property", "print.key=true", "--formatter-property", "print.offset=true"};
        List<String> printed = console(args);
        List<String> wanted = new ArrayList<>();
        left.forEach((offset, entry) -> wanted.add("Offset:" + offset + "\t" + entry.key + "\t" + entry.value));
        Checks.equal(printed, wanted, "what the console consumer prints");

        TreeSet<Long> dumped = new TreeSet<>();
        List<Path> segments = segments(topic);
        for (Path segment : segments.subList(0, segments.size() - 1)) {
            dumped.addAll(dump(segment));
        }
        Checks.that(!dumped.isEmpty(), "nothing was dumped");
        Checks.equal(dumped, new TreeSet<>(left.headMap(dumped.last(), true).keySet()), "offsets in the segments");
    }

    private void tombstonesGo() throws Exception {
        Map<String, String> config = new HashMap<>(COMPACTED);
        config.put("delete.retention.ms", "1");
        String topic = make("tombstones", config);
        List<Entry> entries = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            entries.add(new Entry("key " + i, value(i)));
        }
        for (int i = 0; i < 50; i++) {
            entries.add(new Entry("key " + i, null));
        }
        write(topic, "none", entries);
        List<Entry> others = new ArrayList<>();
        for (int i = 0; i < 1000; i++) {
            others.add(new Entry("another", value(i)));
        }
        Checks.eventually(() -> {
            // A tombstone goes with a pass after the first one over it, and a pass needs something to do.
            write(topic, "none", others);
            Thread.sleep(500);
            return read(topic).values().stream().allMatch(entry -> entry.value != null);
        }, "no tombstone is left");
        List<String> left = read(topic).values().stream().map(Entry::key).filter(key -> key.startsWith("key")).toList();
        Checks.equal(left, entries.subList(50, 100).stream().map(Entry::key).toList(), "keys");
    }

    private void recordsWithoutKeys() throws Exception {
        String topic = make("without-keys", COMPACTED);
        try (KafkaProducer<String, String> producer = producer("none")) {
            Checks.refused(InvalidRecordException.class, () -> producer.send(new ProducerRecord<>(topic, 0, null, "a")).get());
        }
        Checks.equal(write(topic, "none", List.of(new Entry("a", "b"))).firstKey(), 0L, "offset");
    }

    private TreeMap<Long, Entry> writeSegments(String topic) throws Exception {
        List<Entry> entries = new ArrayList<>();
        for (int i = 0; i < RECORDS; i++) {
            entries.add(new Entry("key " + i, value(i)));
        }
        return write(topic, "lz4", entries);
    }

    private void deletedRecords() throws Exception {
        String topic = make("deleted", Map.of("segment.bytes", "1048576"));
        TreeMap<Long, Entry> written = writeSegments(topic);
        long first = RECORDS / 2 + 17;
        TopicPartition partition = new TopicPartition(topic, 0);
        admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(first))).all().get();
        Checks.equal(read(topic), new TreeMap<>(written.tailMap(first)), "records");
        isReadFrom(topic, first);
        Checks.eventually(() -> base(segments(topic).get(0)) > 0, "the first segment goes");
        List<Path> segments = segments(topic);
        Checks.that(base(segments.get(0)) <= first, "what is there is kept");
        for (Path segment : segments.subList(0, segments.size() - 1)) {
            dump(segment);
        }
    }

    private void cutByRetention() throws Exception {
        String topic = make("retention", Map.of("segment.bytes", "1048576", "retention.bytes", "1048576"));
        TreeMap<Long, Entry> written = writeSegments(topic);
        TopicPartition partition = new TopicPartition(topic, 0);
        Checks.eventually(() -> earliest(partition) > RECORDS / 4, "the log is cut");
        long first = earliest(partition);
        Checks.equal(read(topic), new TreeMap<>(written.tailMap(first)), "records");
        isReadFrom(topic, first);
    }

    private long earliest(TopicPartition partition) throws Exception {
        return admin.listOffsets(Map.of(partition, OffsetSpec.earliest())).partitionResult(partition).get().offset();
    }

    /** By whoever asks for the beginning, and for what is not there any more. */
    private void isReadFrom(String topic, long first) throws Exception {
        List<String> printed = console("--topic", topic, "--partition", "0", "--from-beginning", "--max-messages", "1",
                "--timeout-ms", "20000", "--formatter-property", "print.offset=true", "--formatter-property", "print.value=false");
        Checks.equal(printed, List.of("Offset:" + first), "what the console consumer prints");
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaConsumer<String, String> consumer = consumer("none")) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, first - 1);
            OffsetOutOfRangeException e = Checks.refused(OffsetOutOfRangeException.class, () -> {
                while (true) {
                    consumer.poll(Duration.ofSeconds(1));
                }
            });
            Checks.equal(e.offsetOutOfRangePartitions(), Map.of(partition, first - 1), "partitions");
        }
    }

    private List<String> console(String... args) throws Exception {
        Tools.Outcome outcome = Tools.tool(CONSOLE, "", Tools.concat(new String[] {"--bootstrap-server", bootstrap}, args));
        Checks.equal(outcome.status(), 0, outcome.said());
        return outcome.said().lines().filter(line -> !line.startsWith("Processed a total")).toList();
    }

    private List<Path> segments(String topic) throws IOException {
        try (Stream<Path> files = Files.list(folder.resolve(topic + "-0"))) {
            return files.filter(f -> f.toString().endsWith(".log")).sorted().toList();
        }
    }

    private static long base(Path segment) {
        return Long.parseLong(segment.getFileName().toString().replace(".log", ""));
    }

    /** The offsets that DumpLogSegments finds in a segment, which is sound, as are its indexes. */
    private static List<Long> dump(Path segment) throws Exception {
        String said = run("--deep-iteration", "--files", segment.toString());
        clean(said);
        Checks.that(said.contains("isvalid: true"), "no valid batch in " + said);
        for (String index : List.of(".index", ".timeindex")) {
            String file = segment.toString().replace(".log", index);
            clean(run("--files", file));
            clean(run("--index-sanity-check", "--files", file));
        }
        List<Long> offsets = new ArrayList<>();
        for (String line : said.lines().toList()) {
            Matcher matcher = DUMPED.matcher(line);
            if (matcher.matches()) {
                offsets.add(Long.parseLong(matcher.group(1)));
            }
        }
        return offsets;
    }

    private static String run(String... args) throws Exception {
        Tools.Outcome outcome = Tools.tool("org.apache.kafka.tools.DumpLogSegments", "", args);
        Checks.equal(outcome.status(), 0, outcome.said());
        return outcome.said();
    }

    /** Gaps between offsets are what compaction makes. */
    private static void clean(String said) {
        for (String bad : List.of("isvalid: false", "Found", "Mismatch", "mismatch", "corrupt", "invalid", "Exception")) {
            int at = said.indexOf(bad);
            Checks.that(at < 0, "DumpLogSegments: " + (at < 0 ? "" : said.substring(at, Math.min(at + 400, said.length()))));
        }
    }
}
