import java.io.BufferedReader;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Members of groups, a producer and the tool for groups in one process, since each JVM takes seconds to start. It does what
 * the lines on its standard input say and answers each with what there is to say and a line with a dot.
 */
final class GroupHost {
    private static final long MS_BETWEEN_RECORDS = 50;
    private static final int RECORDS_AT_FIRST = 50;

    private final Map<String, Hosted> members = new HashMap<>();
    private Sending sending;

    private record Hosted(GroupMember member, Thread thread) {
    }

    public static void main(String[] args) throws Exception {
        Tools.capture();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        GroupHost host = new GroupHost();
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            host.obey(line.split(" "));
            System.out.println(".");
        }
        Runtime.getRuntime().halt(0);
    }

    private void obey(String[] words) throws Exception {
        String[] rest = Arrays.copyOfRange(words, 1, words.length);
        switch (words[0]) {
            case "join" -> join(rest[0], Arrays.copyOfRange(rest, 1, rest.length));
            case "leave" -> leave(rest[0]);
            case "produce" -> sending = new Sending(rest);
            case "stop" -> System.out.println(sending.stop());
            case "groups" -> System.out.print(
                Tools.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "", rest).said());
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    /** LOG and what GroupMember takes */
    private void join(String log, String[] args) throws IOException {
        PrintStream out = new PrintStream(new FileOutputStream(log));
        GroupMember member = new GroupMember(out, args);
        Thread thread = new Thread(() -> {
            try (out) {
                member.live();
            } catch (Exception e) {
                e.printStackTrace(out);
            }
        });
        thread.start();
        members.put(log, new Hosted(member, thread));
    }

    /** LOG. Returns when it has left. */
    private void leave(String log) throws InterruptedException {
        Hosted hosted = members.remove(log);
        hosted.member.stop();
        hosted.thread.join();
    }

    /** To each partition of the topics, some records at first and one now and then, until it is stopped. */
    private static final class Sending implements Runnable {
        private final Producer<byte[], byte[]> producer;
        private final String[] topics;
        private final int partitions;
        private final Thread thread = new Thread(this);
        private volatile boolean isStopped;
        private volatile Exception refused;
        private int sent;

        /** BOOTSTRAP PARTITIONS TOPIC... */
        Sending(String[] args) throws Exception {
            partitions = Integer.parseInt(args[1]);
            topics = Arrays.copyOfRange(args, 2, args.length);
            try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
                List<NewTopic> all = Arrays.stream(topics).map(t -> new NewTopic(t, partitions, (short) 1)).toList();
                admin.createTopics(all).all().get();
            }
            producer = new KafkaProducer<>(Map.of(
                "bootstrap.servers", args[0],
                "reconnect.backoff.max.ms", "500",
                "key.serializer", ByteArraySerializer.class,
                "value.serializer", ByteArraySerializer.class));
            for (int i = 0; i < RECORDS_AT_FIRST; i++) {
                send();
            }
            thread.start();
        }

        @Override
        public void run() {
            try {
                while (!isStopped) {
                    send();
                    Thread.sleep(MS_BETWEEN_RECORDS);
                }
            } catch (InterruptedException e) {
                refused = e;
            }
        }

        private void send() {
            byte[] value = Integer.toString(sent++).getBytes();
            for (String topic : topics) {
                for (int partition = 0; partition < partitions; partition++) {
                    producer.send(new ProducerRecord<>(topic, partition, null, value), (metadata, exception) -> {
                        refused = exception == null ? refused : exception;
                    });
                }
            }
        }

        /** How many records each partition has. */
        int stop() throws Exception {
            isStopped = true;
            thread.join();
            producer.close();
            if (refused != null) {
                throw refused;
            }
            return sent;
        }
    }
}
