import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** Apache Kafka's command-line tools. */
public final class ToolsSuite {
    private static final String TOOLS = "org.apache.kafka.tools.";

    private final String bootstrap;
    private final Checks checks;

    private ToolsSuite(String bootstrap, Checks checks) {
        this.bootstrap = bootstrap;
        this.checks = checks;
    }

    public static void main(String[] args) throws Exception {
        Tools.capture();
        Checks checks = new Checks("java-tools", Arrays.copyOfRange(args, 1, args.length));
        ToolsSuite suite = new ToolsSuite(args[0], checks);
        checks.check("kafka-topics", suite::topics);
        checks.check("kafka-configs", suite::configs);
        checks.check("kafka-get-offsets", suite::offsets);
        checks.check("kafka-delete-records", suite::deleteRecords);
        checks.check("kafka-console-producer and -consumer", suite::console);
        checks.check("kafka-console-consumer and kafka-consumer-groups of the consumer protocol", suite::consumerProtocol);
        checks.check("kafka-producer-perf-test", suite::producerPerformance);
        checks.check("kafka-log-dirs", suite::logDirs);
        checks.check("kafka-cluster", suite::cluster);
        checks.check("kafka-metadata-quorum", suite::quorum);
        checks.check("kafka-broker-api-versions", suite::apiVersions);
        checks.check("kafka-leader-election", suite::leaderElection);
        checks.check("kafka-features", suite::features);
        checks.finish();
    }

    private Tools.Outcome on(String name, String... args) throws Exception {
        return Tools.tool(name, "", Tools.concat(new String[] {"--bootstrap-server", bootstrap}, args));
    }

    private Tools.Outcome succeeds(String name, String... args) throws Exception {
        Tools.Outcome outcome = on(name, args);
        Checks.equal(outcome.status(), 0, name + " " + String.join(" ", args) + "\n" + outcome.said());
        return outcome;
    }

    private Tools.Outcome fails(String name, String... args) throws Exception {
        Tools.Outcome outcome = on(name, args);
        Checks.that(outcome.status() != 0, name + " should have failed:\n" + outcome.said());
        return outcome;
    }

    private String make(String label, int partitions, String... more) throws Exception {
        String topic = checks.topic(label);
        String[] args = {"--create", "--topic", topic, "--partitions", "" + partitions};
        succeeds(TOOLS + "TopicCommand", Tools.concat(args, more)).contains("Created topic " + topic);
        Checks.eventually(() -> on(TOOLS + "TopicCommand", "--describe", "--topic", topic).status() == 0, topic);
        return topic;
    }

    private void write(String topic, String lines, String... more) throws Exception {
        String[] args = {"--bootstrap-server", bootstrap, "--topic", topic};
        Tools.Outcome outcome = Tools.tool(TOOLS + "ConsoleProducer", lines, Tools.concat(args, more));
        Checks.equal(outcome.status(), 0, outcome.said());
        Checks.that(!outcome.said().contains("ERROR"), outcome.said());
    }

    private List<String> read(String topic, int count, String... more) throws Exception {
        String[] args = {"--topic", topic, "--partition", "0", "--max-messages", "" + count, "--timeout-ms", "20000"};
        return succeeds(TOOLS + "consumer.ConsoleConsumer", Tools.concat(args, more)).lines().stream()
                .filter(line -> !line.startsWith("Processed a total")).toList();
    }

    private static String numbers(int count) {
        return IntStream.range(0, count).mapToObj(i -> "line " + i).collect(Collectors.joining("\n", "", "\n"));
    }

