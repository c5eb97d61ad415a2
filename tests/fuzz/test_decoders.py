"""Every decoder on bytes that are nearly right: it says what is wrong, and neither crashes nor raises anything else."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core import changelog
from meterpipe.core.activity import ActivityPartition
from meterpipe.core.alarms.thresholds import BadThresholdError, Threshold, decode_threshold, decode_threshold_key
from meterpipe.core.avro_schema import SchemaError, UnusableSchemaError, parse, resolve
from meterpipe.core.codecs import Decoder
from meterpipe.core.control import decode_control
from meterpipe.core.ingest.espi import EspiBody
from meterpipe.core.ingest.formats import ArrowBody, JsonBody, NdjsonBody
from meterpipe.core.ingest.topics import MessageDecoder, Template
from meterpipe.core.ingest.unpack import CODECS, BrokenEncodingError, TooLargeError, unpack
from meterpipe.core.partition import Partition
from meterpipe.core.readings import KeyTable
from meterpipe.core.result_codec import decode_results
from meterpipe.core.validation import state as validation
from meterpipe.core.windows import WindowPolicy
from meterpipe.datasets.loaded import ReadOptions
from meterpipe.datasets.registry import Dataset, load
from meterpipe.datasets.sheet import BadFileError
from meterpipe.spec.load import load_pipelines
from meterpipe.spec.models import Readings
from meterpipe.spec.problems import SpecError
from meterpipe.spec.validation import Validation

from tests.fuzz.corpus import AVRO, ENVELOPES, FIELDS_OF_AVRO, JSON, SCHEMAS, START, Registry, results
from tests.fuzz.harness import CHECKOUT, fuzzed, near
from tests.unit.ingest.test_espi import feed, interval

SPEC = Readings.model_validate({"formats": ["json", "envelope", "avro"]})
MESSAGES = [*JSON, *ENVELOPES, *AVRO]
NAMES = SPEC.fields.model_dump()


def decoded(values, schemas=None):
    return Decoder(SPEC, Registry(schemas)).decode(values, KeyTable())


@fuzzed
@given(near(MESSAGES))
def test_a_message_of_readings_is_taken_or_refused_with_a_reason(value):
    found = decoded([value])
    assert len(found.readings) or found.rejects or found.controls or value[:1] == b"\xff"  # an envelope may be empty
    assert np.isfinite(found.readings.value).all()


@fuzzed
@given(st.lists(near(MESSAGES), max_size=8))
def test_broken_messages_leave_those_beside_them_as_they_are(broken):
    good = [JSON[0], ENVELOPES[0], AVRO[0]]
    values = [good[0], *broken, *good[1:]]
    found = decoded(values)
    alone = decoded(good)
    ours = np.isin(found.readings.message, [0, len(values) - 2, len(values) - 1])
    assert found.readings.take(ours).ts.tolist() == alone.readings.ts.tolist()


@fuzzed
@given(near(JSON))
def test_a_control_record_is_one_or_none(value):
    assert decode_control(value) is None or value.lstrip()[:1] == b"{"


@fuzzed
@given(near([json.dumps(json.loads(text)).encode() for text in SCHEMAS.values()]), near(AVRO))
def test_a_schema_is_understood_or_named_unusable_and_so_are_messages_of_it(schema, message):
    text = schema.decode(errors="replace")
    with contextlib.suppress(SchemaError, UnusableSchemaError):
        resolve(parse(text), NAMES)
    decoded([message, *AVRO], {1: text, 2: text})


SCHEMA_TYPES = st.recursive(
    st.sampled_from(["null", "boolean", "int", "long", "float", "double", "bytes", "string", "Odd", "F"])
    | st.fixed_dictionaries({"type": st.just("fixed"), "name": st.sampled_from("FG"), "size": st.integers(-1, 2**40)})
    | st.fixed_dictionaries(
        {"type": st.just("enum"), "name": st.just("E"), "symbols": st.lists(st.text(), max_size=3)}
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.fixed_dictionaries({"type": st.just("array"), "items": inner})
        | st.fixed_dictionaries({"type": st.just("map"), "values": inner})
        | st.fixed_dictionaries(
            {
                "type": st.just("record"),
                "name": st.sampled_from(["R", "Odd"]),
                "fields": st.lists(st.fixed_dictionaries({"name": st.sampled_from("abc"), "type": inner}), max_size=3),
            }
        )
    ),
    max_leaves=12,
)


@fuzzed
@given(SCHEMA_TYPES, st.binary(max_size=60), st.integers(0, len(FIELDS_OF_AVRO)))
def test_any_schema_with_any_record_ends_in_readings_or_reasons(kind, record, place):
    fields = [*FIELDS_OF_AVRO[:place], {"name": "odd", "type": kind}, *FIELDS_OF_AVRO[place:]]
    schema = json.dumps({"type": "record", "name": "Top", "fields": fields})
    found = decoded([b"\0\0\0\0\x01" + record, AVRO[1]], {1: schema, 2: SCHEMAS[2]})
    assert 1 in found.readings.message


@fuzzed
@given(near(results()))
def test_a_result_is_rows_or_a_reason(value):
    found = decode_results([value, results()[0]], [60])
    assert found.rows >= 2


def changelogs():
    partition = Partition(WindowPolicy((60_000, 600_000), 0, True), Decoder(SPEC, Registry()), 10**15)
    activity = ActivityPartition(WindowPolicy((300_000,), 0, False), Decoder(SPEC, Registry()), 10**15)
    judged = validation.ValidationPartition(Validation(enabled=True), Decoder(SPEC, Registry()), 10**15)
    for state in (partition, activity, judged):
        records = []
        for value in (ENVELOPES[0], JSON[0]):
            state.take([value], np.array([START]), 1)
            records += state.records(snapshot_due=False)
        yield state, records


STATES = list(changelogs())
TYPES = [(changelog.Snapshot, changelog.Delta)] * 2 + [(validation.Snapshot, validation.Delta)]


@pytest.mark.parametrize("number", range(len(STATES)), ids=["aggregator", "activity", "validation"])
@fuzzed
@given(data=st.data())
def test_a_changelog_is_whole_or_named_corrupt(number, data):
    records = [(key, data.draw(near([value]))) for key, value in STATES[number][1]]
    with contextlib.suppress(changelog.CorruptChangelogError):
        changelog.decode_as(records, *TYPES[number])


BODIES = [JSON[0], b"[" + b",".join(JSON[:2]) + b"]", b"\n".join(JSON), ENVELOPES[0], feed(interval(0, 1)), *AVRO]


@pytest.mark.parametrize("body", [JsonBody, NdjsonBody, ArrowBody, EspiBody], ids=lambda kind: kind.name)
@fuzzed
@given(data=st.data())
def test_a_body_is_read_or_its_problems_are_told(body, data):
    parsed = body(SPEC).parse(data.draw(near(BODIES)), {"meter": "m1"})
    assert isinstance(parsed.told(), list)


def packed(codec):
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as out:
        out.write(b"abcdefgh" * 100)
    return sink.getvalue().to_pybytes()


PACKED = {name: packed(codec) for name, codec in CODECS.items()}


@pytest.mark.parametrize("encoding", sorted(CODECS))
@fuzzed
@given(data=st.data())
def test_a_packed_body_is_unpacked_within_its_limit_or_refused(encoding, data):
    with contextlib.suppress(BrokenEncodingError, TooLargeError):
        assert len(unpack(data.draw(near([PACKED[encoding]])), encoding, 1000)) <= 1000


TOPICS = ["meters/m1/ELECTRICITY/ACTIVE_POWER", "meters/m1/ELECTRICITY", "other", "meters//x/\0"]
PAYLOADS = [b'{"timestamp":1704067200000,"value":1.5}', b'[{"timestamp":1,"value":1}]', JSON[0], b"{}", b"{ }"]


@fuzzed
@given(st.lists(st.tuples(st.sampled_from(TOPICS) | st.text(max_size=30), near(PAYLOADS)), min_size=1, max_size=5))
def test_an_mqtt_message_is_taken_or_refused(messages):
    rows, refused = MessageDecoder(Template("meters/{meter}/{metric}/{attribute}"), SPEC).decode(messages, 2**62)
    assert len(rows) <= sum(payload.count(b"{") for _, payload in messages)
    assert all(0 <= one.message < len(messages) for one in refused)


FILES = {
    Dataset.LONDON: b"LCLid,stdorToU,DateTime,KWH/hh (per half hour) \nMAC000003,Std,2012-07-01 00:30:00.0000000,0.2\n",
    Dataset.UCI: b"Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;Sub_metering_1;"
    b"Sub_metering_2;Sub_metering_3\n16/12/2006;17:24:00;4.216;0.418;234.840;18.400;0.000;1.000;17.000\n",
    Dataset.AMPDS_WATER: b"unix_ts,counter,avg_rate,inst_rate\n1333263600,100.5,0.1,0.2\n1333263660,101,0.1,0.2\n",
    Dataset.AMPDS_GAS: b"unix_ts,counter,avg_rate,inst_rate\n1333263600,100.5,0.1,0.2\n1333263660,101,0.1,0.2\n",
}


# pyarrow cannot hand on a row of too many fields that is no UTF-8: it complains, and the file is refused
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("dataset", list(FILES))
@fuzzed
@given(data=st.data(), skip=st.booleans())
def test_a_file_of_a_data_set_is_read_or_its_flaw_is_named(dataset, tmp_path_factory, data, skip):
    file = tmp_path_factory.getbasetemp() / f"fuzz-{dataset}.csv"
    file.write_bytes(data.draw(near([FILES[dataset]])))
    with contextlib.suppress(BadFileError):
        load(dataset, [file], ReadOptions(skip_broken=skip, meter="m"), file.parent)


PIPELINES = [
    (CHECKOUT / "manifests" / "pipelines" / f"{name}.yaml").read_bytes() for name in ("minimal", "demo", "full")
]


@fuzzed
@given(near(PIPELINES))
def test_a_specification_is_valid_or_its_problems_are_told(text):
    with contextlib.suppress(SpecError):
        load_pipelines(text.decode(errors="replace"))


@fuzzed
@given(near([b'{"lower":1,"upper":2.5,"hysteresis":0.1,"minDuration":60}']), near([b'["m","E","P"]']))
def test_a_threshold_is_sensible_or_named_bad(value, key):
    with contextlib.suppress(BadThresholdError):
        assert isinstance(decode_threshold(value), Threshold)
    with contextlib.suppress(BadThresholdError):
        assert all(decode_threshold_key(key))
