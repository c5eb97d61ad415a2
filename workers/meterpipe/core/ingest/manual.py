"""The OpenAPI document as a page for people, without scripts or anything from elsewhere."""

import html
from collections.abc import Iterator, Mapping
from typing import Any

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#1b1f23}"
    "h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}code,pre{font:14px/1.5 ui-monospace,monospace}"
    "pre{background:#f4f6f8;padding:.8rem;overflow-x:auto}table{border-collapse:collapse;width:100%}"
    "td,th{border-bottom:1px solid #d8dee4;padding:.35rem .6rem;text-align:left;vertical-align:top}"
    "@media(prefers-color-scheme:dark){body{background:#14181c;color:#dde3e8}pre{background:#1f252b}"
    "td,th{border-color:#333b43}a{color:#7ab7ff}}"
)


def page(document: Mapping[str, Any]) -> str:
    """HTML of the document that `openapi.document` makes."""
    return "".join(_parts(document))


def _parts(document: Mapping[str, Any]) -> Iterator[str]:
    title = _text(document["info"]["title"])
    post = document["paths"]["/v1/readings"]["post"]
    reading = document["components"]["schemas"]["Reading"]
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body><h1>{title}</h1>'
    yield f'<p>{_text(document["info"]["description"])} <a href="openapi.json">OpenAPI document</a></p>'
    yield f"<h2>POST /v1/readings</h2><p>{_text(post['description'])}</p><pre>{_text(_example(reading))}</pre>"
    yield "<h2>Media types</h2><ul>"
    yield from (f"<li><code>{_text(media_type)}</code></li>" for media_type in post["requestBody"]["content"])
    yield "</ul><h2>Fields of a reading</h2><table><tr><th>field</th><th></th><th>meaning</th></tr>"
    for name, schema in reading["properties"].items():
        need = "required" if name in reading["required"] else ""
        meaning = _text(schema.get("description", ""))
        yield f"<tr><td><code>{_text(name)}</code></td><td>{need}</td><td>{meaning}</td></tr>"
    yield "</table><h2>Answers</h2><table>"
    for status, answer in post["responses"].items():
        yield f"<tr><td><code>{_text(status)}</code></td><td>{_text(answer['description'])}</td></tr>"
    yield "</table></body></html>"


def _example(reading: Mapping[str, Any]) -> str:
    fields = ",".join(
        f'"{name}":{value}' if isinstance(value, int | float) else f'"{name}":"{value}"'
        for name, value in reading["examples"][0].items()
    )
    return (
        'curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\\n'
        f"     -d '[{{{fields}}}]' https://…/v1/readings"
    )


def _text(text: str) -> str:
    return html.escape(text)
