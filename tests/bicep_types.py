"""What Bicep's compiler would hold against a template, by a record of the resource types and functions that ours use.

The record names things as Bicep's own type index does: a path such as `properties.rules[].name`, with `.*` for the
values of a map, leads to a kind (string, int, bool, object, array, map), `required`, `read-only`, and the values,
limits or pattern that are allowed. Where a type's properties depend on its name, the name stands in brackets after the
type. A property that decides over those beside it (`endpointType`) allows the values whose properties are recorded.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.bicep_templates import EARLY, Template
from tests.bicep_values import Module, Names, Outputs, Resource, Some, Value, each

# Of every resource, and of Bicep rather than of the type.
BICEP = ("parent", "scope", "dependsOn")
KINDS = {bool: "bool", int: "int", str: "string", list: "array"}


class Checker:
    """Follows templates and notes what is wrong, what of the record they use, and what it could not know."""

    def __init__(self, record: dict[str, Any]):
        self.types, self.functions = record["types"], record["functions"]
        self.problems: dict[str, None] = {}
        self.unknown: dict[str, None] = {}
        self.used: dict[str, set[str]] = {}
        self.called: set[str] = set()

    def follow(self, path: Path) -> None:
        Template(path, self).follow()

    def wrong(self, where: str, what: str) -> None:
        self.problems[f"{where}: {what}"] = None

    def unused(self) -> list[str]:
        """What is recorded and no template uses; a required property counts with its object."""
        left = [kind for kind in self.types if kind not in self.used]
        for kind, paths in self.used.items():
            recorded = set(self.types[kind]["properties"]) - paths
            left += [
                f"{kind} {path}"
                for path in sorted(recorded)
                if "required" not in self._rule(kind, path) or parent(path) not in paths
            ]
        return left + [f"{name}()" for name in sorted(set(self.functions) - {"source"} - self.called)]

    def declared_type(self, written: str, name: str = "") -> str:
        """The type as it is recorded, where need be for a resource of this name."""
        kind, _, version = written.partition("@")
        found = next((one for one in (f"{kind}[{name}]@{version}", written) if one in self.types), written)
        if found in self.types:
            self._use(found, "")
        return found

    def property_of(self, where: str, resource: Resource, name: str) -> Value:
        path = join(resource.path, name)
        if path in EARLY:
            return Some("string")
        rule = self._rule(resource.type, path)
        if not rule:
            self.wrong(where, f"{resource.type} has no property {path} to read")
            return Some("any")
        self._use(resource.type, path)
        return Resource(resource.type, path) if rule["kind"] == "object" else Some(rule["kind"])

    def function(self, where: str, name: str, arguments: int) -> Value:
        if name not in self.functions:
            self.wrong(where, f"there is no function {name}()")
            return Some("any")
        self.called.add(name)
        least, most = self.functions[name]["arguments"]
        if arguments < least or (most is not None and arguments > most):
            self.wrong(where, f"{name}() takes {least} to {most} arguments, and is given {arguments}")
        return result(self.functions[name]["gives"])

    def accepts(self, where: str, wanted: Value, value: Value) -> None:
        """Whether a parameter or an output of a declared kind can have this value."""
        kinds = {kind_of(one) for one in each(wanted)}
        for one in each(value):
            if not {"any", kind_of(one)} & kinds and kind_of(one) != "any":
                self.wrong(where, f"is {' or '.join(sorted(kinds))}, and given {shown(one)}")

    def declaration(self, template: Template, symbol: str, body: Names, existing: bool) -> None:
        where, type = f"{template.path.name}: {symbol}", template.find(symbol).type
        if type not in self.types:
            self.wrong(where, f"{type} is not recorded")
            return
        self._placed(where, template, symbol, type, body)
        self._object(where, type, "", {name: value for name, value in body.items() if name not in BICEP}, existing)

    def _placed(self, where: str, template: Template, symbol: str, type: str, body: Names) -> None:
        """A resource stands where its type may: below its parent, on a resource, or in the template's scope."""
        scopes, above = self.types[type]["scopes"], kind(type).rpartition("/")[0]
        if "/" in above and "::" not in symbol:
            parents = [one for one in each(body.get("parent")) if isinstance(one, Resource)]
            if [kind(one.type) for one in parents] != [above]:
                self.wrong(where, f"needs a parent of the type {above}")
        if "scope" in body:
            if "extension" not in scopes or not all(isinstance(one, Resource) for one in each(body["scope"])):
                self.wrong(where, f"{type} can't stand on the scope that it is given")
        elif template.scope not in scopes:
            self.wrong(where, f"{type} belongs to {' or '.join(scopes)}, and the template to a {template.scope}")

    def _object(self, where: str, type: str, path: str, value: Names, partial: bool = False) -> None:
        """`partial`: the object is there already, and named by some of its properties."""
        mapped = bool(path) and self._rule(type, path)["kind"] == "map"
        below = {join(path, "*" if mapped else name): one for name, one in value.items()}
        for property, one in below.items():
            self._property(where, type, property, one)
        for property in self.types[type]["properties"]:
            required = parent(property) == path and "required" in self._rule(type, property)
            if required and property not in below and not partial:
                self.wrong(where, f"{property} is required")

    def _property(self, where: str, type: str, path: str, value: Value) -> None:
        rule = self._rule(type, path)
        if not rule:
            self.wrong(where, f"{type} has no property {path}")
            return
        self._use(type, path)
        if "read-only" in rule:
            self.wrong(where, f"{path} is read-only")
        for one in each(value):
            self._value(where, type, path, one)

    def _value(self, where: str, type: str, path: str, value: Value) -> None:
        rule, found = self._rule(type, path), kind_of(value)
        wanted = "object" if rule["kind"] == "map" else rule["kind"]
        if value is None:
            if "required" in rule:
                self.wrong(where, f"{path} is required, and null")
        elif found not in ("any", wanted):
            self.wrong(where, f"{path} is {rule['kind']}, and given {shown(value)}")
        elif isinstance(value, dict):
            self._object(where, type, path, value)
        elif isinstance(value, list):
            for one in value:
                self._property(where, type, f"{path}[]", one)
        elif not isinstance(value, Some):
            if expected := outside(rule, value):
                self.wrong(where, f"{path} is {shown(value)}, and has to be {expected}")
        elif found in ("any", "object", "array") or "allowed" in rule:
            self.unknown[f"{where}: {path}"] = None

    def _rule(self, type: str, path: str) -> dict[str, Any]:
        """A recorded fact: from "string required" come the kind and a flag. Empty: there is none."""
        written = self.types.get(type, {}).get("properties", {}).get(path)
        if written is None:
            return {}
        rule = {"is": written} if isinstance(written, str) else written
        kind, *flags = rule["is"].split()
        return {"kind": kind, **dict.fromkeys(flags, True), **rule}

    def _use(self, type: str, path: str) -> None:
        self.used.setdefault(type, {""}).add(path)
        if path:
            self._use(type, parent(path))


