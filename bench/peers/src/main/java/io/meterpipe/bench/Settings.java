package io.meterpipe.bench;

import java.util.LinkedHashMap;
import java.util.Map;

/** What a run is told on the command line, as pairs {@code --name value}. */
record Settings(
    String bootstrap,
    String warmupTopic,
    String inputTopic,
    String outputPrefix,
    long readings,
    int partitions,
    int threads,
    String variant,
    String compression,
    String directory,
    long timeoutSeconds) {

    /** Sizes of the windows in seconds, each a multiple of the one before. */
    static final int[] WINDOWS = {60, 600, 3600, 86400};

    /** How long a window waits for late readings, in milliseconds. */
    static final long GRACE = 300_000;

    static Settings parse(String[] arguments) {
        Map<String, String> given = new LinkedHashMap<>();
        for (int i = 0; i + 1 < arguments.length; i += 2) {
            given.put(arguments[i].replaceFirst("^--", ""), arguments[i + 1]);
        }
        return new Settings(
            need(given, "bootstrap"),
            need(given, "warmup-topic"),
            need(given, "input-topic"),
            need(given, "output-prefix"),
            Long.parseLong(need(given, "readings")),
            Integer.parseInt(need(given, "partitions")),
            Integer.parseInt(need(given, "threads")),
            need(given, "variant"),
            need(given, "compression"),
            need(given, "directory"),
            Long.parseLong(need(given, "timeout-seconds")));
    }

    private static String need(Map<String, String> given, String name) {
        String value = given.get(name);
        if (value == null) {
            throw new IllegalArgumentException("missing --" + name + "; run.py shows the way it is called");
        }
        return value;
    }
}
