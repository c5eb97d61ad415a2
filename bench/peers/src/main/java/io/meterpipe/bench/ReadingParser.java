package io.meterpipe.bench;

import java.nio.charset.StandardCharsets;

/**
 * Parses one reading, a flat JSON object, without creating objects: texts are left in place as positions in the bytes.
 *
 * <p>Fields may come in any order and unknown ones are skipped. Texts hold no escapes (identifiers of meters never do).
 * One parser belongs to one thread; the positions are valid until the next call of {@link #parse}.
 */
final class ReadingParser {
    /** Position and length of a text in the bytes last parsed. */
    static final class Text {
        int from;
        int length;
    }

    final Text gateway = new Text();
    final Text metricType = new Text();
    final Text metricAttribute = new Text();
    private final Text other = new Text();
    /** Event time in epoch milliseconds. */
    long timestamp;
    double value;

    /** Powers of ten that a double holds exactly: a mantissa below 2^53 divided by one of them is correctly rounded. */
    private static final double[] POWERS = {
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
        1e20, 1e21, 1e22
    };
    private static final long EXACT = 1L << 53;

    private byte[] bytes;
    private int at;

    void parse(byte[] json) {
        bytes = json;
        at = 0;
        int seen = 0;
        expect('{');
        do {
            skipBlanks();
            expect('"');
            int from = at;
            int length = textEnd() - from;
            skipBlanks();
            expect(':');
            skipBlanks();
            switch (length) {
                case 5 -> { // value
                    if (json[from] == 'v') {
                        value = number();
                        seen |= 1;
                    } else {
                        skipValue();
                    }
                }
                case 7 -> { // gateway
                    if (json[from] == 'g') {
                        text(gateway);
                        seen |= 2;
                    } else {
                        skipValue();
                    }
                }
                case 9 -> { // timestamp
                    if (json[from] == 't') {
                        timestamp = (long) number();
                        seen |= 4;
                    } else {
                        skipValue();
                    }
                }
                case 10 -> { // metricType
                    if (json[from] == 'm') {
                        text(metricType);
                        seen |= 8;
                    } else {
                        skipValue();
                    }
                }
                case 15 -> { // metricAttribute
                    if (json[from] == 'm') {
                        text(metricAttribute);
                        seen |= 16;
                    } else {
                        skipValue();
                    }
                }
                default -> skipValue();
            }
            skipBlanks();
        } while (json[at++] == ',');
        if (json[at - 1] != '}' || seen != 31) {
            throw new IllegalArgumentException("not a reading: " + new String(json, StandardCharsets.UTF_8));
        }
    }

    private void expect(char wanted) {
        if (bytes[at++] != wanted) {
            throw new IllegalArgumentException(
                "expected '" + wanted + "' at byte " + (at - 1) + " of " + new String(bytes, StandardCharsets.UTF_8));
        }
    }

    private void skipBlanks() {
        while (bytes[at] <= ' ') {
            at++;
        }
    }

    /** Moves behind the closing quote and gives the position of that quote. */
    private int textEnd() {
        byte[] json = bytes;
        int position = at;
        while (json[position] != '"') {
            position++;
        }
        at = position + 1;
        return position;
    }

    private void text(Text into) {
        expect('"');
        into.from = at;
        into.length = textEnd() - into.from;
    }

    private void skipValue() {
        if (bytes[at] == '"') {
            text(other);
        } else {
            while (bytes[at] != ',' && bytes[at] != '}') {
                at++;
            }
        }
    }

    private double number() {
        byte[] json = bytes;
        int from = at;
        int position = from;
        boolean negative = json[position] == '-';
        if (negative) {
            position++;
        }
        long mantissa = 0;
        int decimals = 0;
        int point = 0;
        byte c = json[position];
        while (true) {
            if (c >= '0' && c <= '9') {
                mantissa = mantissa * 10 + (c - '0');
                decimals += point;
            } else if (c == '.') {
                point = 1;
            } else {
                break;
            }
            c = json[++position];
        }
        boolean exponent = c == 'e' || c == 'E';
        if (!exponent && mantissa < EXACT && position - from <= 18) {
            at = position;
            double magnitude = mantissa / POWERS[decimals];
            return negative ? -magnitude : magnitude;
        }
        while (c != ',' && c != '}' && c > ' ') {
            c = json[++position];
        }
        at = position;
        return Double.parseDouble(new String(json, from, position - from, StandardCharsets.ISO_8859_1));
    }
}
