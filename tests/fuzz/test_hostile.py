"""Inputs made to exhaust memory, time or the stack: refused, in a process whose memory and time are bounded."""

from tests.fuzz.corpus import HOSTILE_ENVELOPES
from tests.fuzz.harness import within_bounds

DECODE = """
import json
from pathlib import Path
from meterpipe.core.codecs import Decoder
from meterpipe.core.readings import KeyTable
from meterpipe.spec.models import Readings
from tests.fuzz.corpus import JSON, Registry, framed
SPEC = Readings.model_validate({"formats": ["json", "envelope", "avro"]})
def decoded(value, schemas=None):
    found = Decoder(SPEC, Registry(schemas)).decode([value, JSON[0]], KeyTable())
    assert 1 in found.readings.message, "the good message beside it is lost"
    return [reject.reason.value for reject in found.rejects if reject.message == 0]
"""


def test_envelopes_and_results_that_claim_more_than_they_are_cost_no_more_than_they_are(tmp_path):
    for number, make in enumerate(HOSTILE_ENVELOPES.values()):
        (tmp_path / str(number)).write_bytes(make())
    code = f"""{DECODE}
from meterpipe.core.result_codec import decode_results
for file in sorted(Path({str(tmp_path)!r}).iterdir()):
    value = file.read_bytes()
    print(file.name, decoded(value))
    assert decoded(value), file
    assert decode_results([value], [60]).rejects, file"""
    assert len(within_bounds(code).splitlines()) == len(HOSTILE_ENVELOPES)


JSON_TEXTS = """
TEXTS = [
    "[" * 100_000,
    '{"a":' * 100_000,
    '{"gateway":' + "[" * 100_000 + "]" * 100_000 + "}",
    "{" + ",".join(f'"c{n}":{n}' for n in range(1_000_000)) + "}",
    '{"value":' + "9" * 1_000_000 + "}",
]
"""


def test_json_that_is_deep_wide_or_long_is_refused_wherever_it_comes_in():
    within_bounds(f"""{DECODE}{JSON_TEXTS}
from meterpipe.core.alarms.thresholds import BadThresholdError, decode_threshold, decode_threshold_key
from meterpipe.core.ingest.formats import JsonBody, NdjsonBody
from meterpipe.core.ingest.topics import MessageDecoder, Template
template = Template("m/{{meter}}/{{metric}}/{{attribute}}")
for number, text in enumerate(TEXTS):
    body = text.encode()
    assert decoded(body), number
    for kind in (JsonBody, NdjsonBody):
        for one in (body, b"[" + body + b"]"):
            assert kind(SPEC).parse(one, {{}}).told(), (number, kind)
    rows, refused = MessageDecoder(template, SPEC).decode([("m/a/b/c", body)], 2**62)
    assert refused and not len(rows), number
    for decode in (decode_threshold, decode_threshold_key):
        try:
            decode(body)
        except BadThresholdError:
            continue
        raise AssertionError((number, decode))""")


SCHEMAS = """
FIELDS = [{"name": name, "type": "string"} for name in ("gateway", "metricType", "metricAttribute")]
FIELDS += [{"name": "timestamp", "type": "long"}, {"name": "value", "type": "double"}]
def record(*fields, name="Top"):
    return {"type": "record", "name": name, "fields": list(fields)}
def field(kind, name="odd"):
    return {"name": name, "type": kind}
def array(kind):
    return {"type": "array", "items": kind}
def deep(depth):
    return '{"type":"array","items":' * depth + '"int"' + "}" * depth
def top(kind):
    return json.dumps(record(field(kind), *FIELDS))
doubled = [field(record(name="R0"), "x0")]
doubled += [field(record(field(f"R{n-1}", "a"), field(f"R{n-1}", "b"), name=f"R{n}"), f"x{n}") for n in range(1, 60)]
TEXTS = {
    "100 000 deep": deep(100_000),
    "300 deep": top(json.loads(deep(300))),
    "200 000 fields": json.dumps(record(*(field("int", f"f{n}") for n in range(200_000)))),
    "nulls": top(array("null")),
    "empty records": top(array(record(name="E"))),
    "texts": top(array("string")),
    "fixed": top({"type": "fixed", "name": "F", "size": 2**62}),
    "itself": top(record(field("R", "a"), name="R")),
    "itself in a list": top(record(field(array("R"), "a"), name="R")),
    "doubled": json.dumps(record(*doubled, *FIELDS)),
}
HUGE = b"\\xfe\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x7f"
"""


def test_avro_of_hostile_schemas_with_hostile_lengths_is_refused():
    within_bounds(f"""{DECODE}{SCHEMAS}
for name, text in TEXTS.items():
    for record_ in (HUGE * 4, bytes([2]) * 5000, HUGE + bytes(10)):
        print(name, decoded(framed(record_), {{1: text}}), flush=True)
        assert decoded(framed(record_), {{1: text}}), name""")


def test_packed_bodies_of_a_gigabyte_are_cut_off():
    code = """
import pyarrow as pa
from meterpipe.core.ingest.unpack import TooLargeError, unpack
for name in ("gzip", "zstd"):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, name) as out:
        for _ in range(1024):
            out.write(bytes(2**20))
    try:
        unpack(sink.getvalue().to_pybytes(), name, 2**24)
    except TooLargeError:
        print(name)"""
    assert within_bounds(code).split() == ["gzip", "zstd"]


def test_hostile_uploads_of_green_button_are_refused():
    within_bounds("""
from meterpipe.core.ingest.espi import EspiBody
from meterpipe.spec.models import Readings
entities = b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 30))
bodies = {
    "deep": b"<feed>" + b"<a>" * 100_000,
    "entities": b'<!DOCTYPE f [<!ENTITY a0 "lol">' + entities + b"]><feed>&a29;</feed>",
    "outer": b'<!DOCTYPE f [<!ENTITY x SYSTEM "file:///etc/passwd">]><feed>&x;</feed>',
    "attributes": b"<feed " + b" ".join(b'a%d=""' % n for n in range(200_000)) + b"/>",
}
for name, body in bodies.items():
    parsed = EspiBody(Readings()).parse(body, {"meter": "m"})
    assert parsed.told() and not len(parsed.rows), name""")


def test_hostile_specifications_are_refused():
    within_bounds("""
from meterpipe.spec.load import load_pipelines
from meterpipe.spec.problems import SpecError
tens = [", ".join([f"*a{n}"] * 10) for n in range(30)]
texts = {
    "deep": "[" * 100_000,
    "deep maps": "{a: " * 100_000,
    "aliases": "a0: &a0 [x]\\n" + "".join(f"a{n}: &a{n} [{tens[n - 1]}]\\n" for n in range(1, 30)),
    "itself": "a: &a [*a]",
    "merges": "a0: &a0 {x: 1}\\n" + "".join(f"a{n}: &a{n} {{<<: [{tens[n - 1]}]}}\\n" for n in range(1, 30)),
    "keys": "".join(f"k{n}: {n}\\n" for n in range(10_000)),
    "digits": "spec: {aggregator: {grace: " + "9" * 1_000_000 + "}}",
}
for name, text in texts.items():
    print(name, flush=True)
    try:
        load_pipelines(text)
    except SpecError:
        continue
    raise AssertionError(name)""")
