package io.meterpipe.bench;

import java.util.Arrays;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.streams.processor.TimestampExtractor;

/** A reading as Kafka Streams passes it on; its gateway is the key of the message. */
record StreamsReading(byte[] label, long timestamp, double value) {

    /** Event time is a field of the reading. */
    static final class EventTime implements TimestampExtractor {
        @Override
        public long extract(ConsumerRecord<Object, Object> message, long partitionTime) {
            return ((StreamsReading) message.value()).timestamp();
        }
    }

    /** Reads the JSON. All threads share it, so each has its own parser and its own short list of known labels. */
    static final class Decoder implements Deserializer<StreamsReading> {
        private static final class Local {
            final ReadingParser parser = new ReadingParser();
            byte[][] labels = new byte[0][];
        }

        private final ThreadLocal<Local> locals = ThreadLocal.withInitial(Local::new);

        @Override
        public StreamsReading deserialize(String topic, byte[] json) {
            Clock.current().reading();
            Local local = locals.get();
            ReadingParser parser = local.parser;
            parser.parse(json);
            return new StreamsReading(label(local, json), parser.timestamp, parser.value);
        }

        private static byte[] label(Local local, byte[] json) {
            ReadingParser.Text type = local.parser.metricType;
            ReadingParser.Text attribute = local.parser.metricAttribute;
            for (byte[] label : local.labels) {
                if (label.length == type.length + 1 + attribute.length
                    && Arrays.equals(label, 0, type.length, json, type.from, type.from + type.length)
                    && Arrays.equals(label, type.length + 1, label.length, json, attribute.from,
                        attribute.from + attribute.length)) {
                    return label;
                }
            }
            byte[] label = new byte[type.length + 1 + attribute.length];
            System.arraycopy(json, type.from, label, 0, type.length);
            System.arraycopy(json, attribute.from, label, type.length + 1, attribute.length);
            local.labels = Arrays.copyOf(local.labels, local.labels.length + 1);
            local.labels[local.labels.length - 1] = label;
            return label;
        }
    }
}