    private void topics() throws Exception {
        String command = TOOLS + "TopicCommand";
        String topic = make("topics", 3, "--replication-factor", "1", "--config", "retention.ms=123456");
        Tools.Outcome described = succeeds(command, "--describe", "--topic", topic);
        described.contains("PartitionCount: 3", "ReplicationFactor: 1", "retention.ms=123456", "TopicId: ");
        Checks.equal(described.lines().stream().filter(line -> line.startsWith("Topic: ")).count(), 4L, described.said());
        Checks.that(succeeds(command, "--list").lines().contains(topic), "listed");
        fails(command, "--create", "--topic", topic).contains("already exists");
        succeeds(command, "--create", "--topic", topic, "--if-not-exists");
        fails(command, "--create", "--topic", "bad name").contains("is invalid");
        fails(command, "--create", "--topic", checks.topic("x"), "--config", "retention.ms=soon");
        succeeds(command, "--alter", "--topic", topic, "--partitions", "5");
        Checks.eventually(() -> succeeds(command, "--describe", "--topic", topic).said().contains("PartitionCount: 5"), "5");
        fails(command, "--alter", "--topic", topic, "--partitions", "4");
        succeeds(command, "--describe", "--topic", topic, "--under-replicated-partitions");
        succeeds(command, "--describe", "--topic", topic, "--topics-with-overrides").contains(topic);
        succeeds(command, "--delete", "--topic", topic);
        Checks.eventually(() -> !succeeds(command, "--list").lines().contains(topic), "deleted");
        fails(command, "--describe", "--topic", topic).contains("does not exist");
    }

    private void configs() throws Exception {
        String command = "kafka.admin.ConfigCommand";
        String topic = make("configs", 1);
        String[] of = {"--entity-type", "topics", "--entity-name", topic};
        succeeds(command, Tools.concat(of, new String[] {"--alter", "--add-config", "retention.ms=777,cleanup.policy=[delete,compact]"}))
                .contains("Completed updating config for topic " + topic);
        Checks.eventually(
                () -> succeeds(command, Tools.concat(of, new String[] {"--describe"})).said().contains("retention.ms=777"), "set");
        succeeds(command, Tools.concat(of, new String[] {"--describe"})).contains("cleanup.policy=delete,compact");
        succeeds(command, Tools.concat(of, new String[] {"--describe", "--all"})).contains("segment.bytes=1073741824");
        succeeds(command, Tools.concat(of, new String[] {"--alter", "--delete-config", "retention.ms"}));
        Checks.eventually(
                () -> !succeeds(command, Tools.concat(of, new String[] {"--describe"})).said().contains("retention.ms"), "deleted");
        fails(command, Tools.concat(of, new String[] {"--alter", "--add-config", "retention.ms=soon"}));

        String[] group = {"--entity-type", "groups", "--entity-name", topic + "-group"};
        succeeds(command, Tools.concat(group, new String[] {"--alter", "--add-config", "consumer.session.timeout.ms=50000"}))
                .contains("Completed updating config for group " + topic + "-group");
        Checks.eventually(() -> succeeds(command, Tools.concat(group, new String[] {"--describe"})).said()
                .contains("consumer.session.timeout.ms=50000"), "the group's own");
        succeeds(command, "--entity-type", "groups", "--describe").contains(topic + "-group");
        succeeds(command, Tools.concat(group, new String[] {"--describe", "--all"}))
                .contains("consumer.heartbeat.interval.ms=500");
        fails(command, Tools.concat(group, new String[] {"--alter", "--add-config", "consumer.session.timeout.ms=1"}));
        succeeds(command, Tools.concat(group, new String[] {"--alter", "--delete-config", "consumer.session.timeout.ms"}));
        Checks.eventually(() -> !succeeds(command, Tools.concat(group, new String[] {"--describe"})).said()
                .contains("50000"), "deleted");

        String id = brokerId();
        String[] broker = {"--entity-type", "brokers", "--entity-name", id};
        succeeds(command, Tools.concat(broker, new String[] {"--describe", "--all"})).contains("node.id=" + id, "log.dirs=");
        succeeds(command, Tools.concat(broker, new String[] {"--alter", "--add-config", "log.cleaner.threads=2"}));
        Checks.eventually(() -> succeeds(command, Tools.concat(broker, new String[] {"--describe"})).said()
                .contains("log.cleaner.threads=2"), "the broker's own");
        succeeds(command, Tools.concat(broker, new String[] {"--alter", "--delete-config", "log.cleaner.threads"}));
        String[] all = {"--entity-type", "brokers", "--entity-default"};
        succeeds(command, Tools.concat(all, new String[] {"--alter", "--add-config", "log.segment.bytes=5000000"}));
        Checks.eventually(() -> succeeds(command, Tools.concat(all, new String[] {"--describe"})).said()
                .contains("log.segment.bytes=5000000"), "the default of all brokers");
        Checks.eventually(() -> succeeds(command, Tools.concat(of, new String[] {"--describe", "--all"})).said()
                .contains("segment.bytes=5000000"), "the topic's value");
        succeeds(command, Tools.concat(all, new String[] {"--alter", "--delete-config", "log.segment.bytes"}));
        fails(command, Tools.concat(broker, new String[] {"--alter", "--add-config", "node.id=7"}));
    }

