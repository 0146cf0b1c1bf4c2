import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Future;
import java.util.stream.Collectors;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionReplica;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidReplicaAssignmentException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.LogDirNotFoundException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Several data folders: where partitions are put, what is told of them, how they move, and what cannot be moved. */
public final class FoldersSuite {
    private static final int NODE = 1;
    private static final String TOOLS = "org.apache.kafka.tools.";

    private final String bootstrap;
    private final Admin admin;
    private final List<String> folders;
    private final Checks checks;

    private FoldersSuite(String bootstrap, List<String> folders, Checks checks) {
        this.bootstrap = bootstrap;
        this.folders = folders;
        this.checks = checks;
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] args) throws Exception {
        Tools.capture();
        Checks checks = new Checks("folders");
        FoldersSuite suite = new FoldersSuite(args[0], Arrays.asList(args).subList(1, args.length), checks);
        checks.check("partitions go where there are fewest", suite::placement);
        checks.check("kafka-log-dirs", suite::logDirs);
        checks.check("cordoned folders", suite::cordoned);
        checks.check("what cannot be moved", suite::refusals);
        checks.check("a preferred folder", suite::preferred);
        checks.check("a partition that moves", suite::moved);
        checks.finish();
    }

    private Map<String, LogDirDescription> described() throws Exception {
        return admin.describeLogDirs(Set.of(NODE)).allDescriptions().get().get(NODE);
    }

    /** The folder of each partition of a topic; those that are under way count where they are. */
    private Map<Integer, String> where(String topic) throws Exception {
        Map<Integer, String> found = new TreeMap<>();
        described().forEach((folder, description) -> description.replicaInfos().forEach((partition, info) -> {
            if (partition.topic().equals(topic) && !info.isFuture()) {
                found.put(partition.partition(), folder);
            }
        }));
        return found;
    }

    private String make(String label, int partitions) throws Exception {
        String topic = checks.topic(label);
        admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get();
        Checks.eventually(() -> where(topic).size() == partitions, topic + " is there");
        return topic;
    }

    private void placement() throws Exception {
        Checks.equal(new TreeSet<>(described().keySet()), new TreeSet<>(folders), "the folders");
        String topic = make("placed", 2 * folders.size());
        Map<String, Long> counts = where(topic).values().stream()
                .collect(Collectors.groupingBy(folder -> folder, Collectors.counting()));
        for (String folder : folders) {
            Checks.equal(counts.get(folder), 2L, folder);
        }
    }

    private void logDirs() throws Exception {
        String topic = make("told", 3);
        Tools.Outcome told = Tools.tool(TOOLS + "LogDirsCommand", "",
                "--bootstrap-server", bootstrap, "--describe", "--topic-list", topic);
        Checks.equal(told.status(), 0, told.said());
        for (String folder : folders) {
            told.contains("\"logDir\":\"" + folder + "\"");
        }
        for (LogDirDescription folder : described().values()) {
            Checks.that(folder.error() == null, "" + folder.error());
            Checks.that(folder.totalBytes().getAsLong() > 0, "its size");
            Checks.that(folder.usableBytes().getAsLong() <= folder.totalBytes().getAsLong(), "its room");
            Checks.that(!folder.isCordoned(), "not cordoned");
        }
        Checks.equal(where(topic).size(), 3, "partitions told");
    }

    private void cordon(String value) throws Exception {
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "" + NODE);
        AlterConfigOp.OpType kind = value == null ? AlterConfigOp.OpType.DELETE : AlterConfigOp.OpType.SET;
        Collection<AlterConfigOp> ops = List.of(new AlterConfigOp(new ConfigEntry("cordoned.log.dirs", value), kind));
        admin.incrementalAlterConfigs(Map.of(broker, ops)).all().get();
    }

    private void cordoned() throws Exception {
        String open = folders.get(folders.size() - 1);
        List<String> closed = folders.subList(0, folders.size() - 1);
        cordon(String.join(",", closed));
        Checks.eventually(() -> described().get(closed.get(0)).isCordoned(), "it is told");
        Checks.that(!described().get(open).isCordoned(), "the other one is not");
        String topic = make("cordoned", 4);
        Checks.equal(new TreeSet<>(where(topic).values()), new TreeSet<>(Set.of(open)), "where it is");
        Checks.refused(InvalidReplicaAssignmentException.class, () -> move(topic, 0, closed.get(0)).get());
        cordon("*");
        // Apache Kafka tells the controller of it with the next heartbeat.
        Checks.eventually(() -> {
            String refused = checks.topic("nowhere");
            try {
                admin.createTopics(List.of(new NewTopic(refused, 1, (short) 1))).all().get();
                return false;
            } catch (Exception e) {
                return e.getCause() instanceof InvalidReplicationFactorException;
            }
        }, "no topic is created");
        cordon(null);
        Checks.eventually(() -> !described().get(open).isCordoned(), "open again");
        Checks.eventually(() -> {
            try {
                make("opened", 1);
                return true;
            } catch (Exception e) {
                return false;
            }
        }, "a topic is created");
    }

    private Future<Void> move(String topic, int partition, String folder) {
        return admin.alterReplicaLogDirs(Map.of(new TopicPartitionReplica(topic, partition, NODE), folder)).all();
    }

    private void refusals() throws Exception {
        String topic = make("refused", 1);
        Checks.refused(LogDirNotFoundException.class, () -> move(topic, 0, "/nowhere").get());
        Checks.refused(LogDirNotFoundException.class, () -> move(topic, 0, folders.get(0) + "/").get());
        String wrong = checks.topic("nobody");
        Checks.refused(UnknownTopicOrPartitionException.class, () -> move(wrong, 0, folders.get(0)).get());
        Checks.refused(UnknownTopicOrPartitionException.class, () -> move(topic, 7, folders.get(0)).get());
        String tooLong = "x".repeat(249);
        Checks.refused(InvalidTopicException.class, () -> move(tooLong, 0, folders.get(0)).get());
        move(topic, 0, where(topic).get(0)).get();
    }

    private void preferred() throws Exception {
        String topic = checks.topic("preferred");
        String folder = folders.get(1);
        for (int partition = 0; partition < 3; partition++) {
            int wanted = partition;
            Checks.refused(UnknownTopicOrPartitionException.class, () -> move(topic, wanted, folder).get());
        }
        admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1))).all().get();
        Checks.eventually(() -> where(topic).size() == 3, "it is there");
        Checks.equal(new TreeSet<>(where(topic).values()), new TreeSet<>(Set.of(folder)), "where it is");
    }

    private void moved() throws Exception {
        String topic = make("moved", 1);
        int records = 5_000;
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap);
        ByteArraySerializer bytes = new ByteArraySerializer();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config, bytes, bytes)) {
            for (int record = 0; record < records; record++) {
                producer.send(new ProducerRecord<>(topic, new byte[1_000]));
            }
            producer.flush();
        }
        String from = where(topic).get(0);
        String to = folders.stream().filter(folder -> !folder.equals(from)).findFirst().orElseThrow();
        move(topic, 0, to).get();
        Checks.eventually(() -> to.equals(where(topic).get(0)), "it is there");
        Checks.eventually(() -> replicas(topic) == 1, "it is nowhere else");
        TopicPartition partition = new TopicPartition(topic, 0);
        Map<TopicPartition, OffsetSpec> latest = Map.of(partition, OffsetSpec.latest());
        long end = admin.listOffsets(latest).all().get().get(partition).offset();
        Checks.equal(end, (long) records, "its end");
        // Asked again, it stays.
        move(topic, 0, to).get();
        Checks.equal(where(topic).get(0), to, "where it is");
    }

    /** How often a partition of a topic is told, those that are under way included. */
    private long replicas(String topic) throws Exception {
        return described().values().stream()
                .flatMap(folder -> folder.replicaInfos().keySet().stream())
                .filter(partition -> partition.topic().equals(topic))
                .count();
    }
}
