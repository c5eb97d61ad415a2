package io.meterpipe.bench;

import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** One metric of one gateway: the key of Flink's windows. Immutable, and it knows its hash. */
public final class MeterKey {
    final byte[] gateway;
    final byte[] type;
    final byte[] attribute;
    private final int hash;

    MeterKey(byte[] gateway, byte[] type, byte[] attribute) {
        this.gateway = gateway;
        this.type = type;
        this.attribute = attribute;
        this.hash = hash(gateway, 0, gateway.length) * 31 * 31 + hash(type, 0, type.length) * 31
            + hash(attribute, 0, attribute.length);
    }

    private static int hash(byte[] bytes, int from, int to) {
        int hash = 1;
        for (int i = from; i < to; i++) {
            hash = 31 * hash + bytes[i];
        }
        return hash;
    }

    @Override
    public int hashCode() {
        return hash;
    }

    @Override
    public boolean equals(Object object) {
        return this == object
            || object instanceof MeterKey other
                && hash == other.hash
                && Arrays.equals(gateway, other.gateway)
                && Arrays.equals(type, other.type)
                && Arrays.equals(attribute, other.attribute);
    }

    /** Gives one object for each key, found by the bytes of a parsed reading without making any. For one thread. */
    static final class Dictionary {
        private MeterKey[] slots = new MeterKey[1 << 12];
        private int size;

        MeterKey get(byte[] json, ReadingParser reading) {
            ReadingParser.Text gateway = reading.gateway;
            ReadingParser.Text type = reading.metricType;
            ReadingParser.Text attribute = reading.metricAttribute;
            int hash = hash(json, gateway.from, gateway.from + gateway.length) * 31 * 31
                + hash(json, type.from, type.from + type.length) * 31
                + hash(json, attribute.from, attribute.from + attribute.length);
            int slot = slot(hash);
            while (slots[slot] != null) {
                MeterKey key = slots[slot];
                if (key.hash == hash && same(key.gateway, json, gateway) && same(key.type, json, type)
                    && same(key.attribute, json, attribute)) {
                    return key;
                }
                slot = slot + 1 & slots.length - 1;
            }
            MeterKey key = new MeterKey(copy(json, gateway), copy(json, type), copy(json, attribute));
            slots[slot] = key;
            if (++size * 2 > slots.length) {
                grow();
            }
            return key;
        }

        private int slot(int hash) {
            return (hash ^ hash >>> 15) & slots.length - 1;
        }

        private void grow() {
            MeterKey[] before = slots;
            slots = new MeterKey[before.length * 2];
            for (MeterKey key : before) {
                if (key != null) {
                    int slot = slot(key.hash);
                    while (slots[slot] != null) {
                        slot = slot + 1 & slots.length - 1;
                    }
                    slots[slot] = key;
                }
            }
        }

        private static boolean same(byte[] known, byte[] json, ReadingParser.Text text) {
            return Arrays.equals(known, 0, known.length, json, text.from, text.from + text.length);
        }

        private static byte[] copy(byte[] json, ReadingParser.Text text) {
            return Arrays.copyOfRange(json, text.from, text.from + text.length);
        }
    }

    /** Writes a key into checkpoints and between tasks; copies are the key itself. */
    public static final class Serializer extends TypeSerializerSingleton<MeterKey> {
        private static final long serialVersionUID = 1L;
        static final Serializer INSTANCE = new Serializer();

        @Override
        public boolean isImmutableType() {
            return true;
        }

        @Override
        public MeterKey createInstance() {
            return new MeterKey(new byte[0], new byte[0], new byte[0]);
        }

        @Override
        public MeterKey copy(MeterKey from) {
            return from;
        }

        @Override
        public MeterKey copy(MeterKey from, MeterKey reuse) {
            return from;
        }

        @Override
        public int getLength() {
            return -1;
        }

        @Override
        public void serialize(MeterKey key, DataOutputView target) throws IOException {
            write(key.gateway, target);
            write(key.type, target);
            write(key.attribute, target);
        }

        @Override
        public MeterKey deserialize(DataInputView source) throws IOException {
            return new MeterKey(read(source), read(source), read(source));
        }

        @Override
        public MeterKey deserialize(MeterKey reuse, DataInputView source) throws IOException {
            return deserialize(source);
        }

        @Override
        public void copy(DataInputView source, DataOutputView target) throws IOException {
            serialize(deserialize(source), target);
        }

        @Override
        public TypeSerializerSnapshot<MeterKey> snapshotConfiguration() {
            return new Snapshot();
        }

        private static void write(byte[] bytes, DataOutputView target) throws IOException {
            target.writeShort(bytes.length);
            target.write(bytes);
        }

        private static byte[] read(DataInputView source) throws IOException {
            byte[] bytes = new byte[source.readUnsignedShort()];
            source.readFully(bytes);
            return bytes;
        }
    }

    /** How Flink finds the serializer again when it restores a checkpoint. */
    public static final class Snapshot extends SimpleTypeSerializerSnapshot<MeterKey> {
        public Snapshot() {
            super(() -> Serializer.INSTANCE);
        }
    }

    /** The key's type for Flink. */
    static final class Type extends org.apache.flink.api.common.typeinfo.TypeInformation<MeterKey> {
        private static final long serialVersionUID = 1L;

        @Override
        public boolean isBasicType() {
            return false;
        }

        @Override
        public boolean isTupleType() {
            return false;
        }

        @Override
        public int getArity() {
            return 1;
        }

        @Override
        public int getTotalFields() {
            return 1;
        }

        @Override
        public Class<MeterKey> getTypeClass() {
            return MeterKey.class;
        }

        @Override
        public boolean isKeyType() {
            return true;
        }

        @Override
        public org.apache.flink.api.common.typeutils.TypeSerializer<MeterKey> createSerializer(
            org.apache.flink.api.common.serialization.SerializerConfig config) {
            return Serializer.INSTANCE;
        }

        @Override
        public String toString() {
            return "MeterKey";
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Type;
        }

        @Override
        public int hashCode() {
            return Type.class.hashCode();
        }

        @Override
        public boolean canEqual(Object other) {
            return other instanceof Type;
        }
    }
}
