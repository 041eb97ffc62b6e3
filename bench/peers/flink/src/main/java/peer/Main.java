package peer;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Comparator;
import java.util.Optional;
import java.util.stream.Stream;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExternalizedCheckpointRetention;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.StateRecoveryOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetResetStrategy;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * The benchmark's work on Flink in one process: exactly once, a checkpoint a second, the heap state backend with all
 * weights of a model as one array under its partition's key, parallelism 2. It resumes from the newest checkpoint in
 * its folder, as an operator of the cluster would have it do.
 *
 * <p>Arguments: brokers, input topic, output topic, group, checkpoint interval in ms, state folder.
 */
public final class Main {
    private static final int PARALLELISM = 2;
    private static final int MAX_PARALLELISM = 128;

    public static void main(String[] args) throws Exception {
        Path folder = Paths.get(args[5]).toAbsolutePath();
        Files.createDirectories(folder);
        Configuration conf = new Configuration();
        conf.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        conf.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        conf.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, folder.toUri().toString());
        conf.set(CheckpointingOptions.EXTERNALIZED_CHECKPOINT_RETENTION, ExternalizedCheckpointRetention.RETAIN_ON_CANCELLATION);
        conf.set(RestartStrategyOptions.RESTART_STRATEGY, "none");
        conf.set(PipelineOptions.OBJECT_REUSE, true);
        conf.set(TaskManagerOptions.NETWORK_MEMORY_MAX, MemorySize.ofMebiBytes(64));
        Optional<Path> newest = newestCheckpoint(folder);
        if (newest.isPresent()) {
            conf.set(StateRecoveryOptions.SAVEPOINT_PATH, newest.get().toUri().toString());
        }
        StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(PARALLELISM, conf);
        env.setMaxParallelism(MAX_PARALLELISM);
        env.enableCheckpointing(Long.parseLong(args[4]));

        KafkaSource<Tuple2<Integer, byte[]>> source = KafkaSource.<Tuple2<Integer, byte[]>>builder()
                .setBootstrapServers(args[0])
                .setTopics(args[1])
                .setGroupId(args[3])
                .setStartingOffsets(OffsetsInitializer.committedOffsets(OffsetResetStrategy.EARLIEST))
                .setDeserializer(new Read())
                .setProperty("max.poll.records", "5000")
                .build();
        KafkaSink<Tuple2<byte[], byte[]>> sink = KafkaSink.<Tuple2<byte[], byte[]>>builder()
                .setBootstrapServers(args[0])
                .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
                .setTransactionalIdPrefix(args[3])
                .setProperty("transaction.timeout.ms", "60000")
                .setProperty("linger.ms", "10")
                .setRecordSerializer((KafkaRecordSerializationSchema<Tuple2<byte[], byte[]>>)
                        (out, context, timestamp) -> new ProducerRecord<>(args[2], out.f0, out.f1))
                .build();
        int[] keys = keys(64);
        env.fromSource(source, WatermarkStrategy.noWatermarks(), "clicks")
                .uid("clicks")
                .keyBy(record -> keys[record.f0], Types.INT)
                .process(new Learner())
                .returns(Types.TUPLE(
                        PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO,
                        PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO))
                .uid("learn")
                .sinkTo(sink)
                .uid("predictions");
        env.execute(args[3]);
    }

    /** A key for each partition, so that neighbours go to different subtasks. */
    private static int[] keys(int partitions) {
        int[] keys = new int[partitions];
        int next = 0;
        for (int i = 0; i < partitions; i++) {
            while (KeyGroupRangeAssignment.assignKeyToParallelOperator(next, MAX_PARALLELISM, PARALLELISM) != i % PARALLELISM) {
                next++;
            }
            keys[i] = next++;
        }
        return keys;
    }

    private static Optional<Path> newestCheckpoint(Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            return files.filter(f -> f.getFileName().toString().equals("_metadata"))
                    .max(Comparator.comparing((Path f) -> f.toFile().lastModified()))
                    .map(Path::getParent);
        }
    }

    private static final class Read implements KafkaRecordDeserializationSchema<Tuple2<Integer, byte[]>> {
        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Tuple2<Integer, byte[]>> out) {
            out.collect(Tuple2.of(record.partition(), record.value()));
        }

        @Override
        public TypeInformation<Tuple2<Integer, byte[]>> getProducedType() {
            return Types.TUPLE(Types.INT, PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO);
        }
    }

    private static boolean started;

    private static synchronized void begin() {
        if (!started) {
            started = true;
            System.out.println("first record");
        }
    }

    /** Predicts, publishes, learns. A slot is two floats: the weight and the sum of its squared gradients. */
    private static final class Learner
            extends KeyedProcessFunction<Integer, Tuple2<Integer, byte[]>, Tuple2<byte[], byte[]>> {
        private transient ValueState<float[]> state;
        private transient int[] slots;
        private transient double[] values;
        private transient boolean begun;

        @Override
        public void open(OpenContext context) {
            state = getRuntimeContext().getState(new ValueStateDescriptor<>(
                    "model", PrimitiveArrayTypeInfo.FLOAT_PRIMITIVE_ARRAY_TYPE_INFO));
            slots = new int[Click.FEATURES];
            values = new double[Click.FEATURES];
        }

        @Override
        public void processElement(Tuple2<Integer, byte[]> record, Context context, Collector<Tuple2<byte[], byte[]>> out)
                throws Exception {
            if (!begun) {
                begun = true;
                begin();
            }
            Click c = Click.parse(record.f1);
            float[] model = state.value(); // a copy of its own while a snapshot is under way
            if (model == null) {
                model = new float[2 * Click.SLOTS];
                state.update(model);
            }
            c.features(slots, values);
            double score = 0;
            for (int i = 0; i < slots.length; i++) {
                score += model[2 * slots[i]] * values[i];
            }
            double p = Click.sigmoid(score);
            out.collect(Tuple2.of(c.user.getBytes(java.nio.charset.StandardCharsets.US_ASCII), Click.output(c.id, p)));
            for (int i = 0; i < slots.length; i++) {
                double gradient = (p - c.y) * values[i];
                if (gradient == 0) {
                    continue;
                }
                int at = 2 * slots[i];
                model[at + 1] += (float) (gradient * gradient);
                model[at] -= (float) Click.step(gradient, model[at + 1]);
            }
        }
    }
}
