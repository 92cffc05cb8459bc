"""Which mirrors a portal or a person asks for, in which order, and how many on a page. Pure."""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from shared.decisions.health import SEVERITY
from shared.desired import server_id
from shared.platform.errors import InvalidInput
from shared.records.glance import MirrorGlance
from shared.records.rows import Level

LEVELS: tuple[Level, ...] = SEVERITY[::-1]
"""The worst first, as portals and pages show them."""
CONTINUATION = "the continuation of the last answer"
"""The expected value of the parameter with this name, for a message."""
_RANK = {str(level): rank for rank, level in enumerate(LEVELS)}

type Key = tuple[Any, ...]
"""The place of an entry in a list: strings and numbers that sort."""


class Query(msgspec.Struct, frozen=True):
    """A selection of mirrors. A field that is empty selects all."""

    health: Level | None = None
    server: str = ""
    """The server's name or resource id."""
    workspace: str = ""
    search: str = ""
    """Words. Each has to be in the id of the server, the name of the database or of the workspace, the id of the
    workspace or of the mirrored database, the level, or the reasons."""


class Chosen(msgspec.Struct, frozen=True):
    """The mirrors that a query selects."""

    mirrors: list[MirrorGlance]
    """The worst first."""
    counts: dict[str, int]
    """How many mirrors of each level fit the rest of the query."""
    servers: int
    """How many servers those mirrors have."""


def read(parameters: Mapping[str, str]) -> Query:
    """The query in an address. Raises `InvalidInput`, which names the parameter and the expected value."""
    texts = {name: parameters.get(name, "").strip() for name in Query.__struct_fields__}
    level = next((level for level in LEVELS if level.lower() == texts["health"].lower()), None)
    if texts["health"] and level is None:
        raise refuse("health", texts["health"], f"one of {', '.join(LEVELS)}")
    server = texts["server"].lower()
    if "/" in server:
        server = str(server_id.parse(server)).lower()
    workspace = guid("workspace", texts["workspace"]) if texts["workspace"] else ""
    return Query(level, server, workspace, texts["search"])


def choose(query: Query, mirrors: Sequence[MirrorGlance]) -> Chosen:
    """The mirrors that the query selects, in order."""
    of_all_levels = [mirror for mirror in mirrors if _fits(query, mirror)]
    counts = dict.fromkeys(map(str, LEVELS), 0)
    for mirror in of_all_levels:
        counts[mirror.level] = counts.get(mirror.level, 0) + 1
    of_level = [mirror for mirror in of_all_levels if query.health in (None, mirror.level)]
    return Chosen(sorted(of_level, key=place), counts, len({mirror.server.lower() for mirror in of_all_levels}))


def place(mirror: MirrorGlance) -> Key:
    """The place of a mirror in the list: by level, the worst first, then by server and database."""
    rank = _RANK.get(mirror.level, len(_RANK))
    return rank, mirror.server_name.lower(), mirror.database, mirror.server.lower(), mirror.item


def after[T](entries: Sequence[T], place: Callable[[T], Key], continuation: str, limit: int) -> tuple[list[T], str]:
    """The next `limit` entries after a continuation, and the next continuation; empty where no entry follows.

    `entries` are in the order of `place`. A continuation holds a place and not a number. So no page repeats an entry or
    leaves one out when other entries come and go between two pages. Raises `InvalidInput` for a continuation that this
    function did not return.
    """
    begin = 0
    if continuation:
        last = _decode(continuation, place(entries[0]) if entries else ())
        begin = bisect_right(entries, last, key=place)
    page = list(entries[begin : begin + limit])
    return page, _encode(place(page[-1])) if begin + limit < len(entries) else ""


def count(parameters: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A whole number from 1 to `most` in an address. Raises `InvalidInput`."""
    text = parameters.get(name, "").strip() or str(default)
    # the length is checked first, since int() raises for thousands of digits
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 0 < int(text) <= most):
        raise refuse(name, text, f"a whole number from 1 to {most}")
    return int(text)


def guid(name: str, text: str) -> str:
    """A GUID in lower case. Raises `InvalidInput`."""
    try:
        return str(UUID(text))
    except ValueError:
        raise refuse(name, text, "a GUID") from None


def refuse(name: str, value: str, expected: str) -> InvalidInput:
    """The error for a wrong parameter of an address."""
    shown = value if len(value) <= 100 else value[:100] + "…"
    return InvalidInput(
        f"The parameter {name} is {shown!r}, but {expected} was expected.",
        code="InvalidQuery",
        remedy=f"Correct {name} in the address, or leave it out.",
    )


def _fits(query: Query, mirror: MirrorGlance) -> bool:
    if query.workspace and mirror.workspace != query.workspace:
        return False
    if query.server and query.server not in (mirror.server_name.lower(), mirror.server.lower()):
        return False
    if not query.search:
        return True
    names = (mirror.server, mirror.database, mirror.workspace, mirror.workspace_name, mirror.item, mirror.level)
    text = " ".join((*names, *(f"{reason.code} {reason.message}" for reason in mirror.reasons))).lower()
    return all(word in text for word in query.search.lower().split())


def _encode(place: Key) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _decode(text: str, like: Key) -> Key:
    """The place in a continuation. Its parts have the types of the parts of `like`."""
    try:
        parts = msgspec.json.decode(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
    except (ValueError, RecursionError):
        parts = None
    if not isinstance(parts, list) or (like and list(map(type, parts)) != list(map(type, like))):
        raise refuse("continuation", text, CONTINUATION)
    return tuple(parts)
