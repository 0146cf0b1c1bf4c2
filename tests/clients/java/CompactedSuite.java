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
import java.util.concurrent.Future;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
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
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Logs whose records went: compacted, deleted up to an offset, and cut by retention, in the eyes of Apache Kafka's
 * consumer, console consumer and DumpLogSegments. What compaction leaves is compared with a map, record by record.
 *
 * "running" does all of that while the broker runs, and looks at the segments that were rolled; "stopped", after a clean
 * stop, looks at every segment, the active one too.
 */
public final class CompactedSuite {
    private static final String CONSOLE = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    private static final int RECORDS = 4000;
    private static final Pattern DUMPED = Pattern.compile("^\\| offset: (\\d+) .* key: (\\S+)(?: payload: (\\S+))?$");
    private static final Map<String, String> COMPACTED = Map.of(
            "cleanup.policy", "compact", "segment.bytes", "1048576", "min.cleanable.dirty.ratio", "0.01");

    /** As it was written, and as it is read again. */
    private record Entry(String key, String value) {
    }

    /** A log as three of Apache Kafka's readers see it. */
    private record Look(TreeMap<Long, Entry> read, List<String> printed, List<String> dumps) {
    }

    private final Checks checks;
    private final Path folder;
    private final String bootstrap;
    private final Admin admin;

