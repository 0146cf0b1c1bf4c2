import static org.apache.kafka.clients.consumer.CloseOptions.GroupMembershipOperation.LEAVE_GROUP;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.regex.Pattern;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * All that kafka-consumer-groups prints, in all its views and for everything it does, against what it printed of Apache
 * Kafka after the same steps: `kafka-consumer-groups.txt`. Ids and ports that differ from run to run are replaced, rows
 * stand in order, columns have one space between them.
 *
 * Arguments: where the broker is, and the expectation. With one more the suite writes there what it saw instead: of
 * Apache Kafka, that is the new expectation.
 */
public final class GroupCommandSuite {
    private static final String COMMAND = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    /** The first records are as old; later ones a minute younger each. */
    private static final long FIRST_MS = 1_700_000_000_000L;
    private static final Pattern CLASSIC_MEMBER =
            Pattern.compile("(?<=\\b[a-z]{1,9}-)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}");
    /** Chosen by the client: Kafka's form of an id. */
    private static final Pattern CONSUMER_MEMBER = Pattern.compile("(?<= )[A-Za-z0-9_-]{22}(?= )");

    private final String bootstrap;
    private final Map<String, String> wanted;
    private final StringBuilder seen = new StringBuilder();
    private final List<Member> members = new ArrayList<>();
    private StringBuilder said;

    private GroupCommandSuite(String bootstrap, Map<String, String> wanted) {
        this.bootstrap = bootstrap;
        this.wanted = wanted;
    }

    public static void main(String[] args) throws Exception {
        Tools.capture();
        Path expectation = Path.of(args[1]);
        Path record = args.length > 2 ? Path.of(args[2]) : null;
        Checks checks = new Checks("java-group-command");
        GroupCommandSuite suite = new GroupCommandSuite(args[0], record == null ? read(expectation) : null);
        suite.prepare();
        suite.check(checks, "list", suite::list);
        suite.check(checks, "describe groups of the classic protocol", suite::describeClassic);
        suite.check(checks, "describe groups of the consumer protocol", suite::describeConsumer);
        suite.check(checks, "describe groups without members", suite::describeEmpty);
        suite.check(checks, "what groups with members refuse", suite::refusals);
        suite.leave();
        suite.check(checks, "groups whose members have left", suite::left);
        suite.check(checks, "reset offsets", suite::reset);
        suite.check(checks, "reset offsets of partitions and topics", suite::resetScope);
        suite.check(checks, "reset offsets by time", suite::resetByTime);
        suite.check(checks, "reset offsets to what was exported", suite::resetFromFile);
        suite.check(checks, "delete offsets", suite::deleteOffsets);
        suite.check(checks, "delete groups", suite::delete);
        suite.check(checks, "validate regular expressions", suite::regex);
        if (record != null) {
            Files.writeString(record, suite.seen.toString());
        }
        checks.finish();
    }

    /** What each section of the expectation has. */
    private static Map<String, String> read(Path file) throws Exception {
        Map<String, String> sections = new TreeMap<>();
        for (String section : Files.readString(file).split("(?m)^== ")) {
            int end = section.indexOf('\n');
            if (end > 0) {
                sections.put(section.substring(0, end), section.substring(end + 1).strip());
            }
        }
        return sections;
    }

    private void check(Checks checks, String name, Checks.Body body) {
        said = new StringBuilder();
        checks.check(name, () -> {
            body.run();
            String is = said.toString().strip();
            seen.append("== ").append(name).append("\n").append(is).append("\n\n");
            if (wanted != null) {
                Checks.equal(is, wanted.get(name), name);
            }
        });
    }

