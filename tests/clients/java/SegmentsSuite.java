import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Future;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.tools.DumpLogSegments;

/**
 * Segments on disk in the eyes of Apache Kafka's DumpLogSegments.
 *
 * "running" writes a topic for each codec, several segments long, and looks at the segments that were rolled while the
 * broker runs; "stopped", after a clean stop, looks at all of them, the active one too.
 */
public final class SegmentsSuite {
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    private static final int RECORDS = 6000;
    private static final Pattern OFFSET = Pattern.compile("^\\| offset: (\\d+) .*");

    private SegmentsSuite() {
    }

    public static void main(String[] args) throws Exception {
        boolean running = args[0].equals("running");
        Path folder = Path.of(args[1]);
        Checks checks = new Checks("segments-" + args[0]);
        for (String codec : CODECS) {
            String topic = "segments-" + codec;
            if (running) {
                checks.check("written with " + codec, () -> write(args[2], topic, codec));
                checks.check("rolled segments with " + codec, () -> {
                    List<Path> segments = segments(folder, topic);
                    dump(segments.subList(0, segments.size() - 1), 0);
                });
            } else {
                checks.check("all segments with " + codec, () -> dump(segments(folder, topic), RECORDS));
            }
        }
        checks.finish();
    }

    private static void write(String bootstrap, String topic, String codec) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            NewTopic made = new NewTopic(topic, Optional.of(1), Optional.empty())
                    .configs(Map.of("segment.bytes", "1048576", "index.interval.bytes", "4096"));
            admin.createTopics(List.of(made)).all().get();
        }
        Map<String, Object> config = Map.of(
                "bootstrap.servers", bootstrap, "compression.type", codec, "batch.size", 32768, "linger.ms", 5);
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            // Digits of a fixed generator: they compress to about half, so that each codec fills several segments.
            long seed = 42;
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = 0; i < RECORDS; i++) {
                StringBuilder value = new StringBuilder();
                while (value.length() < 1200) {
                    seed = seed * 6364136223846793005L + 1442695040888963407L;
                    value.append(seed);
                }
                byte[] bytes = value.toString().getBytes(StandardCharsets.US_ASCII);
                sent.add(producer.send(new ProducerRecord<>(topic, 0, ("key " + i).getBytes(StandardCharsets.US_ASCII), bytes)));
            }
            for (Future<RecordMetadata> f : sent) {
                f.get();
            }
        }
    }

    /** The segments of a topic's only partition, in the order of their offsets; at least three. */
    private static List<Path> segments(Path folder, String topic) throws Exception {
        List<Path> found = new ArrayList<>();
        Checks.eventually(() -> {
            found.clear();
            try (Stream<Path> files = Files.list(folder.resolve(topic + "-0"))) {
                files.filter(f -> f.toString().endsWith(".log")).sorted().forEach(found::add);
            } catch (IOException e) {
                return false;
            }
            return found.size() >= 3;
        }, "segments of " + topic);
        return found;
    }

    /** Every batch valid, every offset there once, nothing to say against either index. */
    private static void dump(List<Path> segments, int recordsWanted) throws IOException {
        long next = 0;
        for (Path segment : segments) {
            String base = segment.getFileName().toString().replace(".log", "");
            Checks.equal(Long.parseLong(base), next, "base offset");
            String said = run("--deep-iteration", "--files", segment.toString());
            Checks.that(said.contains("isvalid: true"), "no valid batch in " + said.substring(0, Math.min(500, said.length())));
            clean(said);
            for (String line : said.lines().toList()) {
                Matcher m = OFFSET.matcher(line);
                if (m.matches()) {
                    Checks.equal(Long.parseLong(m.group(1)), next++, "offset");
                }
            }
            for (String index : List.of(".index", ".timeindex")) {
                Path file = segment.resolveSibling(base + index);
                // The active segment's may be left to be built when it is read again, as Kafka does with missing ones.
                if (!Files.exists(file) && segment == segments.get(segments.size() - 1)) {
                    continue;
                }
                clean(run("--files", file.toString()));
                clean(run("--index-sanity-check", "--files", file.toString()));
            }
        }
        Checks.that(next >= recordsWanted && next > 0, next + " records");
    }

    private static void clean(String said) {
        for (String bad : List.of("isvalid: false", "Found", "Mismatch", "mismatch", "Non-consecutive", "corrupt", "invalid", "Exception")) {
            int at = said.indexOf(bad);
            Checks.that(at < 0, "DumpLogSegments: " + (at < 0 ? "" : said.substring(at, Math.min(at + 400, said.length()))));
        }
    }

    /** What the tool printed on both streams, less its complaint that a segment after the first doesn't follow offset -1. */
    private static String run(String... args) throws IOException {
        PrintStream out = System.out;
        PrintStream err = System.err;
        ByteArrayOutputStream said = new ByteArrayOutputStream();
        PrintStream both = new PrintStream(said, true, StandardCharsets.UTF_8);
        System.setOut(both);
        System.setErr(both);
        try {
            DumpLogSegments.main(args);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        return said.toString(StandardCharsets.UTF_8)
                .replaceAll("Non-consecutive offsets in \\S+\\s+-1 is followed by \\d+\\s*", "");
    }
}
