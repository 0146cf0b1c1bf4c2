import static java.util.concurrent.TimeUnit.SECONDS;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.QuorumInfo;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.InvalidRecordException;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicaAssignmentException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidRequestException;
import org.apache.kafka.common.errors.InvalidTimestampException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Apache Kafka's Producer, Consumer (by assigned partitions) and Admin, against any broker. */
public final class ClientsSuite {
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    private static final long BASE_MS = System.currentTimeMillis() / 1000 * 1000 - 3_600_000;

    private final String bootstrap;
    private final Checks checks;
    private final Admin admin;

    private ClientsSuite(String bootstrap, Checks checks) {
        this.bootstrap = bootstrap;
        this.checks = checks;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] args) throws Exception {
        Checks checks = new Checks("java", java.util.Arrays.copyOfRange(args, 1, args.length));
        ClientsSuite suite = new ClientsSuite(args[0], checks);
        checks.check("cluster is described", suite::clusterIsDescribed);
        checks.check("quorum is described", suite::quorumIsDescribed);
        checks.check("features are described", suite::featuresAreDescribed);
        checks.check("log dirs are described", suite::logDirsAreDescribed);
        checks.check("creation tells what was made", suite::creationTellsWhatWasMade);
        checks.check("creation only validated", suite::creationOnlyValidated);
        checks.check("bad creations are refused", suite::badCreationsAreRefused);
        checks.check("topics are deleted by name and by id", suite::topicsAreDeletedByNameAndById);
        checks.check("many topics are listed and described in pages", suite::manyTopicsAreDescribed);
        checks.check("partitions are added", suite::partitionsAreAdded);
        checks.check("topic configs", suite::topicConfigs);
        checks.check("broker configs", suite::brokerConfigs);
        checks.check("cluster default configs", suite::clusterDefaultConfigs);
        checks.check("elections are not needed", suite::electionsAreNotNeeded);
        checks.check("records through each codec", suite::recordsThroughEachCodec);
        checks.check("acks of each kind", suite::acksOfEachKind);
        checks.check("idempotent producers side by side", suite::idempotentProducersSideBySide);
        checks.check("records too large", suite::recordsTooLarge);
        checks.check("timestamps", suite::timestamps);
        checks.check("compacted topics want keys", suite::compactedTopicsWantKeys);
        checks.check("offsets of each kind", suite::offsetsOfEachKind);
        checks.check("reading from the middle", suite::readingFromTheMiddle);
        checks.check("offsets out of range", suite::offsetsOutOfRange);
        checks.check("records are deleted", suite::recordsAreDeleted);
        checks.check("retention by bytes", suite::retentionByBytes);
        checks.check("unknown topics", suite::unknownTopics);
        checks.check("auto creation", suite::autoCreation);
        checks.check("a topic made anew under an open producer", suite::topicMadeAnew);
        checks.check("many partitions in one fetch session", suite::manyPartitionsInOneSession);
        checks.check("a waiting consumer is woken", suite::waitingConsumerIsWoken);
        checks.finish();
    }

    // ---- tools of the checks

    private static <T> T get(Future<T> future) throws Exception {
        return future.get(30, SECONDS);
    }

    private String make(String label, int partitions, String... config) throws Exception {
        String name = checks.topic(label);
        get(admin.createTopics(List.of(topic(name, partitions, config))).all());
        Checks.eventually(() -> exists(name), "topic " + name);
        return name;
    }

    private static NewTopic topic(String name, int partitions, String... config) {
        Map<String, String> configs = new HashMap<>();
        for (int i = 0; i < config.length; i += 2) {
            configs.put(config[i], config[i + 1]);
        }
        return new NewTopic(name, Optional.of(partitions), Optional.empty()).configs(configs);
    }

    private boolean exists(String name) throws Exception {
        try {
            return describe(name).partitions().stream().allMatch(p -> p.leader() != null);
        } catch (java.util.concurrent.ExecutionException e) {
            if (e.getCause() instanceof UnknownTopicOrPartitionException) {
                return false;
            }
            throw e;
        }
    }

    private TopicDescription describe(String name) throws Exception {
        return get(admin.describeTopics(List.of(name)).allTopicNames()).get(name);
    }

    private KafkaProducer<byte[], byte[]> producer(Object... config) {
        Map<String, Object> all = new HashMap<>(Map.of("bootstrap.servers", bootstrap));
        for (int i = 0; i < config.length; i += 2) {
            all.put((String) config[i], config[i + 1]);
        }
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private KafkaConsumer<byte[], byte[]> consumer(Object... config) {
        Map<String, Object> all = new HashMap<>(Map.of(
                "bootstrap.servers", bootstrap, "enable.auto.commit", false, "auto.offset.reset", "earliest"));
        for (int i = 0; i < config.length; i += 2) {
            all.put((String) config[i], config[i + 1]);
        }
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static List<RecordMetadata> send(
            KafkaProducer<byte[], byte[]> producer, List<ProducerRecord<byte[], byte[]>> records) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (ProducerRecord<byte[], byte[]> r : records) {
            sent.add(producer.send(r));
        }
        producer.flush();
        List<RecordMetadata> results = new ArrayList<>();
        for (Future<RecordMetadata> f : sent) {
            results.add(get(f));
        }
        return results;
    }

    private void write(String topic, int count, Object... config) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(config)) {
            send(producer, sample(topic, 0, count));
        }
    }

    /** Reads a partition from an offset to its end. */
    private List<ConsumerRecord<byte[], byte[]>> read(String topic, int partition, long from, Object... config) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(config)) {
            TopicPartition tp = new TopicPartition(topic, partition);
            consumer.assign(List.of(tp));
            consumer.seek(tp, from);
            long end = consumer.endOffsets(List.of(tp)).get(tp);
            List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
            long deadline = System.nanoTime() + SECONDS.toNanos(30);
            while (consumer.position(tp) < end) {
                consumer.poll(Duration.ofMillis(500)).forEach(records::add);
                Checks.that(System.nanoTime() < deadline, "stuck at " + consumer.position(tp) + " of " + end);
            }
            return records;
        }
    }

    private static byte[] bytes(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    /** Null and empty keys and values, repeated and random-looking bytes, headers with null values. */
    private static List<ProducerRecord<byte[], byte[]>> sample(String topic, int partition, int count) {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            byte[] noise = new byte[i % 211];
            for (int j = 0; j < noise.length; j++) {
                noise[j] = (byte) (i * 31 + j * 17);
            }
            byte[] key = new byte[][] {null, {}, bytes("key-" + i), bytes("schlüssel-" + i)}[i % 4];
            byte[] value = new byte[][] {bytes("value " + i), null, {}, new byte[i % 977], noise}[i % 5];
            ProducerRecord<byte[], byte[]> r = new ProducerRecord<>(topic, partition, BASE_MS + i * 10L, key, value);
            if (i % 3 == 1) {
                r.headers().add("a", bytes("1")).add("a", bytes("2"));
            } else if (i % 3 == 2) {
                r.headers().add("empty", new byte[0]).add("nothing", null);
            }
            records.add(r);
        }
        return records;
    }

    private static void same(List<ConsumerRecord<byte[], byte[]>> seen, List<ProducerRecord<byte[], byte[]>> wanted) {
        Checks.equal(seen.size(), wanted.size(), "records");
        for (int i = 0; i < seen.size(); i++) {
            ConsumerRecord<byte[], byte[]> s = seen.get(i);
            ProducerRecord<byte[], byte[]> w = wanted.get(i);
            Checks.equal(s.offset(), (long) i, "offset");
            Checks.equal(s.key(), w.key(), "key of " + i);
            Checks.equal(s.value(), w.value(), "value of " + i);
            Checks.equal(s.timestamp(), w.timestamp(), "timestamp of " + i);
            Checks.equal(s.timestampType(), TimestampType.CREATE_TIME, "timestamp type of " + i);
            Header[] headers = w.headers().toArray();
            Checks.equal(s.headers().toArray(), headers, "headers of " + i);
        }
    }

    private long offset(TopicPartition tp, OffsetSpec spec) throws Exception {
        return get(admin.listOffsets(Map.of(tp, spec)).partitionResult(tp)).offset();
    }

    private Map<String, ConfigEntry> configs(ConfigResource.Type type, String name) throws Exception {
        ConfigResource resource = new ConfigResource(type, name);
        DescribeConfigsOptions options = new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true);
        Config config = get(admin.describeConfigs(List.of(resource), options).all()).get(resource);
        return config.entries().stream().collect(Collectors.toMap(ConfigEntry::name, e -> e));
    }

    private void alter(ConfigResource.Type type, String name, AlterConfigOp.OpType op, String... pairs) throws Exception {
        List<AlterConfigOp> ops = new ArrayList<>();
        for (int i = 0; i < pairs.length; i += 2) {
            ops.add(new AlterConfigOp(new ConfigEntry(pairs[i], pairs[i + 1]), op));
        }
        Map<ConfigResource, Collection<AlterConfigOp>> all = Map.of(new ConfigResource(type, name), ops);
        get(admin.incrementalAlterConfigs(all).all());
    }

    private int node() throws Exception {
        return get(admin.describeCluster().controller()).id();
    }

    // ---- the cluster

    private void clusterIsDescribed() throws Exception {
        Collection<Node> nodes = get(admin.describeCluster().nodes());
        Checks.equal(nodes.size(), 1, "nodes");
        Node only = nodes.iterator().next();
        Checks.equal(only.host() + ":" + only.port(), bootstrap, "address");
        Checks.equal(only.id(), node(), "controller");
        Checks.equal(get(admin.describeCluster().clusterId()).length(), 22, "cluster id");
    }

    private void quorumIsDescribed() throws Exception {
        QuorumInfo quorum = get(admin.describeMetadataQuorum().quorumInfo());
        Checks.equal(quorum.leaderId(), node(), "leader");
        Checks.that(quorum.highWatermark() > 0 && quorum.leaderEpoch() > 0, quorum.toString());
        Checks.equal(quorum.voters().stream().map(QuorumInfo.ReplicaState::replicaId).toList(), List.of(node()), "voters");
    }

    private void featuresAreDescribed() throws Exception {
        var features = get(admin.describeFeatures().featureMetadata());
        Checks.that(features.finalizedFeatures().containsKey("metadata.version"), features.toString());
        Checks.that(features.supportedFeatures().containsKey("metadata.version"), features.toString());
    }

    private void logDirsAreDescribed() throws Exception {
        String name = make("dirs", 2);
        write(name, 500);
        Map<String, LogDirDescription> dirs = get(admin.describeLogDirs(List.of(node())).allDescriptions()).get(node());
        Checks.equal(dirs.size(), 1, "folders");
        LogDirDescription dir = dirs.values().iterator().next();
        Checks.that(dir.totalBytes().orElse(0) > dir.usableBytes().orElse(0), "sizes");
        Checks.that(dir.replicaInfos().get(new TopicPartition(name, 0)).size() > 10_000, "size of a partition");
        Checks.equal(dir.replicaInfos().get(new TopicPartition(name, 1)).size(), 0L, "size of an empty partition");
    }

    // ---- topics

    private void creationTellsWhatWasMade() throws Exception {
        String name = checks.topic("made");
        CreateTopicsResult made = admin.createTopics(List.of(topic(name, 3, "retention.ms", "5000000")));
        Checks.equal(get(made.numPartitions(name)), 3, "partitions");
        Checks.equal(get(made.replicationFactor(name)), 1, "factor");
        Checks.equal(get(made.config(name)).get("retention.ms").value(), "5000000", "config");
        Checks.equal(get(made.config(name)).get("segment.bytes").value(), "1073741824", "default config");
        Uuid id = get(made.topicId(name));
        Checks.eventually(() -> exists(name), "topic");
        Checks.equal(describe(name).topicId(), id, "id");
        Checks.equal(get(admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds()).get(id).name(), name, "name");
        Checks.that(get(admin.listTopics().names()).contains(name), "listed");
        TopicExistsException e = Checks.refused(
                TopicExistsException.class, () -> get(admin.createTopics(List.of(topic(name, 3))).all()));
        Checks.equal(e.getMessage(), "Topic '" + name + "' already exists.", "message");
    }

    private void creationOnlyValidated() throws Exception {
        CreateTopicsOptions dry = new CreateTopicsOptions().validateOnly(true);
        String name = checks.topic("dry");
        CreateTopicsResult made = admin.createTopics(List.of(topic(name, 4)), dry);
        Checks.equal(get(made.numPartitions(name)), 4, "partitions");
        Checks.refused(InvalidConfigurationException.class,
                () -> get(admin.createTopics(List.of(topic(name, 1, "retention.ms", "?")), dry).all()));
        String taken = make("taken", 1);
        Checks.refused(TopicExistsException.class, () -> get(admin.createTopics(List.of(topic(taken, 1)), dry).all()));
        Checks.that(!get(admin.listTopics().names()).contains(name), "nothing was made");
    }

    private void badCreationsAreRefused() throws Exception {
        for (String name : List.of("bad name", "..", "a".repeat(250), "ümlaut", "a:b")) {
            Checks.refused(InvalidTopicException.class, () -> get(admin.createTopics(List.of(topic(name, 1))).all()));
        }
        String name = checks.topic("bad");
        Checks.refused(InvalidPartitionsException.class, () -> get(admin.createTopics(List.of(topic(name, 0))).all()));
        Checks.refused(InvalidReplicationFactorException.class,
                () -> get(admin.createTopics(List.of(new NewTopic(name, 1, (short) 3))).all()));
        Checks.refused(InvalidReplicaAssignmentException.class,
                () -> get(admin.createTopics(List.of(new NewTopic(name, Map.of(0, List.of(node() + 9))))).all()));
        Checks.refused(InvalidReplicaAssignmentException.class,
                () -> get(admin.createTopics(List.of(new NewTopic(name, Map.of(1, List.of(node()))))).all()));
        Checks.refused(InvalidConfigurationException.class,
                () -> get(admin.createTopics(List.of(topic(name, 1, "no.such.config", "1"))).all()));
        Checks.refused(InvalidConfigurationException.class,
                () -> get(admin.createTopics(List.of(topic(name, 1, "segment.bytes", "13"))).all()));
        CreateTopicsResult mixed = admin.createTopics(List.of(topic(name, 1), topic("bad name", 1)));
        Checks.refused(InvalidTopicException.class, () -> get(mixed.values().get("bad name")));
        get(mixed.values().get(name));
    }

    private void topicsAreDeletedByNameAndById() throws Exception {
        String named = make("named", 2);
        String other = make("other", 2);
        Uuid id = describe(other).topicId();
        write(named, 10);
        get(admin.deleteTopics(List.of(named)).all());
        get(admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all());
        Checks.eventually(() -> !exists(named) && !exists(other), "topics gone");
        Checks.refused(UnknownTopicOrPartitionException.class, () -> get(admin.deleteTopics(List.of(named)).all()));
        Checks.refused(UnknownTopicIdException.class,
                () -> get(admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all()));
        Checks.refused(UnknownTopicIdException.class,
                () -> get(admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds()));
    }

    private void manyTopicsAreDescribed() throws Exception {
        String prefix = checks.topic("many");
        List<NewTopic> topics = IntStream.range(0, 60).mapToObj(i -> topic(prefix + "-" + i, 50)).toList();
        get(admin.createTopics(topics).all());
        List<String> names = topics.stream().map(NewTopic::name).toList();
        Checks.eventually(() -> exists(names.get(59)), "the last topic");
        Map<String, TopicDescription> described = get(admin.describeTopics(names).allTopicNames());
        Checks.equal(described.size(), 60, "topics");
        for (TopicDescription d : described.values()) {
            Checks.equal(d.partitions().stream().map(p -> p.partition()).toList(),
                    IntStream.range(0, 50).boxed().toList(), "partitions of " + d.name());
        }
        get(admin.deleteTopics(names).all());
    }

    private void partitionsAreAdded() throws Exception {
        String name = make("grow", 1);
        get(admin.createPartitions(Map.of(name, NewPartitions.increaseTo(3))).all());
        get(admin.createPartitions(Map.of(name, NewPartitions.increaseTo(4, List.of(List.of(node()))))).all());
        Checks.eventually(() -> describe(name).partitions().size() == 4, "four partitions");
        Checks.refused(InvalidPartitionsException.class,
                () -> get(admin.createPartitions(Map.of(name, NewPartitions.increaseTo(4))).all()));
        Checks.refused(InvalidReplicaAssignmentException.class, () -> get(admin.createPartitions(
                Map.of(name, NewPartitions.increaseTo(5, List.of(List.of(node() + 9))))).all()));
        Checks.refused(UnknownTopicOrPartitionException.class,
                () -> get(admin.createPartitions(Map.of(checks.topic("no"), NewPartitions.increaseTo(4))).all()));
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            send(producer, sample(name, 3, 10));
        }
        same(read(name, 3, 0), sample(name, 3, 10));
    }

    // ---- configs

    private void topicConfigs() throws Exception {
        String name = make("config", 1, "retention.ms", "1000000");
        ConfigResource.Type type = ConfigResource.Type.TOPIC;
        ConfigEntry entry = configs(type, name).get("retention.ms");
        Checks.equal(entry.value(), "1000000", "value");
        Checks.equal(entry.source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "source");
        Checks.equal(entry.type(), ConfigEntry.ConfigType.LONG, "type");
        Checks.that(entry.documentation() != null && entry.documentation().length() > 20, "documentation");
        entry = configs(type, name).get("segment.bytes");
        Checks.equal(entry.source(), ConfigEntry.ConfigSource.DEFAULT_CONFIG, "source");
        Checks.equal(entry.synonyms().stream().map(ConfigEntry.ConfigSynonym::name).toList(),
                List.of("log.segment.bytes"), "synonyms");
        Set<String> names = configs(type, name).keySet();
        for (String needed : List.of("cleanup.policy", "compression.gzip.level", "compression.lz4.level",
                "compression.type", "compression.zstd.level", "delete.retention.ms", "file.delete.delay.ms",
                "flush.messages", "flush.ms", "follower.replication.throttled.replicas", "index.interval.bytes",
                "leader.replication.throttled.replicas", "local.retention.bytes", "local.retention.ms",
                "max.compaction.lag.ms", "max.message.bytes", "message.timestamp.after.max.ms",
                "message.timestamp.before.max.ms", "message.timestamp.type", "min.cleanable.dirty.ratio",
                "min.compaction.lag.ms", "min.insync.replicas", "preallocate", "remote.storage.enable",
                "retention.bytes", "retention.ms", "segment.bytes", "segment.index.bytes", "segment.jitter.ms",
                "segment.ms", "unclean.leader.election.enable")) {
            Checks.that(names.contains(needed), "config " + needed);
        }
        alter(type, name, AlterConfigOp.OpType.SET, "retention.bytes", "5000", "max.message.bytes", "3000");
        alter(type, name, AlterConfigOp.OpType.APPEND, "cleanup.policy", "compact");
        Checks.eventually(() -> configs(type, name).get("cleanup.policy").value().equals("delete,compact"), "appended");
        alter(type, name, AlterConfigOp.OpType.SUBTRACT, "cleanup.policy", "compact");
        alter(type, name, AlterConfigOp.OpType.DELETE, "retention.bytes", null);
        Checks.eventually(() -> configs(type, name).get("retention.bytes").value().equals("-1"), "deleted");
        Checks.equal(configs(type, name).get("cleanup.policy").value(), "delete", "subtracted");
        Checks.equal(configs(type, name).get("max.message.bytes").value(), "3000", "kept");
        Checks.refused(InvalidConfigurationException.class,
                () -> change(type, name, AlterConfigOp.OpType.SET, "retention.ms", "soon"));
        Checks.refused(InvalidConfigurationException.class,
                () -> change(type, name, AlterConfigOp.OpType.SET, "no.such.config", "1"));
        Checks.refused(InvalidConfigurationException.class,
                () -> change(type, name, AlterConfigOp.OpType.APPEND, "retention.ms", "1"));
        Checks.refused(UnknownTopicOrPartitionException.class,
                () -> change(type, checks.topic("no"), AlterConfigOp.OpType.SET, "retention.ms", "1"));
        Checks.refused(UnknownTopicOrPartitionException.class, () -> configs(type, checks.topic("no")));
    }

    private Void change(ConfigResource.Type type, String name, AlterConfigOp.OpType op, String... pairs)
            throws Exception {
        alter(type, name, op, pairs);
        return null;
    }

    private void brokerConfigs() throws Exception {
        String id = String.valueOf(node());
        ConfigResource.Type type = ConfigResource.Type.BROKER;
        Map<String, ConfigEntry> all = configs(type, id);
        Checks.equal(all.get("node.id").value(), id, "node.id");
        Checks.equal(all.get("node.id").source(), ConfigEntry.ConfigSource.STATIC_BROKER_CONFIG, "source");
        Checks.that(all.get("node.id").isReadOnly(), "read only");
        Checks.that(!all.get("message.max.bytes").isReadOnly(), "not read only");
        Checks.equal(all.get("message.max.bytes").value(), "1048588", "message.max.bytes");
        Checks.equal(all.get("num.partitions").value(), "1", "num.partitions");
        Checks.refused(InvalidRequestException.class,
                () -> change(type, id, AlterConfigOp.OpType.SET, "node.id", "5"));
        Checks.refused(InvalidRequestException.class,
                () -> change(type, id, AlterConfigOp.OpType.SET, "message.max.bytes", "x"));
        alter(type, id, AlterConfigOp.OpType.SET, "message.max.bytes", "20000");
        String name = make("inherits", 1);
        Checks.eventually(() -> configs(type, id).get("message.max.bytes").value().equals("20000"), "altered");
        Checks.eventually(
                () -> configs(ConfigResource.Type.TOPIC, name).get("max.message.bytes").value().equals("20000"),
                "inherited");
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            Checks.refused(RecordTooLargeException.class,
                    () -> send(producer, List.of(new ProducerRecord<>(name, 0, null, new byte[30_000]))));
        } finally {
            alter(type, id, AlterConfigOp.OpType.DELETE, "message.max.bytes", null);
        }
        Checks.eventually(() -> configs(type, id).get("message.max.bytes").value().equals("1048588"), "back");
    }

    private void clusterDefaultConfigs() throws Exception {
        String id = String.valueOf(node());
        ConfigResource.Type type = ConfigResource.Type.BROKER;
        String name = make("defaults", 1);
        alter(type, "", AlterConfigOp.OpType.SET, "log.retention.ms", "7000000");
        Checks.eventually(
                () -> configs(ConfigResource.Type.TOPIC, name).get("retention.ms").value().equals("7000000"), "inherited");
        ConfigEntry entry = configs(ConfigResource.Type.TOPIC, name).get("retention.ms");
        Checks.equal(entry.source(), ConfigEntry.ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG, "source");
        Checks.equal(configs(type, "").get("log.retention.ms").value(), "7000000", "described");
        alter(type, id, AlterConfigOp.OpType.SET, "log.retention.ms", "8000000");
        Checks.eventually(
                () -> configs(ConfigResource.Type.TOPIC, name).get("retention.ms").value().equals("8000000"), "the broker's own");
        alter(type, id, AlterConfigOp.OpType.DELETE, "log.retention.ms", null);
        alter(type, "", AlterConfigOp.OpType.DELETE, "log.retention.ms", null);
        Checks.eventually(
                () -> configs(ConfigResource.Type.TOPIC, name).get("retention.ms").value().equals("604800000"), "back");
    }

    private void electionsAreNotNeeded() throws Exception {
        TopicPartition tp = new TopicPartition(make("elect", 1), 0);
        for (ElectionType kind : ElectionType.values()) {
            Optional<Throwable> error = get(admin.electLeaders(kind, Set.of(tp)).partitions()).get(tp);
            Checks.that(error.isPresent() && error.get() instanceof ElectionNotNeededException, error.toString());
        }
        TopicPartition no = new TopicPartition(checks.topic("no"), 0);
        Optional<Throwable> error = get(admin.electLeaders(ElectionType.PREFERRED, Set.of(no)).partitions()).get(no);
        Checks.that(error.isPresent() && error.get() instanceof UnknownTopicOrPartitionException, error.toString());
    }

    // ---- writing

    private void recordsThroughEachCodec() throws Exception {
        for (String codec : CODECS) {
            String name = make(codec, 1);
            try (KafkaProducer<byte[], byte[]> producer = producer("compression.type", codec, "linger.ms", 20)) {
                List<RecordMetadata> sent = send(producer, sample(name, 0, 3000));
                for (int i = 0; i < sent.size(); i++) {
                    Checks.equal(sent.get(i).offset(), (long) i, "offset");
                }
            }
            same(read(name, 0, 0), sample(name, 0, 3000));
            same(read(name, 0, 0, "isolation.level", "read_committed"), sample(name, 0, 3000));
        }
    }

    private void acksOfEachKind() throws Exception {
        for (String acks : List.of("0", "1", "all")) {
            String name = make("acks-" + acks, 1);
            write(name, 200, "acks", acks, "enable.idempotence", false);
            TopicPartition tp = new TopicPartition(name, 0);
            Checks.eventually(() -> offset(tp, OffsetSpec.latest()) == 200, "all records with acks=" + acks);
            same(read(name, 0, 0), sample(name, 0, 200));
        }
    }

    private void idempotentProducersSideBySide() throws Exception {
        String name = make("idempotent", 4);
        List<Thread> threads = new ArrayList<>();
        List<Throwable> errors = java.util.Collections.synchronizedList(new ArrayList<>());
        for (int t = 0; t < 4; t++) {
            String who = "p" + t;
            threads.add(new Thread(() -> {
                try (KafkaProducer<byte[], byte[]> producer =
                        producer("batch.size", 400, "max.in.flight.requests.per.connection", 5)) {
                    List<ProducerRecord<byte[], byte[]>> records = IntStream.range(0, 4000).mapToObj(
                            i -> new ProducerRecord<byte[], byte[]>(name, i % 4, bytes(who), bytes("" + i))).toList();
                    send(producer, records);
                } catch (Throwable e) {
                    errors.add(e);
                }
            }));
        }
        threads.forEach(Thread::start);
        for (Thread t : threads) {
            t.join();
        }
        Checks.equal(errors, List.of(), "errors");
        for (int partition = 0; partition < 4; partition++) {
            Map<String, List<Integer>> seen = new TreeMap<>();
            for (ConsumerRecord<byte[], byte[]> r : read(name, partition, 0)) {
                seen.computeIfAbsent(new String(r.key()), k -> new ArrayList<>())
                        .add(Integer.parseInt(new String(r.value())));
            }
            int first = partition;
            List<Integer> wanted = IntStream.range(0, 1000).map(i -> first + i * 4).boxed().toList();
            for (int t = 0; t < 4; t++) {
                Checks.equal(seen.get("p" + t), wanted, "order of producer " + t + " in partition " + partition);
            }
        }
    }

    private void recordsTooLarge() throws Exception {
        String name = make("large", 2);
        try (KafkaProducer<byte[], byte[]> producer = producer("max.request.size", 10_000_000, "acks", "all")) {
            byte[] big = new byte[1_048_000];
            send(producer, List.of(new ProducerRecord<>(name, 0, null, big)));
            Checks.refused(RecordTooLargeException.class,
                    () -> send(producer, List.of(new ProducerRecord<>(name, 0, null, new byte[1_048_600]))));
            send(producer, List.of(new ProducerRecord<>(name, 0, null, big)));
            Checks.equal(read(name, 0, 0).size(), 2, "records");
            Checks.equal(read(name, 0, 0, "max.partition.fetch.bytes", 10, "fetch.max.bytes", 10).size(), 2, "records");
        }
    }

    private void timestamps() throws Exception {
        String name = make("create", 1);
        long now = System.currentTimeMillis();
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            RecordMetadata sent = send(producer, List.of(new ProducerRecord<>(name, 0, now - 1000, null, bytes("v")))).get(0);
            Checks.equal(sent.timestamp(), now - 1000, "timestamp");
            Checks.refused(InvalidTimestampException.class, () -> send(producer,
                    List.of(new ProducerRecord<>(name, 0, now + 2 * 3_600_000, null, bytes("v")))));
        }
        String strict = make("strict", 1, "message.timestamp.before.max.ms", "60000");
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            Checks.refused(InvalidTimestampException.class, () -> send(producer,
                    List.of(new ProducerRecord<>(strict, 0, now - 120_000, null, bytes("v")))));
        }
        String stamped = make("append", 1, "message.timestamp.type", "LogAppendTime");
        for (String codec : CODECS) {
            try (KafkaProducer<byte[], byte[]> producer = producer("compression.type", codec, "linger.ms", 20)) {
                for (RecordMetadata sent : send(producer, sample(stamped, 0, 20))) {
                    Checks.that(sent.timestamp() >= now, "stamped " + sent.timestamp());
                }
            }
        }
        for (ConsumerRecord<byte[], byte[]> r : read(stamped, 0, 0)) {
            Checks.equal(r.timestampType(), TimestampType.LOG_APPEND_TIME, "type");
            Checks.that(r.timestamp() >= now, "stamped " + r.timestamp());
        }
    }

    private void compactedTopicsWantKeys() throws Exception {
        String name = make("compacted", 1, "cleanup.policy", "compact");
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            send(producer, List.of(new ProducerRecord<>(name, 0, bytes("k"), bytes("v"))));
            Checks.refused(InvalidRecordException.class,
                    () -> send(producer, List.of(new ProducerRecord<>(name, 0, null, bytes("v")))));
            send(producer, List.of(new ProducerRecord<>(name, 0, bytes("k"), null)));
        }
        Checks.equal(read(name, 0, 0).size(), 2, "records");
    }

    // ---- reading

    private void offsetsOfEachKind() throws Exception {
        String name = make("offsets", 2);
        write(name, 1000, "compression.type", "zstd", "linger.ms", 20);
        TopicPartition zero = new TopicPartition(name, 0);
        TopicPartition one = new TopicPartition(name, 1);
        Checks.equal(offset(zero, OffsetSpec.earliest()), 0L, "earliest");
        Checks.equal(offset(zero, OffsetSpec.latest()), 1000L, "latest");
        Checks.equal(offset(zero, OffsetSpec.earliestLocal()), 0L, "earliest local");
        Checks.equal(offset(zero, OffsetSpec.maxTimestamp()), 999L, "max timestamp");
        Checks.equal(offset(zero, OffsetSpec.forTimestamp(BASE_MS + 4995)), 500L, "by time");
        Checks.equal(offset(zero, OffsetSpec.forTimestamp(0)), 0L, "since ever");
        Checks.equal(offset(zero, OffsetSpec.forTimestamp(BASE_MS + 99_999_999)), -1L, "in the future");
        Checks.equal(offset(one, OffsetSpec.earliest()), 0L, "earliest of none");
        Checks.equal(offset(one, OffsetSpec.latest()), 0L, "latest of none");
        Checks.equal(offset(one, OffsetSpec.maxTimestamp()), -1L, "max timestamp of none");
        Checks.equal(offset(one, OffsetSpec.forTimestamp(0)), -1L, "by time in none");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            Checks.equal(consumer.beginningOffsets(List.of(zero, one)), Map.of(zero, 0L, one, 0L), "beginning");
            Checks.equal(consumer.endOffsets(List.of(zero, one)), Map.of(zero, 1000L, one, 0L), "end");
            var found = consumer.offsetsForTimes(Map.of(zero, BASE_MS + 9990, one, 0L));
            Checks.equal(found.get(zero).offset(), 999L, "by time");
            Checks.equal(found.get(zero).timestamp(), BASE_MS + 9990, "its time");
            Checks.equal(found.get(one), null, "by time in none");
        }
    }

    private void readingFromTheMiddle() throws Exception {
        String name = make("middle", 1);
        for (String codec : CODECS) {
            write(name, 1000, "compression.type", codec, "linger.ms", 20);
        }
        List<ConsumerRecord<byte[], byte[]>> tail = read(name, 0, 1234);
        Checks.equal(tail.size(), 3766, "records");
        Checks.equal(tail.get(0).offset(), 1234L, "first");
        TopicPartition tp = new TopicPartition(name, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("max.poll.records", 10)) {
            consumer.assign(List.of(tp));
            for (long offset : new long[] {4321, 7, 4999, 0, 2500}) {
                consumer.seek(tp, offset);
                List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
                Checks.eventually(() -> {
                    consumer.poll(Duration.ofMillis(200)).forEach(records::add);
                    return !records.isEmpty();
                }, "a record at " + offset);
                Checks.equal(records.get(0).offset(), offset, "after seek");
            }
            consumer.seekToEnd(List.of(tp));
            Checks.equal(consumer.position(tp), 5000L, "end");
            consumer.seekToBeginning(List.of(tp));
            consumer.pause(List.of(tp));
            Checks.that(consumer.poll(Duration.ofMillis(200)).isEmpty(), "paused");
        }
    }

    private void offsetsOutOfRange() throws Exception {
        String name = make("range", 1);
        write(name, 10);
        Checks.refused(OffsetOutOfRangeException.class, () -> {
            TopicPartition tp = new TopicPartition(name, 0);
            try (KafkaConsumer<byte[], byte[]> consumer = consumer("auto.offset.reset", "none")) {
                consumer.assign(List.of(tp));
                consumer.seek(tp, 11);
                for (int i = 0; i < 20; i++) {
                    consumer.poll(Duration.ofMillis(500));
                }
            }
            return null;
        });
        TopicPartition tp = new TopicPartition(name, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            consumer.assign(List.of(tp));
            consumer.seek(tp, 100);
            List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
            Checks.eventually(() -> {
                consumer.poll(Duration.ofMillis(200)).forEach(records::add);
                return records.size() == 10;
            }, "a reset to the beginning");
        }
    }

    private void recordsAreDeleted() throws Exception {
        TopicPartition tp = new TopicPartition(make("trim", 1), 0);
        write(tp.topic(), 1000, "linger.ms", 20);
        Checks.equal(trim(tp, 321), 321L, "low watermark");
        Checks.equal(offset(tp, OffsetSpec.earliest()), 321L, "earliest");
        Checks.equal(offset(tp, OffsetSpec.forTimestamp(0)), 321L, "by time");
        Checks.equal(read(tp.topic(), 0, 321).get(0).offset(), 321L, "first");
        Checks.refused(org.apache.kafka.common.errors.OffsetOutOfRangeException.class, () -> trim(tp, 1001));
        Checks.equal(trim(tp, -1), 1000L, "low watermark");
        write(tp.topic(), 1);
        Checks.equal(read(tp.topic(), 0, 1000).size(), 1, "after");
    }

    private long trim(TopicPartition tp, long before) throws Exception {
        Map<TopicPartition, RecordsToDelete> all = Map.of(tp, RecordsToDelete.beforeOffset(before));
        KafkaFuture<Long> low = admin.deleteRecords(all).lowWatermarks().get(tp).thenApply(r -> r.lowWatermark());
        return get(low);
    }

    /** Needs a broker that looks at retention more often than every five minutes. */
    private void retentionByBytes() throws Exception {
        TopicPartition tp = new TopicPartition(
                make("retention", 1, "segment.bytes", "1048576", "retention.bytes", "2000000"), 0);
        byte[] value = new byte[100_000];
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            for (int i = 0; i < 100; i++) {
                send(producer, List.of(new ProducerRecord<>(tp.topic(), 0, bytes("" + i), value)));
            }
        }
        Checks.eventually(() -> offset(tp, OffsetSpec.earliest()) >= 70, "old segments gone");
        long first = offset(tp, OffsetSpec.earliest());
        List<ConsumerRecord<byte[], byte[]>> left = read(tp.topic(), 0, first);
        Checks.equal(new String(left.get(0).key()), "" + first, "first");
        Checks.equal(left.get(left.size() - 1).offset(), 99L, "last");
    }

    private void unknownTopics() throws Exception {
        String name = checks.topic("unknown");
        Checks.refused(UnknownTopicOrPartitionException.class, () -> describe(name));
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("allow.auto.create.topics", false, "default.api.timeout.ms", 2000)) {
            TopicPartition tp = new TopicPartition(name, 0);
            Checks.refused(TimeoutException.class, () -> consumer.endOffsets(List.of(tp)));
        }
        try (KafkaProducer<byte[], byte[]> producer = producer("max.block.ms", 3000)) {
            Checks.refused(InvalidTopicException.class,
                    () -> send(producer, List.of(new ProducerRecord<>("not a name", 0, null, bytes("v")))));
            Checks.refused(TimeoutException.class,
                    () -> send(producer, List.of(new ProducerRecord<>(make("one", 1), 5, null, bytes("v")))));
        }
        Checks.that(!get(admin.listTopics().names()).contains(name), "it was not made");
    }

    private void autoCreation() throws Exception {
        String name = checks.topic("auto");
        write(name, 10);
        same(read(name, 0, 0), sample(name, 0, 10));
        String asked = checks.topic("asked");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("allow.auto.create.topics", true)) {
            Checks.eventually(() -> !consumer.partitionsFor(asked).isEmpty(), "made by asking");
        }
    }

    private void topicMadeAnew() throws Exception {
        String name = make("anew", 1);
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            send(producer, sample(name, 0, 20));
            Uuid old = describe(name).topicId();
            get(admin.deleteTopics(List.of(name)).all());
            Checks.eventually(() -> !exists(name), "topic gone");
            get(admin.createTopics(List.of(topic(name, 1))).all());
            Checks.eventually(() -> exists(name), "topic there again");
            Checks.that(!describe(name).topicId().equals(old), "another id");
            Checks.equal(offset(new TopicPartition(name, 0), OffsetSpec.latest()), 0L, "empty");
            send(producer, sample(name, 0, 10));
        }
        same(read(name, 0, 0), sample(name, 0, 10));
    }

    private void manyPartitionsInOneSession() throws Exception {
        int count = 300;
        String name = make("session", count);
        List<TopicPartition> all = IntStream.range(0, count).mapToObj(i -> new TopicPartition(name, i)).toList();
        try (KafkaProducer<byte[], byte[]> producer = producer("linger.ms", 20);
                KafkaConsumer<byte[], byte[]> consumer = consumer("fetch.max.wait.ms", 100)) {
            consumer.assign(all);
            for (int round = 0; round < 3; round++) {
                // Few partitions change from round to round, which is what sessions are for.
                Set<Integer> written = new HashSet<>();
                List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
                for (int p = round; p < count; p += round == 0 ? 1 : 37) {
                    records.add(new ProducerRecord<>(name, p, bytes("k"), bytes("round " + round)));
                    written.add(p);
                }
                send(producer, records);
                Set<Integer> seen = new HashSet<>();
                String wanted = "round " + round;
                Checks.eventually(() -> {
                    for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200))) {
                        Checks.equal(new String(r.value()), wanted, "value");
                        Checks.that(seen.add(r.partition()), "read twice: " + r);
                    }
                    return seen.equals(written);
                }, "every partition in round " + round);
            }
            consumer.assign(all.subList(0, 10));
            send(producer, List.of(new ProducerRecord<>(name, 3, bytes("k"), bytes("last"))));
            List<ConsumerRecord<byte[], byte[]>> last = new ArrayList<>();
            Checks.eventually(() -> {
                consumer.poll(Duration.ofMillis(200)).forEach(last::add);
                return last.stream().anyMatch(r -> new String(r.value()).equals("last"));
            }, "a record after partitions were dropped from the session");
        }
    }

    private void waitingConsumerIsWoken() throws Exception {
        String name = make("poll", 1);
        TopicPartition tp = new TopicPartition(name, 0);
        try (KafkaProducer<byte[], byte[]> producer = producer();
                KafkaConsumer<byte[], byte[]> consumer = consumer("fetch.max.wait.ms", 2_000)) {
            consumer.assign(List.of(tp));
            Checks.that(consumer.poll(Duration.ofMillis(500)).isEmpty(), "nothing yet");
            for (int i = 0; i < 20; i++) {
                send(producer, List.of(new ProducerRecord<>(name, 0, null, bytes("" + i))));
                var records = consumer.poll(Duration.ofSeconds(15));
                Checks.equal(records.count(), 1, "records");
                Checks.equal(new String(records.iterator().next().value()), "" + i, "value");
            }
        }
    }
}
