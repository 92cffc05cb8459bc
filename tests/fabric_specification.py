"""Fabric's published specifications (OpenAPI 2.0), and where a request or an answer departs from them.

FABRIC_SPECS names the folder with the specifications (those of `platform`, `mirroredDatabase` and `common`); without
it, they are looked for in `shared/specs/fabric` beside the repository.

A JSON Schema validator reads them once they are put in its terms: a `discriminator` becomes a choice among the
definitions that derive from the one that has it, and members that no definition names are refused.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("FABRIC_SPECS") or ROOT.parent / "shared" / "specs" / "fabric").resolve()
needed = pytest.mark.skipif(
    not (FOLDER / "platform" / "swagger.json").is_file(),
    reason=f"Fabric's specifications are not in {FOLDER}; FABRIC_SPECS may name another folder",
)

BASE = "https://api.fabric.microsoft.com/v1"
SWAGGERS = ("platform/swagger.json", "mirroredDatabase/swagger.json")
MUST_HAVE_ITS_HEADERS = frozenset({201, 202, 429})
FORMATS = FormatChecker()
FORMATS.checks("date-time", raises=ValueError)(lambda text: bool(datetime.fromisoformat(text)))


def examples() -> list[Path]:
    """The files of every published example."""
    return sorted(path for path in FOLDER.rglob("*.json") if "examples" in path.parts)


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """A request and its answer, as they went over the wire. Header names of the answer are in lower case."""

    method: str
    url: str
    body: bytes
    status: int
    headers: dict[str, str]
    content: bytes


class Operation(msgspec.Struct, frozen=True):
    """An operation as the document `source` has it. `path` matches its addresses."""

    name: str
    method: str
    path: re.Pattern[str]
    document: dict[str, Any]
    source: Path

    def departures(self, exchange: Exchange) -> Iterator[str]:
        """Where the exchange is not as specified, in words."""
        parameters = {parameter["name"]: parameter for parameter in self.document.get("parameters", ())}
        found = self.path.fullmatch(urlsplit(exchange.url).path)
        assert found
        for name, value in found.groupdict().items():
            yield from self._departs(f"path parameter {name}", _schema_of(parameters[name]), unquote(value))
        yield from self._query(exchange, parameters)
        yield from self._body("request", exchange.body, next(_in_body(parameters.values()), None))
        responses = self.document["responses"]
        specified = responses.get(str(exchange.status)) or (responses["default"] if exchange.status >= 400 else None)
        if specified is None:
            yield f"status {exchange.status} is not specified; {', '.join(responses)} are"
            return
        yield from self._body(f"answer {exchange.status}", exchange.content, specified.get("schema"))
        if exchange.status in MUST_HAVE_ITS_HEADERS:
            yield from self._headers(exchange, specified.get("headers", {}))

    def _query(self, exchange: Exchange, parameters: dict[str, Any]) -> Iterator[str]:
        specified = {name: parameter for name, parameter in parameters.items() if parameter["in"] == "query"}
        given = parse_qs(urlsplit(exchange.url).query, keep_blank_values=True)
        missing = [n for n, parameter in specified.items() if parameter.get("required") and n not in given]
        yield from (f"query parameter {name} is missing" for name in missing)
        for name, values in given.items():
            if name in specified:
                yield from self._departs(f"query parameter {name}", _schema_of(specified[name]), _typed(values[0]))
            else:
                yield f"query parameter {name} is not specified"

    def _body(self, what: str, content: bytes, schema: dict[str, Any] | None) -> Iterator[str]:
        if schema is None:
            if content:
                yield f"{what} has a body, and none is specified: {content[:100]!r}"
        elif not content:
            yield f"{what} has no body"
        else:
            yield from self._departs(what, schema, json.loads(content))

    def _headers(self, exchange: Exchange, specified: dict[str, Any]) -> Iterator[str]:
        for name, schema in specified.items():
            value = exchange.headers.get(name.lower())
            if value is None:
                yield f"answer {exchange.status} lacks the header {name}"
            else:
                yield from self._departs(f"header {name}", _schema_of(schema), _typed(value))

    def _departs(self, what: str, schema: dict[str, Any], value: Any) -> Iterator[str]:
        wanted = _in_json_schema(schema, self.source)
        validator = Draft202012Validator(wanted, registry=_registry(), format_checker=FORMATS)
        errors = list(validator.iter_errors(value))
        if errors:  # a member that is wrong makes all beside it unevaluated
            error = max(errors, key=lambda each: (each.validator != "unevaluatedProperties", len(each.path)))
            yield f"{what}, {error.json_path}: {error.message[:300]}"


def departures(exchanges: list[Exchange]) -> list[str]:
    """Where any of them is not as specified: each with the operation that it is about."""
    return sorted({
        f"{operation.name}: {departure}"
        for exchange in exchanges
        for operation in [operation_of(exchange)]
        for departure in operation.departures(exchange)
    })  # fmt: skip


def operation_of(exchange: Exchange) -> Operation:
    """The operation that the exchange is about: where several addresses fit, the one with fewer placeholders."""
    path = urlsplit(exchange.url).path
    fitting = [each for each in operations() if each.method == exchange.method and each.path.fullmatch(path)]
    assert fitting, f"{exchange.method} {path} is not in the specifications"
    return min(fitting, key=lambda each: each.path.groups)


@cache
def operations() -> tuple[Operation, ...]:
    """Every operation of the documents that matter here."""
    return tuple(
        Operation(document["operationId"], method.upper(), _pattern(path), document, FOLDER / name)
        for name in SWAGGERS
        for path, methods in _read(FOLDER / name)["paths"].items()
        for method, document in methods.items()
    )


def _pattern(path: str) -> re.Pattern[str]:
    path = "/v1" + path.partition("?")[0]
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path)))


@cache
def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
    return document


@cache
def _registry() -> Registry[Any]:
    resources = [(path.as_uri(), _resource(path)) for path in FOLDER.rglob("*.json") if "examples" not in path.parts]
    return Registry().with_resources(resources)


def _resource(path: Path) -> Resource[Any]:
    definitions = _read(path).get("definitions", {})
    translated = {name: _in_json_schema(definition, path) for name, definition in definitions.items()}
    choices = {
        f"{name}:any": _choice(definition["discriminator"], dict(_derived(definitions, name)))
        for name, definition in definitions.items() if "discriminator" in definition
    }  # fmt: skip
    return Resource(contents={"definitions": translated | choices}, specification=DRAFT202012)


def _choice(discriminator: str, derived: dict[str, str]) -> dict[str, Any]:
    """One of the derived definitions (names by value), as the discriminator says."""
    ways = [
        {"if": {"properties": {discriminator: {"const": value}}}, "then": {"$ref": f"#/definitions/{name}"}}
        for value, name in derived.items()
    ]
    return {"required": [discriminator], "properties": {discriminator: {"enum": [*derived]}}, "allOf": ways}


def _derived(definitions: dict[str, Any], base: str) -> Iterator[tuple[str, str]]:
    """The discriminator's values, and the definition that derives from `base` for each."""
    for name, definition in definitions.items():
        if {"$ref": f"#/definitions/{base}"} in definition.get("allOf", ()):
            if "x-ms-discriminator-value" in definition:
                yield definition["x-ms-discriminator-value"], name
            yield from _derived(definitions, name)


