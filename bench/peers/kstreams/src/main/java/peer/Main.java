package peer;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The benchmark's work on Kafka Streams: exactly once (v2), the weights in a RocksDB store with a cache above it and a
 * changelog behind it, one entry a weight, a task a partition, two threads.
 *
 * <p>Arguments: brokers, input topic, output topic, application id, commit interval in ms, state folder.
 */
public final class Main {
    private static final String STORE = "weights";

    public static void main(String[] args) {
        Properties p = new Properties();
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, args[3]);
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, args[4]);
        p.put(StreamsConfig.STATE_DIR_CONFIG, args[5]);
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG), args[3]);
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5000);
        p.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 10);

        Topology t = new Topology();
        t.addSource("in", new ByteArrayDeserializer(), new ByteArrayDeserializer(), args[1]);
        t.addProcessor("learn", Learner::new, "in");
        t.addStateStore(
                Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), Serdes.Integer(), Serdes.ByteArray())
                        .withCachingEnabled(),
                "learn");
        t.addSink("out", args[2], new ByteArraySerializer(), new ByteArraySerializer(), "learn");

        KafkaStreams streams = new KafkaStreams(t, p);
        streams.setUncaughtExceptionHandler(e -> {
            e.printStackTrace();
            Runtime.getRuntime().halt(1);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
        streams.start();
    }

    private static boolean started;

    private static synchronized void begin() {
        if (!started) {
            started = true;
            System.out.println("first record");
        }
    }

    /** Predicts, publishes, learns. An entry of the store holds a weight and the sum of its squared gradients. */
    private static final class Learner implements Processor<byte[], byte[], byte[], byte[]> {
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<Integer, byte[]> store;
        private final int[] slots = new int[Click.FEATURES];
        private final double[] values = new double[Click.FEATURES];
        private final float[] weights = new float[Click.FEATURES];
        private final float[] sums = new float[Click.FEATURES];
        private boolean begun;

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            store = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            if (!begun) {
                begun = true;
                begin();
            }
            Click c;
            try {
                c = Click.parse(record.value());
            } catch (java.io.IOException e) {
                throw new IllegalArgumentException(e);
            }
            c.features(slots, values);
            double score = 0;
            for (int i = 0; i < slots.length; i++) {
                byte[] entry = store.get(slots[i]);
                if (entry == null) {
                    weights[i] = 0;
                    sums[i] = 0;
                } else {
                    ByteBuffer b = ByteBuffer.wrap(entry);
                    weights[i] = b.getFloat();
                    sums[i] = b.getFloat();
                }
                score += weights[i] * values[i];
            }
            double p = Click.sigmoid(score);
            context.forward(record.withValue(Click.output(c.id, p)));
            for (int i = 0; i < slots.length; i++) {
                double gradient = (p - c.y) * values[i];
                if (gradient == 0) {
                    continue;
                }
                sums[i] += (float) (gradient * gradient);
                weights[i] -= (float) Click.step(gradient, sums[i]);
                store.put(slots[i], ByteBuffer.allocate(8).putFloat(weights[i]).putFloat(sums[i]).array());
            }
        }
    }
}
