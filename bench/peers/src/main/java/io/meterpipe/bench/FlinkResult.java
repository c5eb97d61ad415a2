package io.meterpipe.bench;

import java.lang.reflect.Type;
import java.util.Map;
import org.apache.flink.api.common.typeinfo.TypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInfoFactory;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.kafka.clients.producer.ProducerRecord;

/** A closed window of Flink: the result that is written and the input of the next larger window. */
@TypeInfo(FlinkResult.Factory.class)
public final class FlinkResult {
    public MeterKey key;
    /** Beginning of the window in epoch milliseconds. */
    public long start;
    public Stats stats;

    public FlinkResult() {}

    /** The plain object's type, with the key's own one in it. */
    public static final class Factory extends TypeInfoFactory<FlinkResult> {
        @Override
        public TypeInformation<FlinkResult> createTypeInfo(
            Type type, Map<String, TypeInformation<?>> genericParameters) {
            return Types.POJO(
                FlinkResult.class,
                Map.of("key", new MeterKey.Type(), "start", Types.LONG, "stats", Types.POJO(Stats.class)));
        }
    }

    /** Writes the JSON of the results of one level, a place in {@link Settings#WINDOWS}. */
    static final class Encoder implements KafkaRecordSerializationSchema<FlinkResult> {
        private static final long serialVersionUID = 1L;
        private final String topic;
        private final int level;
        private transient ResultJson json;

        Encoder(String topic, int level) {
            this.topic = topic;
            this.level = level;
        }

        @Override
        public ProducerRecord<byte[], byte[]> serialize(FlinkResult result, KafkaSinkContext context, Long timestamp) {
            if (json == null) {
                json = new ResultJson();
            }
            MeterKey key = result.key;
            Clock.current().result(key.gateway, level);
            byte[] text = json.write(
                key.gateway, key.type, key.attribute, Settings.WINDOWS[level], result.start, result.stats);
            return new ProducerRecord<>(topic, null, timestamp, key.gateway, text);
        }
    }
}