def _in_json_schema(node: Any, source: Path, derives: bool = False) -> Any:
    """A schema of the document at `source` in JSON Schema. `derives`: the definition around it derives from it."""
    if isinstance(node, list):
        return [_in_json_schema(each, source, derives) for each in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "file":
        return {}  # whatever the operation's result is
    if not isinstance(node.get("$ref"), str):
        return {name: _in_json_schema(value, source, name == "allOf") for name, value in node.items()}
    place, _, pointer = node["$ref"].partition("#")
    target = (source.parent / place).resolve() if place else source
    if not target.is_file():
        return {}  # what that document has is not published with these
    if derives:
        return {"$ref": f"{target.as_uri()}#{pointer}"}
    choice = ":any" if "discriminator" in _read(target)["definitions"][pointer.rpartition("/")[2]] else ""
    return {"$ref": f"{target.as_uri()}#{pointer}{choice}", "unevaluatedProperties": False}


def _schema_of(parameter: dict[str, Any]) -> dict[str, Any]:
    return {name: parameter[name] for name in ("type", "format", "enum") if name in parameter}


def _typed(text: str) -> Any:
    """A value of a query or header as JSON has it: booleans and numbers are no strings there."""
    return json.loads(text) if re.fullmatch(r"true|false|\d+", text) else text


def _in_body(parameters: Any) -> Iterator[dict[str, Any]]:
    return (parameter["schema"] for parameter in parameters if parameter["in"] == "body")
