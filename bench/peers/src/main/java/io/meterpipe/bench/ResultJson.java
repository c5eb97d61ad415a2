package io.meterpipe.bench;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Writes one result, the aggregates of one meter's window, as JSON bytes. One writer belongs to one thread. */
final class ResultJson {
    private static final byte[] GATEWAY = ascii("{\"gateway\":\"");
    private static final byte[] TYPE = ascii("\",\"metricType\":\"");
    private static final byte[] ATTRIBUTE = ascii("\",\"metricAttribute\":\"");
    private static final byte[] WINDOW = ascii("\",\"window\":");
    private static final byte[] START = ascii(",\"start\":");
    private static final byte[] COUNT = ascii(",\"count\":");
    private static final byte[] MIN = ascii(",\"min\":");
    private static final byte[] MAX = ascii(",\"max\":");
    private static final byte[] SUM = ascii(",\"sum\":");
    private static final byte[] FIRST = ascii(",\"first\":");
    private static final byte[] LAST = ascii(",\"last\":");

    private byte[] buffer = new byte[512];
    private int length;

    /** Gives the JSON of a result; {@code seconds} is the window's size and {@code start} its beginning in epoch ms. */
    byte[] write(byte[] gateway, byte[] type, byte[] attribute, int seconds, long start, Stats stats) {
        int room = 512 + gateway.length + type.length + attribute.length;
        if (buffer.length < room) {
            buffer = new byte[room];
        }
        length = 0;
        put(GATEWAY);
        put(gateway);
        put(TYPE);
        put(type);
        put(ATTRIBUTE);
        put(attribute);
        put(WINDOW);
        put(seconds);
        put(START);
        put(start);
        put(COUNT);
        put(stats.count);
        put(MIN);
        put(stats.min);
        put(MAX);
        put(stats.max);
        put(SUM);
        put(stats.sum);
        put(FIRST);
        put(stats.first);
        put(LAST);
        put(stats.last);
        buffer[length++] = '}';
        return Arrays.copyOf(buffer, length);
    }

    static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }

    private void put(byte[] bytes) {
        System.arraycopy(bytes, 0, buffer, length, bytes.length);
        length += bytes.length;
    }

    private void put(long number) {
        if (number < 0) {
            buffer[length++] = '-';
            number = -number;
        }
        int digits = digits(number);
        for (int position = length + digits - 1; position >= length; position--) {
            long rest = number / 10;
            buffer[position] = (byte) ('0' + (number - rest * 10));
            number = rest;
        }
        length += digits;
    }

    /**
     * Writes a decimal that reads back as the same double. Numbers with few decimals, as meters send them, avoid the
     * slow general conversion: an integer below 2^53 divided by 10^3 or 10^10 is correctly rounded, so the text is right
     * when that division gives the number again.
     */
    private void put(double number) {
        double magnitude = Math.abs(number);
        long thousandths = Math.round(magnitude * 1e3);
        if (magnitude < 1e12 && thousandths / 1e3 == magnitude) {
            decimal(number < 0, thousandths, 1_000L);
            return;
        }
        long tiny = Math.round(magnitude * 1e10);
        if (magnitude < 9e5 && tiny / 1e10 == magnitude) {
            decimal(number < 0, tiny, 10_000_000_000L);
            return;
        }
        put(ascii(Double.toString(number)));
    }

    private void decimal(boolean negative, long scaled, long scale) {
        if (negative) {
            buffer[length++] = '-';
        }
        long whole = scaled / scale;
        put(whole);
        long rest = scaled - whole * scale;
        buffer[length++] = '.';
        do {
            scale /= 10;
            long digit = rest / scale;
            buffer[length++] = (byte) ('0' + digit);
            rest -= digit * scale;
        } while (rest != 0);
    }

    private static int digits(long number) {
        int digits = 1;
        long bound = 10;
        while (digits < 19 && number >= bound) {
            digits++;
            bound *= 10;
        }
        return digits;
    }
}
