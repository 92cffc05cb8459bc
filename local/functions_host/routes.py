"""Route templates of HTTP triggers, as ASP.NET Core reads them: `{x}`, `{x:int}`, `{x?}` and `{*rest}`."""

from __future__ import annotations

import re

import msgspec

from local.functions_host.paths import decoded

CONSTRAINTS = {
    "int": r"-?\d+",
    "long": r"-?\d+",
    "bool": "true|false",
    "alpha": "[a-z]+",
    "guid": "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
}
PARAMETER = re.compile(r"\{(\*{0,2})([^{}:?=*]+)(?::([^{}?]+))?(\?)?\}")


class RouteInvalid(Exception):
    """A template that this host cannot serve; the message says which part."""


class Route(msgspec.Struct, frozen=True):
    """A compiled template. `precedence` sorts routes, the most specific first."""

    pattern: re.Pattern[str]
    names: tuple[str, ...]
    precedence: tuple[int, ...]

    def match(self, path: str) -> dict[str, str] | None:
        """The route's parameters in `path` (percent-encoded, no query), or None. An encoded slash stays encoded."""
        text = decoded(re.sub("%2f", "%252F", path.removeprefix("/").removesuffix("/"), flags=re.IGNORECASE))
        match = self.pattern.fullmatch(text)
        if match is None:
            return None
        return {name: value for name, value in zip(self.names, match.groups(), strict=True) if value is not None}


def compile_route(template: str) -> Route:
    """Compile a template without leading or trailing slash. Raises `RouteInvalid`."""
    names: list[str] = []
    pattern, precedence = "", []
    for segment in template.strip("/").split("/"):
        whole = PARAMETER.fullmatch(segment)
        optional = whole is not None and (whole[4] or whole[1])
        text = _segment(segment, template, names)
        slash = "/" if pattern else ""
        pattern += f"(?:{slash}{text})?" if optional else slash + text
        precedence.append(_precedence(segment, whole))
    return Route(re.compile(pattern, re.IGNORECASE), tuple(names), tuple(precedence))


def _segment(segment: str, template: str, names: list[str]) -> str:
    text, end = "", 0
    for parameter in PARAMETER.finditer(segment):
        rest, name, constraint, _ = parameter.groups()
        if constraint and constraint not in CONSTRAINTS:
            constraints = ", ".join(CONSTRAINTS)
            raise RouteInvalid(
                f"the route '{template}' has the constraint '{constraint}'; this host knows {constraints}"
            )
        names.append(name)
        text += re.escape(segment[end : parameter.start()])
        text += f"({CONSTRAINTS[constraint] if constraint else '.*' if rest else '[^/]+?'})"
        end = parameter.end()
    literal = segment[end:]
    if "{" in literal or "}" in literal:
        raise RouteInvalid(f"the route '{template}' has the segment '{segment}', which is not a route parameter")
    return text + re.escape(literal)


def _precedence(segment: str, whole: re.Match[str] | None) -> int:
    if "{" not in segment:
        return 1
    if whole is None or whole[3]:
        return 2
    return 5 if whole[1] else 3
