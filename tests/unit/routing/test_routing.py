"""Routes in columns: the same messages as by a plain loop over the readings."""

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.murmur2 import partition_of
from meterpipe.core.readings import KeyTable, Readings
from meterpipe.core.routing import ANYWHERE, Router, frame_of
from meterpipe.spec.load import load_model
from meterpipe.spec.models import FieldNames, MeterPipeline
from meterpipe.spec.problems import SpecError
from meterpipe.spec.routing import Route

METERS = ("m1", "m2", "ä \"'{}")
ROWS = st.lists(
    st.tuples(
        st.sampled_from(METERS),
        st.sampled_from(["ELECTRICITY", "WATER"]),
        st.integers(0, 4_000_000_000_000),
        st.sampled_from([-2.5, 0.0, 1.0, 1e18, 3.25]),
        st.integers(0, 255),
    ),
    max_size=30,
)


def batch(rows):
    keys = KeyTable()
    ids = [keys.add((meter, metric, "P")) for meter, metric, *_ in rows]
    zeros = np.zeros(len(rows), np.int32)
    readings = Readings(
        np.array(ids, np.int32),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.float64),
        zeros,
        np.array([row[4] for row in rows], np.uint8),
        zeros.astype(np.uint16),
        zeros,
        zeros,
    )
    return readings, keys


def sent(route, rows, partitions=4):
    readings, keys = batch(rows)
    router = Router(Route.model_validate({"name": "r", **route}), FieldNames(), partitions)
    return router.send_on(frame_of(readings, keys), readings, keys)


def rfc3339(ms):
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


@given(ROWS)
def test_whole_readings_come_out_as_they_went_in(rows):
    out = sent({}, rows)
    names = ("gateway", "metricType", "metricAttribute", "timestamp", "value", "interval", "quality", "revision")
    wanted = [
        dict(zip(names, (meter, metric, "P", rfc3339(ts), value, 0, quality, 0), strict=True))
        for meter, metric, ts, value, quality in rows
    ]
    assert list(map(json.loads, out.values)) == wanted
    assert out.keys == [row[0] for row in rows]
    assert out.partitions is None


@given(ROWS)
def test_filter_projection_and_key_are_those_of_a_plain_loop(rows):
    route = {"where": "value < 1 AND metric = 'WATER'", "select": {"id": "upper(meter)", "x": "value * 2"}}
    out = sent({**route, "key": "metric || '/' || meter"}, rows)
    chosen = [row for row in rows if row[3] < 1 and row[1] == "WATER"]
    assert list(map(json.loads, out.values)) == [{"id": row[0].upper(), "x": row[3] * 2} for row in chosen]
    assert out.keys == [f"{row[1]}/{row[0]}" for row in chosen]
    assert out.partitions == [partition_of(key.encode(), 4) for key in out.keys]


@given(ROWS)
def test_an_envelope_holds_the_readings_chosen(rows):
    out = sent({"where": "quality >= 128", "format": "envelope"}, rows)
    found = [row for value in out.values for row in pa.ipc.open_stream(value).read_all().to_pylist()]
    chosen = [row for row in rows if row[4] >= 128]
    assert [(r["meter"], r["metric"], r["ts"], r["value"], r["quality"]) for r in found] == chosen
    assert out.readings == len(chosen)


@given(ROWS)
def test_envelopes_for_a_topic_of_others_are_in_the_partitions_of_their_meters(rows):
    out = sent({"format": "envelope", "topic": "elsewhere"}, rows, partitions=7)
    placed = zip(out.values, out.partitions or [], strict=True)
    found = [(p, row["meter"]) for value, p in placed for row in pa.ipc.open_stream(value).read_all().to_pylist()]
    assert sorted(found) == sorted((partition_of(row[0].encode(), 7), row[0]) for row in rows)


def test_where_it_is_not_known_a_reading_is_not_sent_and_a_key_may_be_missing():
    rows = [("m1", "WATER", 0, 1.0, 0), ("m2", "WATER", 0, 0.0, 0)]
    assert sent({"where": "nullif(value, 0) = 1"}, rows).readings == 1
    out = sent({"key": "nullif(meter, 'm1')"}, rows)
    assert out.keys == [None, "m2"]
    assert out.partitions is not None
    assert out.partitions[0] == ANYWHERE


def test_whole_numbers_do_not_wrap_around():
    (value,) = sent({"select": {"x": "quality + 10", "y": "-quality"}}, [("m1", "WATER", 0, 1.0, 250)]).values
    assert json.loads(value) == {"x": 260, "y": -250}


def test_what_is_not_finite_is_null_in_json():
    (value,) = sent({"select": {"x": "value / 0", "t": "ts::date"}}, [("m1", "WATER", 0, 1.0, 0)]).values
    assert json.loads(value) == {"x": None, "t": "1970-01-01"}


def test_a_reading_for_which_an_expression_fails_is_left_out_alone_and_counted():
    rows = [(meter, "WATER", 0, 1.0, 0) for meter in ("[a", "b", "c")]
    out = sent({"where": "regexp_like(meter, meter)"}, rows)
    assert (out.readings, out.failed) == (2, 1)


def test_a_topic_of_another_pipeline_whose_name_begins_like_ours_is_taken():
    assert load_model(json.dumps(spec({"name": "a", "topic": "local-city-2-sink"})), MeterPipeline)


def spec(*routes):
    return {
        "apiVersion": "meterpipe.io/v1alpha1",
        "kind": "MeterPipeline",
        "metadata": {"name": "city"},
        "spec": {"kafka": {"topics": {"readings": {"name": "in"}}}, "routing": {"routes": list(routes)}},
    }


@pytest.mark.parametrize(
    ("routes", "path", "reason"),
    [
        ([{"name": "a"}, {"name": "a"}], "spec.routing.routes[1].name", "is the name of another route"),
        ([{"name": "a", "topic": "in"}], "spec.routing.routes[0].topic", "would come round again"),
        ([{"name": "a", "topic": "local-city-late"}], "spec.routing.routes[0].topic", "would come round again"),
        ([{"name": "a", "where": "valeu > 1"}], "spec.routing.routes[0].where", "did you mean value?"),
        ([{"name": "a", "select": {"x": "sum(value)"}}], "spec.routing.routes[0].select.x", "aggregates"),
        ([{"name": "a", "format": "envelope", "key": "meter"}], "spec.routing.routes[0].key", "format json"),
    ],
)
def test_a_bad_route_is_refused_by_its_path(routes, path, reason):
    with pytest.raises(SpecError) as refused:
        load_model(json.dumps(spec(*routes)), MeterPipeline)
    assert path in str(refused.value)
    assert reason in str(refused.value)
