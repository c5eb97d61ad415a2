package io.meterpipe.bench;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;

/** A result of Kafka Streams on its way to the topic of its level, a place in {@link Settings#WINDOWS}. */
record StreamsResults(int level, byte[] json) {

    /** Turns the state of a gateway's closed window into results, one a metric, and forwards them. */
    static final class Writer {
        private final ProcessorContext<Bytes, StreamsResults> context;
        private final ResultJson json = new ResultJson();
        private final Stats stats = new Stats();
        private final Map<Bytes, byte[][]> names = new HashMap<>();

        Writer(ProcessorContext<Bytes, StreamsResults> context) {
            this.context = context;
        }

        void forward(Bytes gateway, int level, long start, byte[] state, int from) {
            int seconds = Settings.WINDOWS[level];
            long end = start + seconds * 1000L - 1;
            for (int entry = from; entry < state.length; entry = GatewayStats.next(state, entry)) {
                int labelEnd = entry + 1 + (state[entry] & 255);
                byte[][] name = name(state, entry + 1, labelEnd);
                stats.read(state, labelEnd);
                byte[] text = json.write(gateway.get(), name[0], name[1], seconds, start, stats);
                context.forward(new Record<>(gateway, new StreamsResults(level, text), end));
                Clock.current().result(gateway.get(), level);
            }
        }

        private byte[][] name(byte[] state, int from, int to) {
            byte[] label = Arrays.copyOfRange(state, from, to);
            return names.computeIfAbsent(Bytes.wrap(label), key -> {
                int zero = 0;
                while (label[zero] != 0) {
                    zero++;
                }
                return new byte[][] {Arrays.copyOf(label, zero), Arrays.copyOfRange(label, zero + 1, label.length)};
            });
        }
    }
}