    private CompactedSuite(Checks checks, Path folder, String bootstrap) {
        this.checks = checks;
        this.folder = folder;
        this.bootstrap = bootstrap;
        this.admin = bootstrap == null ? null : Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] args) throws Exception {
        Tools.capture();
        Checks checks = new Checks("compacted-" + args[0]);
        boolean isRunning = args[0].equals("running");
        CompactedSuite suite = new CompactedSuite(checks, Path.of(args[1]), isRunning ? args[2] : null);
        for (String codec : CODECS) {
            if (isRunning) {
                checks.check("the newest of each key with " + codec, () -> suite.newestOfEachKey(codec));
            } else {
                checks.check("every segment with " + codec, () -> suite.everySegment(codec));
            }
        }
        if (isRunning) {
            checks.check("tombstones go", suite::tombstonesGo);
            checks.check("records without keys are refused", suite::recordsWithoutKeys);
            checks.check("records deleted up to an offset", suite::deletedRecords);
            checks.check("a log cut by retention", suite::cutByRetention);
        }
        checks.finish();
    }

    private String make(String label, Map<String, String> config) throws Exception {
        return made(checks.topic(label), config);
    }

    private String made(String topic, Map<String, String> config) throws Exception {
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
        long last = -1;
        try (KafkaConsumer<String, String> consumer = consumer("earliest")) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            while (consumer.position(partition) < end) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofSeconds(1))) {
                    Checks.that(record.offset() > last, record.offset() + " after " + last);
                    last = record.offset();
                    read.put(last, new Entry(record.key(), record.value()));
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

    /** The topic of a codec, which "stopped" finds again. */
    private static String topicOf(String codec) {
        return "compacted-" + codec;
    }

    /** What is written to it. Its offsets are the places in here. */
    private static List<Entry> history() {
        List<Entry> entries = new ArrayList<>();
        for (int i = 0; i < RECORDS; i++) {
            int keys = i < RECORDS / 2 ? 400 : 100;
            entries.add(new Entry("key-" + (i * 7919L % keys), i % 50 == 7 ? null : value(i)));
        }
        return entries;
    }

    private void newestOfEachKey(String codec) throws Exception {
        String topic = made(topicOf(codec), COMPACTED);
        TreeMap<Long, Entry> written = write(topic, codec, history());
        Checks.equal(new ArrayList<>(written.values()), history(), "what was written, in the order of its offsets");
        // All but the active segment.
        Checks.eventually(() -> {
            List<Path> segments = segments(topic);
            long below = base(segments.get(segments.size() - 1));
            return below > RECORDS / 2 && read(topic).equals(compacted(written, below));
        }, "the log is compacted");
        Look look = look(topic);
        Checks.that(look.read.size() < RECORDS, look.read.size() + " records");

        List<String> wanted = new ArrayList<>();
        look.read.forEach((offset, entry) -> wanted.add("Offset:" + offset + "\t" + entry.key + "\t" + entry.value));
        Checks.equal(look.printed, wanted, "what the console consumer prints");

        TreeMap<Long, Entry> dumped = dumped(look.dumps);
        Checks.that(!dumped.isEmpty(), "nothing was dumped");
        Checks.equal(dumped, new TreeMap<>(look.read.headMap(dumped.lastKey(), true)), "records in the segments");
    }

    /** Looks until nothing has changed meanwhile. */
    private Look look(String topic) throws Exception {
        while (true) {
            List<Path> before = segments(topic);
            TreeMap<Long, Entry> read = read(topic);
            List<String> printed = console("--topic", topic, "--partition", "0", "--from-beginning", "--max-messages",
                    "" + read.size(), "--timeout-ms", "20000", "--formatter-property", "print.key=true",
                    "--formatter-property", "print.offset=true");
            List<String> dumps = new ArrayList<>();
            for (Path segment : before.subList(0, before.size() - 1)) {
                dumps.addAll(dumpsOf(segment));
            }
            if (segments(topic).equals(before) && read(topic).equals(read)) {
                return new Look(read, printed, dumps);
            }
        }
    }

    private void everySegment(String codec) throws Exception {
        List<String> dumps = new ArrayList<>();
        for (Path segment : segments(topicOf(codec))) {
            dumps.addAll(dumpsOf(segment));
        }
        TreeMap<Long, Entry> written = new TreeMap<>();
        history().forEach(entry -> written.put((long) written.size(), entry));
        TreeMap<Long, Entry> dumped = dumped(dumps);
        Checks.that(dumped.size() < RECORDS, dumped.size() + " records");
        dumped.forEach((offset, entry) -> Checks.equal(entry, written.get(offset), "the record at " + offset));
        // Nothing but what a newer record of its key has replaced is missing.
        for (long offset : compacted(written, RECORDS).keySet()) {
            Checks.that(dumped.containsKey(offset), "no record at " + offset);
        }
    }

    private void tombstonesGo() throws Exception {
        Map<String, String> config = new HashMap<>(COMPACTED);
        config.put("delete.retention.ms", "1");
        String topic = make("tombstones", config);
        List<Entry> entries = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            entries.add(new Entry("key-" + i, value(i)));
        }
        for (int i = 0; i < 50; i++) {
            entries.add(new Entry("key-" + i, null));
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
            entries.add(new Entry("key-" + i, value(i)));
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
        rolledSegmentsHold(topic, written, first);
    }

    /** The rolled segments have what was written from some offset on, which is no later than the log's first. */
    private void rolledSegmentsHold(String topic, TreeMap<Long, Entry> written, long first) throws Exception {
        List<Path> segments = segments(topic);
        List<String> dumps = new ArrayList<>();
        // What is alone is a rolled one: retention leaves it, and the active one has no file before some of it is settled.
        int rolled = Math.max(segments.size() - 1, 1);
        for (Path segment : segments.subList(0, rolled)) {
            dumps.addAll(dumpsOf(segment));
        }
        TreeMap<Long, Entry> dumped = dumped(dumps);
        Checks.that(dumped.firstKey() <= first, "what is there is kept");
        Checks.equal(dumped, new TreeMap<>(written.subMap(dumped.firstKey(), true, dumped.lastKey(), true)),
                "records in the segments");
    }

    private void cutByRetention() throws Exception {
        String topic = make("retention", Map.of("segment.bytes", "1048576", "retention.bytes", "1048576"));
        TreeMap<Long, Entry> written = writeSegments(topic);
        TopicPartition partition = new TopicPartition(topic, 0);
        Checks.eventually(() -> earliest(partition) > RECORDS / 4, "the log is cut");
        // It is cut no further from a round on that has begun and ended with the same start.
        configure(topic, "retention.bytes", "-1");
        long first = -1;
        while (first != earliest(partition)) {
            first = earliest(partition);
            TreeMap<Long, Entry> read = read(topic);
            Checks.equal(read, new TreeMap<>(written.tailMap(read.firstKey())), "records");
        }
        Checks.equal(read(topic).firstKey(), first, "the first record");
        isReadFrom(topic, first);
        rolledSegmentsHold(topic, written, first);
    }

    private void configure(String topic, String name, String value) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        AlterConfigOp set = new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all().get();
        Checks.eventually(() -> admin.describeConfigs(List.of(resource)).all().get().get(resource).get(name).value()
                .equals(value), name);
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

    /** What DumpLogSegments prints of a segment and of its indexes. */
    private static List<String> dumpsOf(Path segment) throws Exception {
        List<String> said = new ArrayList<>();
        said.add(run("--deep-iteration", "--print-data-log", "--files", segment.toString()));
        for (String index : List.of(".index", ".timeindex")) {
            Path file = Path.of(segment.toString().replace(".log", index));
            // The active segment's may be left to be built when it is read again, as Kafka does with missing ones.
            if (Files.exists(file)) {
                said.add(run("--files", file.toString()));
                said.add(run("--index-sanity-check", "--files", file.toString()));
            }
        }
        return said;
    }

    /**
     * The records in what DumpLogSegments has printed; it has nothing to say against segments and indexes. A segment may
     * be empty: the next pass puts it together with others.
     */
    private static TreeMap<Long, Entry> dumped(List<String> dumps) {
        TreeMap<Long, Entry> records = new TreeMap<>();
        for (String said : dumps) {
            // Gaps between offsets are what compaction makes.
            for (String bad : List.of("isvalid: false", "Found", "Mismatch", "mismatch", "corrupt", "invalid", "Exception")) {
                int at = said.indexOf(bad);
                Checks.that(at < 0, "DumpLogSegments: " + (at < 0 ? "" : said.substring(at, Math.min(at + 400, said.length()))));
            }
            for (String line : said.lines().toList()) {
                Matcher matcher = DUMPED.matcher(line);
                Checks.that(matcher.matches() || !line.startsWith("|"), line);
                if (matcher.matches()) {
                    long offset = Long.parseLong(matcher.group(1));
                    Checks.that(records.isEmpty() || offset > records.lastKey(), offset + " comes too late");
                    records.put(offset, new Entry(matcher.group(2), matcher.group(3)));
                }
            }
        }
        return records;
    }

    private static String run(String... args) throws Exception {
        Tools.Outcome outcome = Tools.tool("org.apache.kafka.tools.DumpLogSegments", "", args);
        Checks.equal(outcome.status(), 0, outcome.said());
        return outcome.said();
    }
}
