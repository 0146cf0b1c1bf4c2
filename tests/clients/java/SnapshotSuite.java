import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;

/**
 * Snapshots of the metadata in the eyes of Apache Kafka's DumpLogSegments and kafka-metadata-shell. The broker makes one
 * every few kilobytes of metadata.
 */
public final class SnapshotSuite {
    private static final int TOPICS = 100;
    /** From formatting the folder. */
    private static final String FIRST = "00000000000000000000-0000000000.checkpoint";

    private SnapshotSuite() {
    }

    public static void main(String[] args) throws Exception {
        Tools.capture();
        Path folder = Path.of(args[0], "__cluster_metadata-0");
        Checks checks = new Checks("snapshots");
        Path[] snapshot = new Path[1];
        checks.check("a snapshot is made", () -> {
            make(args[1]);
            Checks.eventually(() -> (snapshot[0] = copyOfNewest(folder)) != null, "a snapshot");
        });
        checks.check("kafka-dump-log", () -> {
            Tools.Outcome dumped = Tools.tool("org.apache.kafka.tools.DumpLogSegments", "",
                    "--cluster-metadata-decoder", "--files", snapshot[0].toString());
            Checks.equal(dumped.status(), 0, dumped.said());
            dumped.contains("SnapshotHeader", "SnapshotFooter", "\"name\":\"snapshot-7\"", "PARTITION_RECORD",
                    "\"name\":\"retention.ms\",\"value\":\"1234567\"", "REGISTER_BROKER_RECORD", "isvalid: true");
            for (String bad : List.of("isvalid: false", "Error", "Exception", "Could not")) {
                Checks.that(!dumped.said().contains(bad), bad + " in:\n" + dumped.said());
            }
        });
        checks.check("kafka-metadata-shell", () -> {
            shows(snapshot[0], "ls /image/topics/byName", "snapshot-0", "snapshot-7", "snapshot-42");
            shows(snapshot[0], "ls /image/topics/byName/snapshot-7", "0", "1", "2", "id", "name");
            shows(snapshot[0], "cat /image/topics/byName/snapshot-7/name", "snapshot-7");
            shows(snapshot[0], "cat /image/topics/byName/snapshot-7/2", "replicas=[1]", "isr=[1]", "leader=1");
            shows(snapshot[0], "ls /image/cluster/brokers", "1");
        });
        checks.finish();
    }

    private static void make(String bootstrap) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            for (int i = 0; i < TOPICS; i++) {
                NewTopic topic = new NewTopic("snapshot-" + i, Optional.of(3), Optional.empty())
                        .configs(Map.of("retention.ms", "1234567"));
                admin.createTopics(List.of(topic)).all().get();
            }
        }
    }

    /** In a folder of its own, since a running broker lets old ones go and locks its folder. Null if there is none. */
    private static Path copyOfNewest(Path folder) throws IOException {
        Optional<Path> newest;
        try (Stream<Path> files = Files.list(folder)) {
            newest = files.filter(f -> f.toString().endsWith(".checkpoint") && !f.endsWith(FIRST)).sorted().reduce((a, b) -> b);
        }
        if (newest.isEmpty()) {
            return null;
        }
        Path copy = Files.createTempDirectory(folder.getParent().getParent(), "snapshot-").resolve(newest.get().getFileName());
        try {
            return Files.copy(newest.get(), copy);
        } catch (NoSuchFileException e) {
            return null;
        }
    }

    /**
     * In a process of its own, again and again: the tool may run its command before it has handed itself what it has
     * loaded, and finds nothing then, or waits for ever.
     */
    private static void shows(Path snapshot, String command, String... parts) throws Exception {
        Path said = Files.createTempFile(snapshot.getParent(), "said-", ".txt");
        List<String> program = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Xmx128m", "-XX:+UseSerialGC",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", System.getProperty("java.class.path"),
                "org.apache.kafka.shell.MetadataShell", "--snapshot", snapshot.toString()));
        program.addAll(List.of(command.split(" ")));
        for (int attempt = 0; attempt < 10; attempt++) {
            Process shell = new ProcessBuilder(program).redirectErrorStream(true).redirectOutput(said.toFile()).start();
            if (!shell.waitFor(60, TimeUnit.SECONDS)) {
                shell.destroyForcibly().waitFor();
            }
            String text = Files.readString(said);
            if (Stream.of(parts).allMatch(text::contains)) {
                return;
            }
        }
        throw new AssertionError(command + ": " + Files.readString(said));
    }
}
