import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
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
            Tools.Outcome topics = shell(snapshot[0], "ls", "/image/topics/byName");
            topics.contains("snapshot-0", "snapshot-7", "snapshot-42");
            shell(snapshot[0], "cat", "/image/topics/byName/snapshot-7/2").contains("replicas", "leader");
            shell(snapshot[0], "ls", "/image/cluster/brokers").contains("1");
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

    private static Tools.Outcome shell(Path snapshot, String... command) throws Exception {
        String[] args = Tools.concat(new String[] {"--snapshot", snapshot.toString()}, command);
        Tools.Outcome outcome = Tools.tool("org.apache.kafka.shell.MetadataShell", "", args);
        Checks.equal(outcome.status(), 0, outcome.said());
        return outcome;
    }
}
