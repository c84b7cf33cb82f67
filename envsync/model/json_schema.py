"""The part of JSON Schema that our own schemas use, for documents that come from elsewhere.

A word that is not known here is an error of the schema, not something to pass over.
Source: https://json-schema.org/draft/2020-12/json-schema-validation
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_NOTES = {"$schema", "$id", "$defs", "title", "description", "examples", "default"}


def schema_faults(document: object, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a document, each with its place: ``environments[0].state: …``."""
    yield from _faults(document, schema, schema, "")


def _faults(
    value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], at: str
) -> Iterator[str]:
    for word, wanted in schema.items():
        if word in _NOTES or word in {"properties", "additionalProperties"}:
            continue
        yield from _word(word, wanted, value, root, at)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for key, inner in value.items():
            place = f"{at}.{key[:40]}" if at else key[:40]
            if key in properties:
                yield from _faults(inner, properties[key], root, place)
            elif schema.get("additionalProperties") is False:
                yield f"{place}: is not known"


def _word(word: str, wanted: Any, value: Any, root: Mapping[str, Any], at: str) -> Iterator[str]:
    where = at or "the document"
    match word:
        case "type":
            # To Python a truth value is a number, to JSON it is not.
            right = isinstance(value, _TYPES[wanted])
            if not right or (isinstance(value, bool) and wanted != "boolean"):
                yield f"{where}: is no {wanted}"
        case "$ref":
            name = wanted.removeprefix("#/$defs/")
            yield from _faults(value, root["$defs"][name], root, at)
        case "enum":
            if value not in wanted:
                yield f"{where}: is none of {', '.join(map(str, wanted))}"
        case "anyOf":
            ways = [list(_faults(value, way, root, at)) for way in wanted]
            if all(ways):
                yield min(ways, key=len)[0] if value is not None else f"{where}: is null"
        case "required":
            if isinstance(value, dict):
                yield from (f"{where}: has no {key}" for key in wanted if key not in value)
        case "pattern":
            # To Python `$` is also before a last line feed.
            exact = re.sub(r"\$$", r"\\Z", wanted)
            if isinstance(value, str) and re.search(exact, value) is None:
                yield f"{where}: is not of the form {wanted}"
        case "minimum":
            if isinstance(value, int) and value < wanted:
                yield f"{where}: is less than {wanted}"
        case "maximum":
            if isinstance(value, int) and value > wanted:
                yield f"{where}: is more than {wanted}"
        case "minItems":
            if isinstance(value, list) and len(value) < wanted:
                yield f"{where}: has fewer than {wanted} items"
        case "items":
            if isinstance(value, list):
                for number, item in enumerate(value):
                    yield from _faults(item, wanted, root, f"{at}[{number}]")
        case _:
            raise ValueError(f"{word} is not a word of JSON Schema that is known here")
