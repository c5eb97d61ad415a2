package io.meterpipe.bench;

import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.AppInfoParser;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.Stores;

/**
 * Kafka Streams, exactly once, windows in memory with changelogs.
 *
 * <p>Variant {@code independent}: four windowed aggregations of the source, each emitting on window close. Variant
 * {@code cascade}: the smallest does, and the larger windows are built from its final results.
 */
public final class KafkaStreamsPeer {
    /**
     * How much longer than size + grace a window store keeps its windows. A window that a jump of event time carries
     * behind the retention is dropped from the store before it is emitted, so the slack bounds that jump.
     */
    private static final long SLACK = 3_600_000;

    private KafkaStreamsPeer() {}

    public static void main(String[] arguments) throws Exception {
        Settings settings = Settings.parse(arguments);
        run(settings, settings.warmupTopic(), settings.outputPrefix() + "-warmup");
        String report = run(settings, settings.inputTopic(), settings.outputPrefix());
        System.out.println(report);
    }

    private static String run(Settings settings, String input, String output) throws Exception {
        Clock clock = Clock.begin(settings.partitions());
        Properties properties = properties(settings, output);
        try (KafkaStreams streams = new KafkaStreams(topology(settings, input, output), properties)) {
            streams.setUncaughtExceptionHandler(failure -> {
                failure.printStackTrace();
                Runtime.getRuntime().halt(1);
                return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
            });
            streams.start();
            clock.awaitEnd(settings.timeoutSeconds());
            streams.close(Duration.ofSeconds(60)); // commits
        }
        return clock.report("kafka-streams", AppInfoParser.getVersion(), settings, details(settings));
    }

    private static Properties properties(Settings settings, String output) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, output + "-streams");
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, settings.bootstrap());
        properties.put(StreamsConfig.STATE_DIR_CONFIG, settings.directory());
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, settings.threads());
        properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        // Changelogs carry event time, and Kafka deletes by it: a replay of old readings must find its state again.
        properties.put(
            StreamsConfig.WINDOW_STORE_CHANGE_LOG_ADDITIONAL_RETENTION_MS_CONFIG, Duration.ofDays(36_500).toMillis());
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 256L << 20);
        properties.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
        // Windows go out as soon as event time closes them: catching up, a second of wall time is many minutes of theirs.
        properties.put(StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_WINDOWED_AGGREGATION, 0L);
        properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
        properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.FETCH_MIN_BYTES_CONFIG), 256 << 10);
        properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG), 100);
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 100);
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 << 10);
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 128L << 20);
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), settings.compression());
        return properties;
    }

    private static Map<String, String> details(Settings settings) {
        Map<String, String> details = new LinkedHashMap<>();
        details.put("variant", settings.variant());
        details.put("lateness", settings.variant().equals("cascade") ? "smallest" : "perWindow");
        details.put("threads", Integer.toString(settings.threads()));
        details.put("state", "in-memory stores with changelog");
        details.put("emit", "EmitStrategy.onWindowClose, emit interval 0");
        details.put("commit", "exactly_once_v2, 1 s");
        details.put("compression", settings.compression());
        details.put("java", System.getProperty("java.version"));
        return details;
    }

    private static Topology topology(Settings settings, String input, String output) {
        StreamsBuilder builder = new StreamsBuilder();
        Serde<StreamsReading> readings = Serdes.serdeFrom(
            (topic, reading) -> {
                throw new UnsupportedOperationException("readings are only read");
            },
            new StreamsReading.Decoder());
        KStream<Bytes, StreamsReading> source = builder.stream(
            input,
            Consumed.with(Serdes.Bytes(), readings)
                .withTimestampExtractor(new StreamsReading.EventTime())
                .withOffsetResetPolicy(org.apache.kafka.streams.AutoOffsetReset.earliest()));
        switch (settings.variant()) {
            case "independent" -> {
                for (int level = 0; level < Settings.WINDOWS.length; level++) {
                    int thisLevel = level;
                    write(windows(source, readings, level).toStream().process(() -> new Emit(thisLevel)), output);
                }
            }
            case "cascade" -> {
                String[] stores = {"open-600", "open-3600", "open-86400"};
                for (String store : stores) {
                    builder.addStateStore(
                        Stores.keyValueStoreBuilder(
                                Stores.inMemoryKeyValueStore(store), Serdes.Bytes(), Serdes.ByteArray())
                            .withLoggingEnabled(Map.of())
                            .withCachingEnabled());
                }
                write(windows(source, readings, 0).toStream().process(() -> new StreamsRollUp(stores), stores), output);
            }
            default -> throw new IllegalArgumentException(
                "variant " + settings.variant() + " is neither independent nor cascade");
        }
        return builder.build();
    }

    private static KTable<Windowed<Bytes>, byte[]> windows(
        KStream<Bytes, StreamsReading> source, Serde<StreamsReading> readings, int level) {
        Duration size = Duration.ofSeconds(Settings.WINDOWS[level]);
        Duration retention = size.plusMillis(Settings.GRACE + SLACK);
        return source
            .groupByKey(Grouped.with(Serdes.Bytes(), readings))
            .windowedBy(TimeWindows.ofSizeAndGrace(size, Duration.ofMillis(Settings.GRACE)))
            .emitStrategy(EmitStrategy.onWindowClose())
            .aggregate(
                () -> GatewayStats.EMPTY,
                (gateway, reading, state) ->
                    GatewayStats.add(state, reading.label(), reading.value(), reading.timestamp()),
                Materialized.<Bytes, byte[]>as(
                        Stores.inMemoryWindowStore("windows-" + Settings.WINDOWS[level], retention, size, false))
                    .withKeySerde(Serdes.Bytes())
                    .withValueSerde(Serdes.ByteArray())
                    .withCachingDisabled());
    }

    private static void write(KStream<Bytes, StreamsResults> results, String output) {
        String[] topics = new String[Settings.WINDOWS.length];
        for (int level = 0; level < topics.length; level++) {
            topics[level] = output + "-" + Settings.WINDOWS[level];
        }
        Serde<StreamsResults> values = Serdes.serdeFrom(
            (topic, result) -> result.json(),
            (topic, bytes) -> {
                throw new UnsupportedOperationException("results are only written");
            });
        results.to((gateway, result, context) -> topics[result.level()], Produced.with(Serdes.Bytes(), values));
    }

    /** Writes the closed windows of one level. */
    private static final class Emit extends ContextualProcessor<Windowed<Bytes>, byte[], Bytes, StreamsResults> {
        private final int level;
        private StreamsResults.Writer writer;

        Emit(int level) {
            this.level = level;
        }

        @Override
        public void init(org.apache.kafka.streams.processor.api.ProcessorContext<Bytes, StreamsResults> context) {
            super.init(context);
            writer = new StreamsResults.Writer(context);
        }

        @Override
        public void process(Record<Windowed<Bytes>, byte[]> closed) {
            writer.forward(closed.key().key(), level, closed.key().window().start(), closed.value(), 0);
        }
    }
}
