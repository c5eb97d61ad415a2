import re

import pytest
from meterpipe.core.deadletters import Reason
from meterpipe.core.ingest.espi import EspiBody
from meterpipe.core.ingest.espi_xml import MAX_DEPTH
from meterpipe.core.quality import Quality
from meterpipe.spec.models import Readings

from tests.unit.ingest.bodies import rows_of

BASE = "/espi/1_1/resource/UsagePoint/07"
START = 1_293_868_800
ESPI = EspiBody(Readings())


def entry(href: str, content: str, *related: str) -> str:
    links = "".join(f'<link rel="related" href="{address}"/>' for address in related)
    return f'<entry><id>urn:uuid:1</id><link rel="self" href="{href}"/>{links}<content>{content}</content></entry>'


def interval(number: int, value: object, quality: str = "") -> str:
    flag = f"<ReadingQuality><quality>{quality}</quality></ReadingQuality>" if quality else ""
    return (
        f"<IntervalReading><cost>974</cost>{flag}<timePeriod><duration>900</duration>"
        f"<start>{START + 900 * number}</start></timePeriod><value>{value}</value></IntervalReading>\n"
    )


def feed(readings: str, uom: str = "72", kind: str = "0", more: str = "", power: str = "0") -> bytes:
    espi = 'xmlns="http://naesb.org/espi"'
    block = f"<IntervalBlock {espi}><interval><duration>86400</duration><start>{START}</start></interval>\n{readings}"
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'
        + entry(
            f"{BASE}/MeterReading/01/IntervalBlock/0173", f"{block}</IntervalBlock>"
        )  # before its type: any order goes
        + entry(BASE, f"<UsagePoint {espi}><ServiceCategory><kind>{kind}</kind></ServiceCategory></UsagePoint>")
        + entry(f"{BASE}/MeterReading/01", f"<MeterReading {espi}/>", "/espi/1_1/resource/ReadingType/07")
        + entry(
            "/espi/1_1/resource/ReadingType/07",
            f"<ReadingType {espi}>{more}<powerOfTenMultiplier>{power}</powerOfTenMultiplier>"
            f"<uom>{uom}</uom></ReadingType>",
        )
        + "</feed>"
    )
    return text.encode()


def test_interval_blocks_become_readings_of_the_usage_point():
    parsed = ESPI.parse(feed(interval(0, 450) + interval(1, 974)), {})
    wanted = [("07", "ELECTRICITY", "ACTIVE_ENERGY", (START + 900 * i) * 1000, v) for i, v in enumerate((0.45, 0.974))]
    assert rows_of(parsed) == wanted
    assert parsed.rows.readings.interval_s.tolist() == [900, 900]
    assert not parsed.refused


def test_the_client_may_name_the_meter():
    assert rows_of(ESPI.parse(feed(interval(0, 1)), {"meter": "house-7"}))[0][0] == "house-7"


@pytest.mark.parametrize(
    ("kind", "uom", "more", "power", "wanted"),
    [
        ("0", "72", "<accumulationBehaviour>4</accumulationBehaviour>", "3", ("ELECTRICITY", "ACTIVE_ENERGY", 2.0)),
        ("0", "72", "<accumulationBehaviour>3</accumulationBehaviour>", "0", ("ELECTRICITY", "SUMMATION", 0.002)),
        ("0", "72", "<flowDirection>19</flowDirection>", "3", ("ELECTRICITY", "ACTIVE_ENERGY_EXPORT", 2.0)),
        ("0", "38", "", "3", ("ELECTRICITY", "ACTIVE_POWER", 2.0)),
        ("1", "42", "", "-1", ("GAS", "VOLUME", 0.2)),
        ("2", "134", "", "3", ("WATER", "VOLUME", 2.0)),
    ],
)
def test_units_become_those_of_the_pipeline(kind, uom, more, power, wanted):
    ((_, metric, attribute, _, value),) = rows_of(ESPI.parse(feed(interval(0, 2), uom, kind, more, power), {}))
    assert (metric, attribute, pytest.approx(value)) == wanted


def test_estimated_values_are_marked():
    parsed = ESPI.parse(feed(interval(0, 1, "8") + interval(1, 1, "17")), {})
    assert parsed.rows.readings.quality.tolist() == [Quality.ESTIMATED, 0]


def test_bad_readings_are_told_with_line_and_field_and_the_others_are_taken():
    body = feed(interval(0, 1) + interval(1, "many") + interval(2, 3) + interval(3, ""))
    parsed = ESPI.parse(body, {})
    assert len(parsed.rows) == 2
    told = [(p.index, p.field, p.reason) for p in parsed.told()]
    assert told == [(1, "value", Reason.OUT_OF_RANGE), (3, "value", Reason.MISSING_FIELD)]
    assert b"many" in body.splitlines()[(parsed.told()[0].line or 0) - 1]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (feed(interval(0, 1), uom="111"), "uom"),
        (feed(interval(0, 1), kind="6"), "ServiceCategory"),
        (feed(interval(0, 1), power="999"), "powerOfTenMultiplier"),
        (re.sub(rb"ReadingType/07", b"ReadingType/08", feed(interval(0, 1)), count=1), "ReadingType"),
        (b"<feed/>", "IntervalBlock"),
    ],
)
def test_a_block_that_cannot_be_understood_is_refused_with_the_field_to_blame(body, field):
    parsed = ESPI.parse(body, {})
    assert not len(parsed.rows)
    assert [p.field for p in parsed.told()] == [field]


LAUGHS = b'<!DOCTYPE x [<!ENTITY a "ha">' + b"".join(
    b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9)
)


@pytest.mark.parametrize(
    "body",
    [
        LAUGHS + b"]><feed>&j;</feed>",
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><feed>&a;</feed>',
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><feed/>',
        b"<a>" * (MAX_DEPTH + 1),
        b"<feed>" + b"x" * 10_000 + b"</feed>",
        b"<feed>",
        b"\x00\x01",
        b'<?xml version="1.0" encoding="no-such"?><feed/>',
        feed(interval(0, 1)).replace(b"</feed>", b"<entry>" * 5),
    ],
)
def test_dangerous_and_broken_files_are_refused_as_a_whole(body):
    parsed = ESPI.parse(body, {})
    assert (len(parsed.rows), [p.reason for p in parsed.told()]) == (0, [Reason.MALFORMED])
