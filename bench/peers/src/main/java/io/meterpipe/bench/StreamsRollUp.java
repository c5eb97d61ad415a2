package io.meterpipe.bench;

import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Builds the larger windows from the final results of the smallest: each level from the closed windows of the one below.
 *
 * <p>Closed windows arrive in the order of their starts, so nothing is ever late here, and a gateway has one open window
 * a level: a store of a level maps the gateway to the start of that window (8 bytes) and its state.
 */
final class StreamsRollUp implements Processor<Windowed<Bytes>, byte[], Bytes, StreamsResults> {
    private final String[] storeNames;
    private final List<KeyValueStore<Bytes, byte[]>> stores = new ArrayList<>();
    private StreamsResults.Writer writer;
    private long eventTime = -1;

    /** {@code storeNames} has one store for each level above the smallest. */
    StreamsRollUp(String[] storeNames) {
        this.storeNames = storeNames;
    }

    @Override
    public void init(ProcessorContext<Bytes, StreamsResults> context) {
        writer = new StreamsResults.Writer(context);
        for (String name : storeNames) {
            stores.add(context.getStateStore(name));
        }
    }

    @Override
    public void process(Record<Windowed<Bytes>, byte[]> closed) {
        long start = closed.key().window().start();
        Bytes gateway = closed.key().key();
        if (start > eventTime) {
            advance(start);
        }
        writer.forward(gateway, 0, start, closed.value(), 0);
        add(1, gateway, start, closed.value(), 0);
    }

    /** Closes, smallest first, the windows that end at or before {@code now}. */
    private void advance(long now) {
        long before = eventTime;
        eventTime = now;
        for (int level = 1; level < Settings.WINDOWS.length; level++) {
            long size = Settings.WINDOWS[level] * 1000L;
            if (before < 0 || now / size != before / size) {
                close(level, now - size);
            }
        }
    }

    private void close(int level, long lastStart) {
        KeyValueStore<Bytes, byte[]> store = stores.get(level - 1);
        List<KeyValue<Bytes, byte[]>> ended = new ArrayList<>();
        try (KeyValueIterator<Bytes, byte[]> all = store.all()) {
            while (all.hasNext()) {
                KeyValue<Bytes, byte[]> open = all.next();
                if (Stats.readLong(open.value, 0) <= lastStart) {
                    ended.add(open);
                }
            }
        }
        for (KeyValue<Bytes, byte[]> window : ended) {
            long start = Stats.readLong(window.value, 0);
            writer.forward(window.key, level, start, window.value, 8);
            if (level + 1 < Settings.WINDOWS.length) {
                add(level + 1, window.key, start, window.value, 8);
            }
            store.delete(window.key);
        }
    }

    private void add(int level, Bytes gateway, long start, byte[] state, int from) {
        KeyValueStore<Bytes, byte[]> store = stores.get(level - 1);
        byte[] open = store.get(gateway);
        if (open == null) {
            open = new byte[8];
            Stats.writeLong(open, 0, start - start % (Settings.WINDOWS[level] * 1000L));
        } else {
            open = open.clone();
        }
        store.put(gateway, GatewayStats.merge(open, 8, state, from));
    }
}