    private String brokerId() throws Exception {
        String said = succeeds(TOOLS + "MetadataQuorumCommand", "describe", "--status").said();
        return said.lines().filter(line -> line.startsWith("LeaderId:")).findFirst().orElseThrow().split(":")[1].trim();
    }

    private void offsets() throws Exception {
        String command = TOOLS + "GetOffsetShell";
        String topic = make("offsets", 2);
        write(topic, numbers(100));
        List<String> ends = succeeds(command, "--topic", topic).lines();
        Checks.equal(ends.stream().mapToInt(line -> Integer.parseInt(line.split(":")[2])).sum(), 100, "records " + ends);
        Checks.equal(succeeds(command, "--topic", topic, "--time", "-2").lines(),
                List.of(topic + ":0:0", topic + ":1:0"), "earliest");
        Checks.equal(succeeds(command, "--topic", topic, "--time", "earliest-local").lines(),
                List.of(topic + ":0:0", topic + ":1:0"), "earliest local");
        List<String> since = succeeds(command, "--topic", topic, "--time", "0").lines();
        Checks.that(!since.isEmpty() && since.stream().allMatch(line -> line.endsWith(":0")), "by time " + since);
        succeeds(command, "--topic", topic, "--time", "max-timestamp");
        Checks.equal(succeeds(command, "--topic-partitions", topic + ":0-1").lines().size(), 1, "a range");
    }

    private void deleteRecords() throws Exception {
        String topic = make("trim", 1);
        write(topic, numbers(100));
        Path file = Files.createTempFile("delete-records", ".json");
        Files.writeString(file, "{\"version\":1,\"partitions\":[{\"topic\":\"" + topic + "\",\"partition\":0,\"offset\":42}]}");
        succeeds(TOOLS + "DeleteRecordsCommand", "--offset-json-file", file.toString()).contains("low_watermark: 42");
        Checks.equal(read(topic, 1, "--offset", "earliest"), List.of("line 42"), "first");
        Files.delete(file);
    }

