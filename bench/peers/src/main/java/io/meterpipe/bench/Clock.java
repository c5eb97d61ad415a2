package io.meterpipe.bench;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;

/**
 * Times one run, from its first reading to its last window, and counts the results.
 *
 * <p>The input ends with readings of the gateways {@code ~flush-<partition>}, which move event time on until the last
 * day is closed. The day's window of such a gateway is the last result of its partition. Their results are not counted.
 */
final class Clock {
    private static final OperatingSystemMXBean SYSTEM =
        (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    private static volatile Clock current;

    private final LongAdder results = new LongAdder();
    private final Set<String> flushed = ConcurrentHashMap.newKeySet();
    private final CountDownLatch ended;
    private volatile boolean started;
    private long cpuAtStart;
    private long startedAt;
    private volatile long endedAt;

    private Clock(int partitions) {
        ended = new CountDownLatch(partitions);
    }

    /** Makes a clock that all operators of this process report to. */
    static Clock begin(int partitions) {
        current = new Clock(partitions);
        return current;
    }

    static Clock current() {
        return current;
    }

    /** Tells that a reading has arrived. */
    void reading() {
        if (!started) {
            start();
        }
    }

    /** Tells that a result goes out; {@code level} is its place in {@link Settings#WINDOWS}. */
    void result(byte[] gateway, int level) {
        if (gateway[0] != '~') {
            results.increment();
        } else if (level == Settings.WINDOWS.length - 1 && flushed.add(new String(gateway))) {
            endedAt = System.nanoTime();
            ended.countDown();
        }
    }

    /** Waits until the last window of each partition has gone out. */
    void awaitEnd(long seconds) throws InterruptedException {
        if (!ended.await(seconds, TimeUnit.SECONDS)) {
            throw new IllegalStateException(
                "after " + seconds + " s only " + flushed.size() + " partitions were complete, with " + results
                    + " results: does the topic end with its flush readings?");
        }
    }

    /** One JSON line with the figures; call it once the results are committed. */
    String report(String system, String version, Settings settings, Map<String, String> details) {
        double cpu = (SYSTEM.getProcessCpuTime() - cpuAtStart) / 1e9;
        double wall = (endedAt - startedAt) / 1e9;
        StringBuilder texts = new StringBuilder();
        details.forEach((name, value) -> texts.append(texts.isEmpty() ? "" : ",").append('"').append(name)
            .append("\":\"").append(value).append('"'));
        return "{\"system\":\"" + system + "\",\"version\":\"" + version + "\",\"guarantee\":\"exactly once\""
            + ",\"readings\":" + settings.readings() + ",\"cpu_seconds\":" + cpu + ",\"wall_seconds\":" + wall
            + ",\"results\":" + results.sum() + ",\"readings_per_cpu_second\":" + settings.readings() / cpu
            + ",\"settings\":{" + texts + "}}";
    }

    private synchronized void start() {
        if (!started) {
            cpuAtStart = SYSTEM.getProcessCpuTime();
            startedAt = System.nanoTime();
            started = true;
        }
    }
}
