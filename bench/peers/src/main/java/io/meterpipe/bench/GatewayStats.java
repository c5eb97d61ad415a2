package io.meterpipe.bench;

import java.util.Arrays;

/**
 * Aggregates of one gateway's window in bytes: for each of its metrics a length, a label and {@link Stats#BYTES} bytes.
 *
 * <p>Kafka Streams can group by the message key, the gateway, without a second trip through Kafka, but not by a part of
 * the value. So its states hold the few metrics of a gateway together, and each becomes a result of its own at the end.
 * A label is the metric's type and attribute with a zero byte between them.
 */
final class GatewayStats {
    static final byte[] EMPTY = new byte[0];

    private GatewayStats() {}

    /** Adds a reading. Changes {@code state} in place when the metric is there: stores hand out copies. */
    static byte[] add(byte[] state, byte[] label, double value, long timestamp) {
        int at = find(state, 0, label, 0, label.length);
        Stats stats = new Stats();
        if (at >= 0) {
            stats.read(state, at);
            stats.add(value, timestamp);
            stats.write(state, at);
            return state;
        }
        byte[] grown = grow(state, label, 0, label.length);
        stats.add(value, timestamp);
        stats.write(grown, grown.length - Stats.BYTES);
        return grown;
    }

    /** Adds all metrics of {@code part} to those in {@code state} behind its first {@code from} bytes. */
    static byte[] merge(byte[] state, int from, byte[] part, int partFrom) {
        Stats whole = new Stats();
        Stats piece = new Stats();
        for (int entry = partFrom; entry < part.length; entry = next(part, entry)) {
            int length = part[entry] & 255;
            piece.read(part, entry + 1 + length);
            int at = find(state, from, part, entry + 1, length);
            if (at >= 0) {
                whole.read(state, at);
                whole.add(piece);
                whole.write(state, at);
            } else {
                state = grow(state, part, entry + 1, length);
                piece.write(state, state.length - Stats.BYTES);
            }
        }
        return state;
    }

    /** Position of the entry behind the one at {@code entry}. */
    static int next(byte[] state, int entry) {
        return entry + 1 + (state[entry] & 255) + Stats.BYTES;
    }

    private static int find(byte[] state, int from, byte[] label, int labelFrom, int length) {
        for (int entry = from; entry < state.length; entry = next(state, entry)) {
            int start = entry + 1;
            int end = start + (state[entry] & 255);
            if (Arrays.equals(state, start, end, label, labelFrom, labelFrom + length)) {
                return end;
            }
        }
        return -1;
    }

    private static byte[] grow(byte[] state, byte[] label, int labelFrom, int length) {
        byte[] grown = Arrays.copyOf(state, state.length + 1 + length + Stats.BYTES);
        grown[state.length] = (byte) length;
        System.arraycopy(label, labelFrom, grown, state.length + 1, length);
        return grown;
    }
}
