package io.meterpipe.bench;

import java.lang.reflect.Type;
import java.util.Map;
import org.apache.flink.api.common.typeinfo.TypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInfoFactory;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** A reading as Flink passes it on. Objects are used again: no operator keeps one. */
@TypeInfo(FlinkReading.Factory.class)
public final class FlinkReading {
    public MeterKey key;
    public long timestamp;
    public double value;

    public FlinkReading() {}

    /** The plain object's type, with the key's own one in it. */
    public static final class Factory extends TypeInfoFactory<FlinkReading> {
        @Override
        public TypeInformation<FlinkReading> createTypeInfo(
            Type type, Map<String, TypeInformation<?>> genericParameters) {
            return Types.POJO(
                FlinkReading.class,
                Map.of("key", new MeterKey.Type(), "timestamp", Types.LONG, "value", Types.DOUBLE));
        }
    }

    /** Reads the JSON into one object. */
    static final class Decoder implements KafkaRecordDeserializationSchema<FlinkReading> {
        private static final long serialVersionUID = 1L;
        private transient ReadingParser parser;
        private transient MeterKey.Dictionary keys;
        private transient FlinkReading reading;

        @Override
        public void open(org.apache.flink.api.common.serialization.DeserializationSchema.InitializationContext context) {
            parser = new ReadingParser();
            keys = new MeterKey.Dictionary();
            reading = new FlinkReading();
        }

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> message, Collector<FlinkReading> out) {
            Clock.current().reading();
            byte[] json = message.value();
            parser.parse(json);
            reading.key = keys.get(json, parser);
            reading.timestamp = parser.timestamp;
            reading.value = parser.value;
            out.collect(reading);
        }

        @Override
        public TypeInformation<FlinkReading> getProducedType() {
            return TypeInformation.of(FlinkReading.class);
        }
    }
}