    /** Runs the tool and notes what it says. */
    private void say(String... args) throws Exception {
        Tools.Outcome outcome = Tools.tool(
                COMMAND, "", Tools.concat(new String[] {"--bootstrap-server", bootstrap}, args));
        said.append("$ ").append(String.join(" ", args).replaceAll(" $", " ''").replaceAll("/\\S*/", "")).append("\n");
        List<String> rows = new ArrayList<>();
        String[] header = {};
        for (String line : outcome.said().lines().toList()) {
            String row = normal(line);
            if (row.startsWith("at ") || row.startsWith("... ")) {
                // Where in the tool an exception came from.
                continue;
            }
            // A table begins: its rows are in no order.
            if (row.isEmpty() || row.startsWith("GROUP ") || row.startsWith("Option ")) {
                flush(rows);
            }
            if (row.startsWith("Option ")) {
                break;
            }
            if (row.startsWith("GROUP ")) {
                header = row.split(" ");
                said.append(row).append("\n");
            } else if (!row.isEmpty()) {
                rows.add(withoutEpochs(header, row));
            }
        }
        flush(rows);
        said.append("status ").append(outcome.status()).append("\n\n");
    }

    private void flush(List<String> rows) {
        rows.sort(null);
        rows.forEach(row -> said.append(row).append("\n"));
        rows.clear();
    }

    private String normal(String line) {
        String padded = " " + line.strip().replaceAll("\\s+", " ").replaceAll("(?<=[ \t])/tmp/\\S+", "FILE") + " ";
        padded = padded.replace(bootstrap.split(":")[1], "PORT");
        padded = CONSUMER_MEMBER.matcher(CLASSIC_MEMBER.matcher(padded).replaceAll("UUID")).replaceAll("UUID");
        int listed = padded.indexOf(" are: ");
        if (listed > 0) {
            // What there is to choose from is in no order either.
            String[] names = padded.substring(listed + 6).strip().split(", ");
            Arrays.sort(names);
            padded = padded.substring(0, listed + 6) + String.join(", ", names);
        }
        return padded.strip();
    }

    /** How often a group began anew before it had come to rest is a matter of time. */
    private static String withoutEpochs(String[] header, String row) {
        String[] cells = row.split(" ");
        // Cells of the first columns may be empty.
        for (int behind = 1; behind <= Math.min(header.length, cells.length); behind++) {
            if (header[header.length - behind].endsWith("-EPOCH")
                    && !header[header.length - behind].startsWith("LEADER")) {
                int cell = cells.length - behind;
                cells[cell] = cells[cell].replaceAll("[0-9]+", "EPOCH");
            }
        }
        return String.join(" ", cells);
    }

