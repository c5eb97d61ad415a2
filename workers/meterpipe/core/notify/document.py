"""The OpenAPI document of the API of thresholds and open alarms."""

from typing import Any

from meterpipe.core.alarms.events import AlarmKind
from meterpipe.core.alarms.thresholds import LONGEST_SECONDS
from meterpipe.core.notify.requests import ALARMS, MOST, THRESHOLDS, USUAL

Schema = dict[str, Any]
_NUMBER: Schema = {"type": "number"}
_BOUNDS: Schema = {
    "lower": {"type": ["number", "null"], "description": "UNDER is raised below."},
    "upper": {"type": ["number", "null"], "description": "OVER is raised above."},
    "hysteresis": {
        "type": ["number", "null"],
        "minimum": 0,
        "description": "How far back inside a bound a value must be to clear the alarm.",
    },
    "minDuration": {
        "type": ["number", "null"],
        "minimum": 0,
        "maximum": LONGEST_SECONDS,
        "description": "Seconds of event time a value must be outside before the alarm is raised.",
    },
}
_CHANNEL: Schema = {name: {"type": "string", "minLength": 1} for name in ("meter", "metric", "attribute")}
_PLACE: Schema = {
    "type": "object",
    "required": ["partition", "offset"],
    "properties": {name: {"type": "integer", "minimum": 0} for name in ("partition", "offset")},
}


def document(version: str, anonymous: bool) -> Schema:
    """OpenAPI 3.1."""
    named = f"{THRESHOLDS}/{{meter}}/{{metric}}/{{attribute}}"
    paths = {
        THRESHOLDS: {"get": _operation("listThresholds", "Thresholds by name", _LISTED, {"200": _list("Threshold")})},
        named: {
            "parameters": [
                {
                    "name": name,
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "minLength": 1},
                    "description": "A name, or * for any. A / in it is %2F.",
                }
                for name in _CHANNEL
            ],
            "get": _operation("getThreshold", "The threshold of exactly this name", [], _ONE, ("404",)),
            "put": _operation("putThreshold", "Set a threshold; durable when answered", [], _ONE, ("404", "413", "415"))
            | {"requestBody": {"required": True, "content": {"application/json": {"schema": _ref("Bounds")}}}},
            "delete": _operation(
                "deleteThreshold",
                "Take a threshold away; durable when answered",
                [],
                {"204": {"description": "There is no such threshold any more."}},
                ("404",),
            ),
        },
        ALARMS: {"get": _operation("listAlarms", "Open alarms", _LISTED, {"200": _list("Alarm")}, ("404",))},
        "/openapi.json": {
            "get": {
                "operationId": "getDocument",
                "summary": "This document.",
                "security": [],
                "responses": {"200": _answer("This document.", {"type": "object"})},
            }
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Meterpipe alarms",
            "version": version,
            "description": "Thresholds of alarms, and the alarms that are open.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}, *([{}] if anonymous else [])],
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(text: str, schema: Schema, media_type: str = "application/json") -> Schema:
    return {"description": text, "content": {media_type: {"schema": schema}}}


def _list(name: str) -> Schema:
    items: Schema = {"type": "array", "maxItems": MOST, "items": _ref(name)}
    more = {"type": "boolean", "description": "Whether there are more than `limit`."}
    return _answer(
        f"{name}s.",
        {"type": "object", "required": ["items", "more"], "properties": {"items": items, "more": more}},
    )


def _operation(
    identity: str, summary: str, parameters: list[Schema], good: Schema, more: tuple[str, ...] = ()
) -> Schema:
    texts = {
        "400": "Something is wrong with the request; `errors` says what.",
        "401": "No token, or none that is known.",
        "404": "There is no such thing; a path of another form, too.",
        "413": "The body is too large.",
        "415": "The body is no JSON by its Content-Type.",
        "503": "Kafka or Cassandra did not answer in time; try again after Retry-After.",
    }
    told = {status: texts[status] for status in sorted({"400", "401", "503", *more})}
    bad = {status: _answer(text, _ref("Problem"), "application/problem+json") for status, text in told.items()}
    return {"operationId": identity, "summary": summary, "parameters": parameters, "responses": {**good, **bad}}


_LISTED: list[Schema] = [
    {"name": "meter", "in": "query", "schema": {"type": "string"}, "description": "Only those of this meter."},
    {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL},
        "description": "The most to be given.",
    },
]
_ONE: Schema = {"200": _answer("The threshold.", _ref("Threshold"))}
_SCHEMAS: Schema = {
    "Bounds": {
        "type": "object",
        "additionalProperties": False,
        "description": "At least one of lower and upper; lower is not above upper.",
        "anyOf": [{"required": [name], "properties": {name: _NUMBER}} for name in ("lower", "upper")],
        "properties": _BOUNDS,
        "examples": [{"upper": 9.5, "hysteresis": 0.5, "minDuration": 300}],
    },
    "Threshold": {
        "type": "object",
        "required": [*_CHANNEL],
        "properties": {**_CHANNEL, **_BOUNDS, "record": {**_PLACE, "description": "Its record on the topic."}},
    },
    "Alarm": {
        "type": "object",
        "required": ["id", "kind", "raisedAt", *_CHANNEL],
        "properties": {
            **_CHANNEL,
            "id": {"type": "string"},
            "kind": {"enum": [kind.value for kind in AlarmKind]},
            "raisedAt": {"type": "string", "format": "date-time"},
            "value": {"type": ["number", "null"]},
            "limit": {"type": ["number", "null"]},
            "threshold": {"oneOf": [_PLACE, {"type": "null"}]},
            "reading": {"oneOf": [_PLACE, {"type": "null"}]},
        },
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457.",
        "required": ["title", "status", "detail"],
        "properties": {
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["detail"],
                    "properties": {"detail": {"type": "string"}, "field": {"type": "string"}, "value": {}},
                },
            },
        },
    },
}
