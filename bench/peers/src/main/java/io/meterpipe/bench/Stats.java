package io.meterpipe.bench;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/** Aggregates of one meter's window. Public fields and a bare constructor, so that Flink sees a plain object. */
public final class Stats {
    /** Bytes of the fixed-width form. */
    static final int BYTES = 64;

    private static final VarHandle LONGS = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle DOUBLES =
        MethodHandles.byteArrayViewVarHandle(double[].class, ByteOrder.LITTLE_ENDIAN);

    public long count;
    public double min = Double.POSITIVE_INFINITY;
    public double max = Double.NEGATIVE_INFINITY;
    public double sum;
    public double first;
    public double last;
    public long firstAt = Long.MAX_VALUE;
    public long lastAt = Long.MIN_VALUE;

    public Stats() {}

    void clear() {
        count = 0;
        min = Double.POSITIVE_INFINITY;
        max = Double.NEGATIVE_INFINITY;
        sum = 0;
        firstAt = Long.MAX_VALUE;
        lastAt = Long.MIN_VALUE;
    }

    void add(double value, long timestamp) {
        count++;
        sum += value;
        if (value < min) {
            min = value;
        }
        if (value > max) {
            max = value;
        }
        if (timestamp < firstAt) {
            firstAt = timestamp;
            first = value;
        }
        if (timestamp >= lastAt) {
            lastAt = timestamp;
            last = value;
        }
    }

    void add(Stats part) {
        count += part.count;
        sum += part.sum;
        min = Math.min(min, part.min);
        max = Math.max(max, part.max);
        if (part.firstAt < firstAt) {
            firstAt = part.firstAt;
            first = part.first;
        }
        if (part.lastAt >= lastAt) {
            lastAt = part.lastAt;
            last = part.last;
        }
    }

    void read(byte[] bytes, int from) {
        count = (long) LONGS.get(bytes, from);
        min = (double) DOUBLES.get(bytes, from + 8);
        max = (double) DOUBLES.get(bytes, from + 16);
        sum = (double) DOUBLES.get(bytes, from + 24);
        first = (double) DOUBLES.get(bytes, from + 32);
        last = (double) DOUBLES.get(bytes, from + 40);
        firstAt = (long) LONGS.get(bytes, from + 48);
        lastAt = (long) LONGS.get(bytes, from + 56);
    }

    void write(byte[] bytes, int from) {
        LONGS.set(bytes, from, count);
        DOUBLES.set(bytes, from + 8, min);
        DOUBLES.set(bytes, from + 16, max);
        DOUBLES.set(bytes, from + 24, sum);
        DOUBLES.set(bytes, from + 32, first);
        DOUBLES.set(bytes, from + 40, last);
        LONGS.set(bytes, from + 48, firstAt);
        LONGS.set(bytes, from + 56, lastAt);
    }

    static long readLong(byte[] bytes, int from) {
        return (long) LONGS.get(bytes, from);
    }

    static void writeLong(byte[] bytes, int from, long number) {
        LONGS.set(bytes, from, number);
    }
}
