package io.meterpipe.bench;

import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.runtime.util.EnvironmentInformation;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.DataStreamUtils;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.WindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;

/**
 * Flink in one process, exactly once: state on the heap, a checkpoint every 10 s, a transactional sink for each window.
 *
 * <p>The larger windows are built from the results of the smaller ones. With one task, all keys are its own, so no
 * reading need be sent to another: the whole job is one chain of operators that hand objects on.
 */
public final class FlinkPeer {
    private static final MeterKey.Type KEY = new MeterKey.Type();

    private FlinkPeer() {}

    public static void main(String[] arguments) throws Exception {
        Settings settings = Settings.parse(arguments);
        run(settings, settings.warmupTopic(), settings.outputPrefix() + "-warmup");
        String report = run(settings, settings.inputTopic(), settings.outputPrefix());
        System.out.println(report);
    }

    private static String run(Settings settings, String input, String output) throws Exception {
        Clock clock = Clock.begin(settings.partitions());
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(options(settings));
        environment.setParallelism(settings.threads());
        build(environment, settings, input, output);
        environment.execute(output); // ends with the topic, after a last checkpoint that commits
        clock.awaitEnd(0);
        return clock.report("flink", EnvironmentInformation.getVersion(), settings, details(settings));
    }

    private static Configuration options(Settings settings) {
        Map<String, String> options = new LinkedHashMap<>();
        options.put("execution.checkpointing.interval", "10 s");
        options.put("execution.checkpointing.mode", "EXACTLY_ONCE");
        options.put("execution.checkpointing.storage", "filesystem");
        options.put("execution.checkpointing.dir", Path.of(settings.directory()).toUri().toString());
        options.put("state.backend.type", "hashmap");
        options.put("pipeline.object-reuse", "true");
        options.put("pipeline.auto-watermark-interval", "200 ms");
        options.put("pipeline.generic-types", "false");
        options.put("restart-strategy.type", "none");
        options.put("taskmanager.numberOfTaskSlots", Integer.toString(settings.threads()));
        return Configuration.fromMap(options);
    }

    private static Map<String, String> details(Settings settings) {
        Map<String, String> details = new LinkedHashMap<>();
        details.put("variant", settings.variant());
        details.put("lateness", "smallest");
        details.put("parallelism", Integer.toString(settings.threads()));
        details.put("state", "heap (hashmap)");
        details.put("checkpoints", "10 s");
        details.put("watermarks", "per partition, 300 s behind, every 200 ms; the smallest counts");
        details.put("sink", "KafkaSink exactly once");
        details.put("compression", settings.compression());
        details.put("java", System.getProperty("java.version"));
        return details;
    }

    private static void build(
        StreamExecutionEnvironment environment, Settings settings, String input, String output) {
        KafkaSource<FlinkReading> source = KafkaSource.<FlinkReading>builder()
            .setBootstrapServers(settings.bootstrap())
            .setTopics(input)
            .setGroupId(output + "-flink")
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setBounded(OffsetsInitializer.latest())
            .setDeserializer(new FlinkReading.Decoder())
            .setProperty("max.poll.records", "2000")
            .setProperty("fetch.min.bytes", Integer.toString(256 << 10))
            .setProperty("fetch.max.wait.ms", "100")
            .build();
        WatermarkStrategy<FlinkReading> watermarks = WatermarkStrategy
            .<FlinkReading>forBoundedOutOfOrderness(Duration.ofMillis(Settings.GRACE))
            .withTimestampAssigner((reading, ignored) -> reading.timestamp);
        DataStream<FlinkReading> readings = environment.fromSource(source, watermarks, "readings");
        KeyedStream<FlinkReading, MeterKey> keyed = settings.threads() == 1
            ? DataStreamUtils.reinterpretAsKeyedStream(readings, reading -> reading.key, KEY)
            : readings.keyBy(reading -> reading.key, KEY);
        SingleOutputStreamOperator<FlinkResult> closed = keyed
            .window(TumblingEventTimeWindows.of(Duration.ofSeconds(Settings.WINDOWS[0])))
            .aggregate(new AddReading(), new Close());
        write(closed, settings, output, 0);
        for (int level = 1; level < Settings.WINDOWS.length; level++) {
            closed = DataStreamUtils.reinterpretAsKeyedStream(closed, result -> result.key, KEY)
                .window(TumblingEventTimeWindows.of(Duration.ofSeconds(Settings.WINDOWS[level])))
                .aggregate(new AddResult(), new Close());
            write(closed, settings, output, level);
        }
    }

    private static void write(
        SingleOutputStreamOperator<FlinkResult> results, Settings settings, String output, int level) {
        Properties producer = new Properties();
        producer.put("transaction.timeout.ms", "600000");
        producer.put("linger.ms", "100");
        producer.put("batch.size", Integer.toString(256 << 10));
        producer.put("buffer.memory", Long.toString(64L << 20));
        producer.put("compression.type", settings.compression());
        String topic = output + "-" + Settings.WINDOWS[level];
        results.sinkTo(KafkaSink.<FlinkResult>builder()
            .setBootstrapServers(settings.bootstrap())
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix(topic)
            .setKafkaProducerConfig(producer)
            .setRecordSerializer(new FlinkResult.Encoder(topic, level))
            .build());
    }

    /** Adds readings to the smallest window. */
    private static final class AddReading implements AggregateFunction<FlinkReading, Stats, Stats> {
        private static final long serialVersionUID = 1L;

        @Override
        public Stats createAccumulator() {
            return new Stats();
        }

        @Override
        public Stats add(FlinkReading reading, Stats stats) {
            stats.add(reading.value, reading.timestamp);
            return stats;
        }

        @Override
        public Stats getResult(Stats stats) {
            return stats;
        }

        @Override
        public Stats merge(Stats left, Stats right) {
            left.add(right);
            return left;
        }
    }

    /** Adds results of the next smaller window. */
    private static final class AddResult implements AggregateFunction<FlinkResult, Stats, Stats> {
        private static final long serialVersionUID = 1L;

        @Override
        public Stats createAccumulator() {
            return new Stats();
        }

        @Override
        public Stats add(FlinkResult part, Stats stats) {
            stats.add(part.stats);
            return stats;
        }

        @Override
        public Stats getResult(Stats stats) {
            return stats;
        }

        @Override
        public Stats merge(Stats left, Stats right) {
            left.add(right);
            return left;
        }
    }

    /** Names the closed window. */
    private static final class Close implements WindowFunction<Stats, FlinkResult, MeterKey, TimeWindow> {
        private static final long serialVersionUID = 1L;
        private transient FlinkResult result;

        @Override
        public void apply(MeterKey key, TimeWindow window, Iterable<Stats> stats, Collector<FlinkResult> out) {
            if (result == null) {
                result = new FlinkResult();
            }
            result.key = key;
            result.start = window.getStart();
            result.stats = stats.iterator().next();
            out.collect(result);
        }
    }
}