def outside(rule: dict[str, Any], value: Any) -> str:
    """What a literal would have to be instead; empty if it is fine."""
    if "allowed" in rule and value not in rule["allowed"]:
        return "one of " + ", ".join(map(repr, rule["allowed"]))
    if "pattern" in rule and not re.search(rule["pattern"], value):
        return f"like {rule['pattern']}"
    for limit, size in (("length", len(str(value))), ("range", value)):
        least, most = rule.get(limit, (None, None))
        if (least is not None and size < least) or (most is not None and size > most):
            return f"of a {limit} from {least} to {most}"
    return ""


def kind(type: str) -> str:
    """The type without its version, and without the name that it is recorded for."""
    return re.sub(r"(\[.*\])?@.*", "", type)


def join(path: str, name: str) -> str:
    return f"{path}.{name}".removeprefix(".") if re.fullmatch(r"\w+|\*", name) else f"{path}['{name}']"


def parent(path: str) -> str:
    return re.sub(r"(^\w+|\.[\w*]+|\['[^']+'\]|\[\])$", "", path)


def result(gives: Any) -> Value:
    """The value of a function, as the record writes it."""
    if isinstance(gives, str):
        return Some(gives)
    return [result(one) for one in gives] if isinstance(gives, list) else {key: result(gives[key]) for key in gives}


def kind_of(value: Value) -> str:
    if isinstance(value, Some):
        return value.kind
    if isinstance(value, dict | Resource | Module | Outputs):
        return "object"
    return "null" if value is None else KINDS[type(value)]


def shown(value: Value) -> str:
    return repr(value) if isinstance(value, str | int) else kind_of(value)
