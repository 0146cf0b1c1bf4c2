import java.io.PrintStream;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** A member of a group with Kafka's own client: what member.py says of itself, in Java. */
final class GroupMember implements ConsumerRebalanceListener {
    private static final long MS_A_RECORD = 8;
    private static final int RECORDS_A_COMMIT = 20;

    private final KafkaConsumer<byte[], byte[]> consumer;
    private final String topic;
    private final PrintStream out;

    /** BOOTSTRAP GROUP TOPIC PROTOCOL [INSTANCE] */
    public static void main(String[] args) throws InterruptedException {
        GroupMember member = new GroupMember(System.out, args);
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            member.stop();
            try {
                main.join();
            } catch (InterruptedException e) {
                member.say("# interrupted");
            }
        }));
        member.live();
    }

    GroupMember(PrintStream out, String... args) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", args[0]);
        config.put("group.id", args[1]);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", "false");
        config.put("max.poll.records", RECORDS_A_COMMIT);
        config.put("reconnect.backoff.max.ms", "500");
        config.put("key.deserializer", ByteArrayDeserializer.class);
        config.put("value.deserializer", ByteArrayDeserializer.class);
        if (args[3].equals("consumer")) {
            config.put("group.protocol", "consumer");
        } else {
            config.put("group.protocol", "classic");
            config.put("session.timeout.ms", "6000");
            config.put("heartbeat.interval.ms", "500");
            config.put("partition.assignment.strategy", args[3].equals("cooperative")
                ? "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"
                : "org.apache.kafka.clients.consumer.RangeAssignor");
        }
        if (args.length > 4) {
            config.put("group.instance.id", args[4]);
        }
        this.consumer = new KafkaConsumer<>(config);
        this.topic = args[2];
        this.out = out;
    }

    /** Consumes until {@link #stop()}. */
    void live() throws InterruptedException {
        consumer.subscribe(List.of(topic), this);
        try {
            while (true) {
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    Thread.sleep(MS_A_RECORD);
                    say(record.partition() + " " + record.offset());
                }
                try {
                    consumer.commitSync();
                } catch (WakeupException e) {
                    throw e;
                } catch (KafkaException e) {
                    say("# not committed: " + e);
                }
            }
        } catch (WakeupException e) {
            consumer.close();
            say("# left");
        }
    }

    /** Has it leave; from any thread. */
    void stop() {
        consumer.wakeup();
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        told("gained", partitions);
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        told("lost", partitions);
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> partitions) {
        told("forfeited", partitions);
    }

    private void told(String word, Collection<TopicPartition> partitions) {
        String numbers = partitions.stream().map(p -> " " + p.partition()).collect(Collectors.joining());
        say(word + numbers + " @" + System.nanoTime());
    }

    private void say(String line) {
        out.println(line);
        out.flush();
    }
}
