"""Forms of bodies: the built-in ones, and those that installed packages bring as entry points.

A package that declares, say,

    [project.entry-points."meterpipe.ingest.formats"]
    sml = "sml_readings:SmlBody"

adds `SmlBody(spec.readings)`, a `core.ingest.formats.BodyFormat`, for the media types it names.
"""

import logging
from importlib.metadata import entry_points

from meterpipe.core.ingest.espi import EspiBody
from meterpipe.core.ingest.formats import ArrowBody, BodyFormat, JsonBody, MakeFormat, NdjsonBody
from meterpipe.spec.models import Readings as ReadingsSpec

log = logging.getLogger(__name__)

GROUP = "meterpipe.ingest.formats"
BUILT_IN: tuple[MakeFormat, ...] = (JsonBody, NdjsonBody, ArrowBody, EspiBody)


class FormatError(Exception):
    """Two formats claim one media type."""


def formats(spec: ReadingsSpec) -> dict[str, BodyFormat]:
    """All formats by media type. Raises FormatError; what a plug-in raises while it is made ends the worker."""
    makers = list(BUILT_IN)
    for point in entry_points(group=GROUP):
        log.info("format %s of %s", point.name, point.value)
        makers.append(point.load())
    found: dict[str, BodyFormat] = {}
    for make in makers:
        one = make(spec)
        for media_type in one.media_types:
            other = found.setdefault(media_type, one)
            if other is not one:
                raise FormatError(f"formats {other.name} and {one.name} both claim {media_type}")
    return found