    private void console() throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = make("console-" + codec, 1);
            write(topic, numbers(500), "--compression-codec", codec);
            Checks.equal(read(topic, 500, "--from-beginning"), numbers(500).lines().toList(), codec);
            Checks.equal(read(topic, 1, "--offset", "321"), List.of("line 321"), "from the middle");
        }
        String topic = make("console-shapes", 1);
        String[] shape = {"--reader-property", "parse.key=true", "--reader-property", "parse.headers=true"};
        write(topic, "h1:v1,h2:v2\tkey\tvalue\n", shape);
        Checks.equal(read(topic, 1, "--from-beginning", "--formatter-property", "print.key=true",
                "--formatter-property", "print.headers=true", "--formatter-property", "print.offset=true",
                "--formatter-property", "print.partition=true"),
                List.of("Partition:0\tOffset:0\th1:v1,h2:v2\tkey\tvalue"), "shapes");
    }

    private void consumerProtocol() throws Exception {
        String topic = make("protocol", 2);
        String group = topic + "-group";
        write(topic, numbers(100));
        List<String> seen = new ArrayList<>();
        for (int count : List.of(60, 40)) {
            succeeds(TOOLS + "consumer.ConsoleConsumer", "--topic", topic, "--group", group, "--from-beginning",
                    "--command-property", "group.protocol=consumer", "--max-messages", "" + count, "--timeout-ms", "20000")
                    .lines().stream().filter(line -> line.startsWith("line ")).forEach(seen::add);
        }
        Checks.equal(seen.stream().sorted().toList(), numbers(100).lines().sorted().toList(), "each line once");
        String command = TOOLS + "consumer.group.ConsumerGroupCommand";
        succeeds(command, "--list", "--type", "consumer").contains(group);
        succeeds(command, "--describe", "--group", group, "--state").contains(group, "Empty", "uniform");
        succeeds(command, "--describe", "--group", group, "--offsets").contains(topic);
        succeeds(command, "--delete", "--group", group).contains("was successful");
    }

    private void producerPerformance() throws Exception {
        String topic = make("perf", 3);
        Tools.Outcome outcome = Tools.tool(TOOLS + "ProducerPerformance", "", "--topic", topic, "--num-records", "5000",
                "--record-size", "500", "--throughput", "-1", "--bootstrap-server", bootstrap,
                "--command-property", "acks=all", "compression.type=lz4");
        Checks.equal(outcome.status(), 0, outcome.said());
        outcome.contains("5000 records sent");
        Checks.equal(total(topic), 5000, "records");
    }

    private int total(String topic) throws Exception {
        return succeeds(TOOLS + "GetOffsetShell", "--topic", topic).lines().stream()
                .mapToInt(line -> Integer.parseInt(line.split(":")[2])).sum();
    }

    private void logDirs() throws Exception {
        String topic = make("dirs", 2);
        write(topic, numbers(100));
        succeeds(TOOLS + "LogDirsCommand", "--describe", "--topic-list", topic)
                .contains("\"error\":null", "\"partition\":\"" + topic + "-0\"", "\"partition\":\"" + topic + "-1\"");
    }

    private void cluster() throws Exception {
        String command = TOOLS + "ClusterTool";
        Tools.Outcome id = Tools.tool(command, "", "cluster-id", "--bootstrap-server", bootstrap);
        id.contains("Cluster ID: ");
        Tools.Outcome endpoints = Tools.tool(command, "", "list-endpoints", "--bootstrap-server", bootstrap);
        endpoints.contains("127.0.0.1", bootstrap.split(":")[1]);
    }

    private void quorum() throws Exception {
        succeeds(TOOLS + "MetadataQuorumCommand", "describe", "--status")
                .contains("ClusterId:", "LeaderId:", "LeaderEpoch:", "HighWatermark:", "CurrentVoters:");
        succeeds(TOOLS + "MetadataQuorumCommand", "describe", "--replication").contains("Leader");
    }

    private void apiVersions() throws Exception {
        Tools.Outcome outcome = succeeds(TOOLS + "BrokerApiVersionsCommand");
        outcome.contains("Produce(0): 0 to ", "Fetch(1): 4 to ", "ListOffsets(2): 1 to ", "Metadata(3): 0 to ",
                "ApiVersions(18): 0 to ", "CreateTopics(19): 2 to ", "InitProducerId(22): 0 to ");
    }

    private void leaderElection() throws Exception {
        String topic = make("elect", 1);
        Tools.Outcome outcome = succeeds(
                TOOLS + "LeaderElectionCommand", "--election-type", "preferred", "--topic", topic, "--partition", "0");
        outcome.contains("Valid replica already elected for partitions");
    }

    private void features() throws Exception {
        succeeds(TOOLS + "FeatureCommand", "describe").contains("metadata.version", "FinalizedVersionLevel");
    }
}
