"""The OpenAPI document of POST /v1/readings, made from what the pipeline says."""

from collections.abc import Mapping
from typing import Any

from meterpipe.core.deadletters import Reason
from meterpipe.core.ingest.formats import BodyFormat
from meterpipe.core.ingest.rows import MAX_PROBLEMS, MAX_READINGS
from meterpipe.core.readings import FIRST_MS, LARGEST, LAST_MS
from meterpipe.spec.ingest import Ingest
from meterpipe.spec.models import Readings as ReadingsSpec

Schema = dict[str, Any]
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_READING = {"$ref": "#/components/schemas/Reading"}
_BINARY: Schema = {"type": "string", "format": "binary"}


def document(spec: Ingest, readings: ReadingsSpec, formats: Mapping[str, BodyFormat], version: str) -> Schema:
    """OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Meterpipe ingest",
            "version": version,
            "description": "Readings of meters, taken in and made durable.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/readings": {"post": _post(spec, readings, formats)},
            "/openapi.json": {"get": _page("This document.", "application/json", {"type": "object"})},
            "/": {"get": _page("A page for people.", "text/html", {"type": "string"})},
        },
        "components": {
            "schemas": {
                "Reading": reading(readings),
                "Accepted": {
                    "type": "object",
                    "required": ["accepted"],
                    "additionalProperties": False,
                    "properties": {"accepted": {"type": "integer", "minimum": 0}},
                },
                "Problem": _problem(),
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def reading(spec: ReadingsSpec) -> Schema:
    """One reading as JSON, with the names of the pipeline."""
    name = spec.fields
    number: Schema = {"type": "integer", "minimum": 0}
    zone = f"of {spec.timezone} if it has no zone" if spec.timezone else "with a zone"
    text: Schema = {"type": "string", "minLength": 1, "maxLength": 1000}
    instant: Schema = {
        "description": f"Start of the interval: epoch milliseconds, or RFC 3339 {zone}.",
        "oneOf": [
            {"type": "integer", "minimum": FIRST_MS, "maximum": LAST_MS},
            {"type": "string", "format": "date-time"},
        ],
    }
    return {
        "type": "object",
        "required": [name.meter, name.metric, name.attribute, name.timestamp, name.value],
        "properties": {
            name.meter: {**text, "description": "Meter, gateway or household."},
            name.metric: {**text, "description": "ELECTRICITY, WATER, GAS, HEAT …"},
            name.attribute: {**text, "description": "ACTIVE_POWER, SUMMATION …"},
            name.timestamp: instant,
            name.value: {"type": "number", "minimum": -LARGEST, "maximum": LARGEST},
            name.interval: {**number, "maximum": 2**31 - 1, "description": "Seconds covered; 0 is an instant."},
            name.quality: {**number, "maximum": 255, "description": "Flags."},
            name.revision: {**number, "maximum": 65_535, "description": "Higher replaces lower."},
        },
        "examples": [
            {
                name.meter: "house-7",
                name.metric: "ELECTRICITY",
                name.attribute: "ACTIVE_POWER",
                name.timestamp: 1_767_225_600_000,
                name.value: 1.25,
            }
        ],
    }


def _post(spec: Ingest, readings: ReadingsSpec, formats: Mapping[str, BodyFormat]) -> Schema:
    shapes: dict[str, Schema] = {"application/json": {"oneOf": [_READING, {"type": "array", "items": _READING}]}}
    bodies = {media_type: {"schema": shapes.get(media_type, _BINARY)} for media_type in formats}
    return {
        "operationId": "postReadings",
        "summary": "Send readings",
        "description": (
            f"At most {spec.http.max_body} bytes, packed or not, and {MAX_READINGS} readings. A reading is known by "
            "meter, metric, attribute and time: one that is sent again, after an error or for want of an answer, does "
            f"not count twice. Readings more than {readings.max_ahead} s ahead of the clock are refused."
        ),
        "security": [{"token": []}, *([{}] if spec.anonymous else [])],
        "parameters": [
            {
                "name": "Content-Encoding",
                "in": "header",
                "schema": {"enum": ["identity", "gzip", "zstd"]},
                "description": "How the body is packed.",
            },
            {
                "name": "meter",
                "in": "query",
                "schema": {"type": "string"},
                "description": "Of a Green Button file, whose own ids are seldom those of the meters.",
            },
        ],
        "requestBody": {"required": True, "content": bodies},
        "responses": _responses(spec),
    }


def _responses(spec: Ingest) -> Schema:
    texts = {
        "400": "Some readings are refused, or all; those counted as accepted are durable and need not be sent again.",
        "401": "No token, or none that is known.",
        "408": "The body did not arrive in time.",
        "413": "The body is too large.",
        "415": "The media type or content encoding is not taken.",
        "429": "Kafka has yet to confirm too many readings; try again after Retry-After.",
        "503": f"Kafka has not confirmed within {spec.ack_timeout} s; send the same again after Retry-After.",
    }
    found: Schema = {
        "202": {
            "description": "All readings are durable: every in-sync replica has them.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Accepted"}}},
        }
    }
    for status, text in texts.items():
        found[status] = {"description": text, "content": {"application/problem+json": {"schema": _PROBLEM}}}
        if status in ("429", "503"):
            seconds = {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds."}
            found[status]["headers"] = {"Retry-After": seconds}
    return found


def _page(text: str, media_type: str, schema: Schema) -> Schema:
    return {"summary": text, "responses": {"200": {"description": text, "content": {media_type: {"schema": schema}}}}}


def _problem() -> Schema:
    count = {"type": "integer", "minimum": 0}
    return {
        "type": "object",
        "description": "RFC 9457.",
        "required": ["title", "status", "detail"],
        "properties": {
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "accepted": {**count, "description": "Readings that are durable."},
            "refused": {**count, "description": "Readings that are not taken."},
            "errors": {
                "type": "array",
                "maxItems": MAX_PROBLEMS,
                "items": {
                    "type": "object",
                    "required": ["reason", "detail"],
                    "properties": {
                        "reason": {"enum": [reason.value for reason in Reason]},
                        "detail": {"type": "string"},
                        "field": {"type": "string"},
                        "index": {**count, "description": "Of the reading in the request, from 0."},
                        "line": {"type": "integer", "minimum": 1, "description": "Of the body, from 1."},
                    },
                },
            },
        },
    }