    private Properties clientProperties() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        return properties;
    }

    /** A member of a group, which polls until it leaves. */
    private final class Member {
        private final AtomicBoolean leaves = new AtomicBoolean();
        private final AtomicBoolean owns = new AtomicBoolean();
        private final Thread thread;

        Member(String group, String id, String protocol, int partitions, String instance, String... topics) {
            Properties properties = clientProperties();
            properties.put("group.id", group);
            properties.put("client.id", id);
            properties.put("group.protocol", protocol);
            properties.put("auto.offset.reset", "earliest");
            properties.put("enable.auto.commit", "false");
            if (protocol.equals("classic")) {
                properties.put("session.timeout.ms", "300000");
            }
            properties.put("key.deserializer", ByteArrayDeserializer.class);
            properties.put("value.deserializer", ByteArrayDeserializer.class);
            if (instance != null) {
                properties.put("group.instance.id", instance);
            }
            thread = new Thread(() -> {
                try {
                    Consumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties);
                    if (topics[0].startsWith("^")) {
                        consumer.subscribe(new SubscriptionPattern(topics[0]));
                    } else {
                        consumer.subscribe(List.of(topics));
                    }
                    while (!leaves.get()) {
                        consumer.poll(Duration.ofMillis(50));
                        if (consumer.assignment().size() == partitions && !owns.get()) {
                            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                            consumer.assignment().forEach(partition -> offsets.put(partition,
                                    new OffsetAndMetadata(4 + partition.partition(), Optional.of(0), "note")));
                            consumer.commitSync(offsets);
                            owns.set(true);
                        }
                    }
                    // A static member would otherwise only be away for a while.
                    consumer.close(CloseOptions.groupMembershipOperation(LEAVE_GROUP));
                } catch (RuntimeException e) {
                    e.printStackTrace(System.out);
                }
            }, id);
            thread.setDaemon(true);
            thread.start();
            members.add(this);
        }

        void leave() {
            leaves.set(true);
            try {
                thread.join();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    private void prepare() throws Exception {
        try (Admin admin = Admin.create(clientProperties())) {
            Map<String, String> configs = Map.of("retention.ms", "-1");
            List<NewTopic> topics = new ArrayList<>();
            for (var topic : Map.of("apples", 3, "pears", 1, "plums", 2, "empty", 1).entrySet()) {
                topics.add(new NewTopic(topic.getKey(), topic.getValue(), (short) 1).configs(configs));
            }
            admin.createTopics(topics).all().get();
            Properties properties = clientProperties();
            properties.put("key.serializer", ByteArraySerializer.class);
            properties.put("value.serializer", ByteArraySerializer.class);
            try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties)) {
                for (TopicPartition partition : List.of(of("apples", 0), of("apples", 1), of("apples", 2),
                        of("pears", 0), of("plums", 0), of("plums", 1))) {
                    for (int i = 0; i < 10; i++) {
                        producer.send(new ProducerRecord<>(
                                partition.topic(), partition.partition(), FIRST_MS + i * 60_000L, null, new byte[10]));
                    }
                }
            }
            // Static members come first.
            new Member("classic", "one", "classic", 1, null, "apples");
            new Member("classic", "two", "classic", 2, "static", "apples");
            new Member("modern", "three", "consumer", 3, "static", "apples");
            new Member("modern", "four", "consumer", 1, null, "pears");
            new Member("pattern", "five", "consumer", 3, null, "^p.*");
            for (Member member : members) {
                Checks.eventually(member.owns::get, member.thread.getName() + " has its partitions");
            }
            commit(admin, "simple", Map.of(of("apples", 0), 3L, of("apples", 1), 10L, of("plums", 1), 12L));
            commit(admin, "other", Map.of(of("pears", 0), 0L));
        }
    }

    /** All members leave their groups. */
    private void leave() throws Exception {
        members.forEach(Member::leave);
        try (Admin admin = Admin.create(clientProperties())) {
            Checks.eventually(() -> admin.listGroups(ListGroupsOptions.forConsumerGroups()).all().get().stream()
                    .allMatch(group -> group.groupState().equals(Optional.of(GroupState.EMPTY))), "all groups are empty");
        }
    }

    private static TopicPartition of(String topic, int partition) {
        return new TopicPartition(topic, partition);
    }

    private static void commit(Admin admin, String group, Map<TopicPartition, Long> offsets) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> committed = new TreeMap<>(
                (a, b) -> a.toString().compareTo(b.toString()));
        offsets.forEach((partition, offset) -> committed.put(partition, new OffsetAndMetadata(offset)));
        admin.alterConsumerGroupOffsets(group, committed).all().get();
    }

    private void list() throws Exception {
        say("--list");
        say("--list", "--state");
        say("--list", "--state", "Stable");
        say("--list", "--state", "stable,EMPTY");
        say("--list", "--state", "PreparingRebalance,CompletingRebalance,Assigning,Reconciling");
        say("--list", "--state", "nonsense");
        say("--list", "--type");
        say("--list", "--type", "classic");
        say("--list", "--type", "consumer,classic");
        say("--list", "--type", "share");
        say("--list", "--type", "nonsense");
        say("--list", "--type", "consumer", "--state", "stable");
        say("--list", "--type", "classic", "--state");
    }

    /** Every view of a group. */
    private void describe(String group) throws Exception {
        say("--describe", "--group", group);
        say("--describe", "--group", group, "--offsets");
        say("--describe", "--group", group, "--offsets", "--verbose");
        say("--describe", "--group", group, "--members");
        say("--describe", "--group", group, "--members", "--verbose");
        say("--describe", "--group", group, "--state");
        say("--describe", "--group", group, "--state", "--verbose");
    }

    private void describeClassic() throws Exception {
        describe("classic");
    }

    private void describeConsumer() throws Exception {
        describe("modern");
        describe("pattern");
    }

    private void describeEmpty() throws Exception {
        describe("simple");
        describe("nobody");
        say("--describe", "--group", "simple", "--group", "other");
        say("--describe", "--all-groups");
        say("--describe", "--all-groups", "--members", "--verbose");
        say("--describe", "--all-groups", "--state");
        say("--describe", "--group", "simple", "--members", "--state");
        say("--describe");
    }

    private void refusals() throws Exception {
        for (String group : List.of("classic", "modern", "pattern")) {
            say("--reset-offsets", "--group", group, "--topic", "apples", "--to-earliest", "--execute");
            say("--reset-offsets", "--group", group, "--topic", "apples", "--to-earliest", "--dry-run");
            say("--delete", "--group", group);
            say("--delete-offsets", "--group", group, "--topic", "pears");
            say("--delete-offsets", "--group", group, "--topic", "apples", "--topic", "plums:1");
        }
        say("--delete", "--group", "classic", "--group", "nobody");
    }

    private void left() throws Exception {
        say("--list", "--state", "--type");
        for (String group : List.of("classic", "modern", "pattern")) {
            describe(group);
        }
    }

    private void reset(String... args) throws Exception {
        say(Tools.concat(new String[] {"--reset-offsets"}, args));
    }

    private void reset() throws Exception {
        String[] of = {"--group", "simple", "--topic", "apples"};
        List<String[]> targets = List.of(
                new String[] {"--to-earliest"}, new String[] {"--to-latest"}, new String[] {"--to-current"},
                new String[] {"--to-offset", "5"}, new String[] {"--to-offset", "99"}, new String[] {"--to-offset", "-7"},
                new String[] {"--shift-by", "2"}, new String[] {"--shift-by", "-1"}, new String[] {"--shift-by", "99"},
                new String[] {"--shift-by", "-99"});
        reset(Tools.concat(of, targets.get(0)));
        reset(Tools.concat(of, Tools.concat(targets.get(0), new String[] {"--export"})));
        for (String[] target : targets) {
            reset(Tools.concat(of, Tools.concat(target, new String[] {"--dry-run"})));
        }
        for (String[] target : targets) {
            reset(Tools.concat(of, Tools.concat(target, new String[] {"--execute"})));
            say("--describe", "--group", "simple");
        }
        reset("--group", "simple", "--topic", "apples");
        reset("--group", "simple", "--topic", "apples", "--to-earliest", "--to-latest");
        reset("--group", "simple", "--to-earliest");
        reset("--topic", "apples", "--to-earliest");
    }

    private void resetScope() throws Exception {
        reset("--group", "simple", "--topic", "apples:1", "--to-offset", "4", "--execute");
        reset("--group", "simple", "--topic", "apples:0,2", "--topic", "plums", "--to-offset", "6", "--execute");
        say("--describe", "--group", "simple");
        reset("--group", "simple", "--all-topics", "--to-latest", "--execute");
        say("--describe", "--group", "simple");
        reset("--group", "simple", "--topic", "apples:7", "--to-earliest", "--dry-run");
        reset("--group", "simple", "--topic", "apples:x", "--to-earliest", "--dry-run");
        reset("--group", "simple", "--topic", "apples,plums", "--to-earliest", "--dry-run");
        reset("--group", "simple", "--topic", "missing", "--to-earliest", "--dry-run");
        reset("--group", "simple", "--topic", "empty", "--to-latest", "--execute");
        reset("--group", "nobody", "--topic", "pears", "--to-current", "--dry-run");
        reset("--group", "nobody", "--all-topics", "--to-latest", "--dry-run");
        reset("--group", "fresh", "--topic", "pears", "--to-offset", "3", "--execute");
        say("--describe", "--group", "fresh");
        reset("--group", "fresh", "--topic", "plums", "--shift-by", "1", "--dry-run");
        reset("--group", "modern", "--topic", "apples", "--shift-by", "-3", "--execute");
        reset("--group", "classic", "--all-topics", "--to-earliest", "--execute");
        reset("--group", "fresh", "--group", "classic", "--all-topics", "--to-offset", "1", "--execute");
        reset("--all-groups", "--all-topics", "--to-current", "--dry-run");
        reset("--all-groups", "--topic", "pears", "--to-offset", "2", "--execute");
        say("--describe", "--all-groups");
    }

    private void resetByTime() throws Exception {
        String[] of = {"--group", "simple", "--topic", "apples:0", "--topic", "plums:0"};
        for (String at : List.of("2023-11-14T22:13:20.000", "2023-11-14T22:16:00.000", "2023-11-14T22:16:20.001",
                "2023-11-15T00:16:20.000+02:00", "2023-11-14T22:16:20.000Z", "2020-01-01T00:00:00.000",
                "2030-01-01T00:00:00.000", "yesterday")) {
            reset(Tools.concat(of, new String[] {"--to-datetime", at}));
        }
        reset(Tools.concat(of, new String[] {"--to-datetime", "2023-11-14T22:18:20.000", "--execute"}));
        for (String duration : List.of("PT0S", "P18000D", "P36500D", "P1DT2H", "nonsense")) {
            reset(Tools.concat(of, new String[] {"--by-duration", duration}));
        }
        reset(Tools.concat(of, new String[] {"--by-duration", "P18000D", "--execute"}));
        say("--describe", "--group", "simple");
    }

    private void resetFromFile() throws Exception {
        Path file = Files.createTempDirectory("group-command").resolve("offsets.csv");
        Files.writeString(file, "pears,0,-5\n");
        reset("--group", "simple", "--from-file", file.toString(), "--execute");
        Files.writeString(file, "apples,0,7\nplums,1,99\n");
        reset("--group", "simple", "--from-file", file.toString());
        reset("--group", "simple", "--from-file", file.toString(), "--export");
        reset("--group", "simple", "--from-file", file.toString(), "--execute");
        say("--describe", "--group", "simple");
        reset("--group", "simple", "--all-topics", "--to-current", "--export");
        reset("--group", "simple", "--group", "fresh", "--all-topics", "--to-current", "--export");
        Files.writeString(file, "\"simple\",\"apples\",0,1\n\"fresh\",\"pears\",0,4\n");
        reset("--group", "simple", "--group", "fresh", "--from-file", file.toString(), "--execute");
        Files.writeString(file, "nonsense\n");
        reset("--group", "simple", "--from-file", file.toString(), "--dry-run");
        Files.delete(file);
        Files.delete(file.getParent());
    }

    private void deleteOffsets() throws Exception {
        say("--delete-offsets", "--group", "simple", "--topic", "apples:0,1");
        say("--describe", "--group", "simple");
        say("--delete-offsets", "--group", "simple", "--topic", "apples:0", "--topic", "plums");
        say("--delete-offsets", "--group", "simple", "--topic", "missing");
        say("--delete-offsets", "--group", "simple", "--topic", "apples:7");
        say("--delete-offsets", "--group", "modern", "--topic", "apples");
        say("--delete-offsets", "--group", "nobody", "--topic", "apples");
        say("--delete-offsets", "--group", "simple");
        say("--describe", "--group", "simple");
        say("--describe", "--group", "modern");
    }

    private void delete() throws Exception {
        say("--delete", "--group", "simple");
        say("--delete", "--group", "simple");
        say("--delete", "--group", "modern", "--group", "nobody");
        say("--delete", "--group", "modern", "--group", "pattern");
        say("--delete", "--group", "");
        say("--list", "--type", "--state");
        say("--delete", "--all-groups");
        say("--list");
        say("--describe", "--group", "classic");
        say("--delete", "--all-groups");
        say("--delete");
    }

    private void regex() throws Exception {
        say("--validate-regex", "app.*");
        say("--validate-regex", "(apples|pears)\\d+");
        say("--validate-regex", "(apples");
        say("--validate-regex", "a{2000}");
        say("--validate-regex", "(?=a)b");
        say("--validate-regex", "\\p{Greek}+");
        say("--validate-regex", "");
    }
}
