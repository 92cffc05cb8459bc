"""Which mirrors somebody wants to see, in which order and how many at a time. Pure."""

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
"""Worst first, as they are shown."""
_RANK = {str(level): rank for rank, level in enumerate(LEVELS)}

type Key = tuple[Any, ...]
"""Where something stands in a list: strings and numbers."""


class Query(msgspec.Struct, frozen=True):
    """What is asked for; empty: no matter which.

    `server` is a server's name or resource id; every word of `search` is in the server's or the database's name, the
    workspace, the mirrored database's id, or the reasons.
    """

    health: Level | None = None
    server: str = ""
    workspace: str = ""
    search: str = ""


class Chosen(msgspec.Struct, frozen=True):
    """The mirrors that were asked for, worst first.

    `counts` are by level, and `servers` counts their servers, whatever level was asked for.
    """

    mirrors: list[MirrorGlance]
    counts: dict[str, int]
    servers: int


def read(parameters: Mapping[str, str]) -> Query:
    """The query in an address. Raises `InvalidInput` that names the parameter and what was expected."""
    given = {name: parameters.get(name, "").strip() for name in Query.__struct_fields__}
    level = next((level for level in LEVELS if level.lower() == given["health"].lower()), None)
    if given["health"] and level is None:
        raise refuse("health", given["health"], f"one of {', '.join(LEVELS)}")
    server = given["server"].lower()
    if "/" in server:
        server = str(server_id.parse(server)).lower()
    workspace = guid("workspace", given["workspace"]) if given["workspace"] else ""
    return Query(level, server, workspace, given["search"])


def choose(query: Query, mirrors: Sequence[MirrorGlance]) -> Chosen:
    """What the query asks for, in order."""
    found = [mirror for mirror in mirrors if _fits(query, mirror)]
    counts = dict.fromkeys(map(str, LEVELS), 0)
    for mirror in found:
        counts[mirror.level] = counts.get(mirror.level, 0) + 1
    wanted = [mirror for mirror in found if query.health in (None, mirror.level)]
    return Chosen(sorted(wanted, key=place), counts, len({mirror.server.lower() for mirror in found}))


def place(mirror: MirrorGlance) -> Key:
    """Worst first, then by server and database."""
    rank = _RANK.get(mirror.level, len(_RANK))
    return rank, mirror.server_name.lower(), mirror.database, mirror.server.lower(), mirror.item


def after[T](found: Sequence[T], place: Callable[[T], Key], continuation: str, limit: int) -> tuple[list[T], str]:
    """The next `limit` behind a continuation, and the continuation behind those: empty where nothing follows.

    `found` is in the order of `place`. A continuation names a place and not a count, so that nothing is shown twice
    or left out when others come and go meanwhile. Raises `InvalidInput` for one that was not given out here.
    """
    begin = 0
    if continuation:
        last = _decode(continuation, place(found[0]) if found else ())
        begin = bisect_right(found, last, key=place)
    shown = list(found[begin : begin + limit])
    return shown, _encode(place(shown[-1])) if begin + limit < len(found) else ""


def count(parameters: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A whole number from 1 to `most` in an address. Raises `InvalidInput`."""
    text = parameters.get(name, "").strip() or str(default)
    # int() raises for thousands of digits
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 0 < int(text) <= most):
        raise refuse(name, text, f"a whole number from 1 to {most}")
    return int(text)


def guid(name: str, text: str) -> str:
    """A GUID in lower case. Raises `InvalidInput`."""
    try:
        return str(UUID(text))
    except ValueError:
        raise refuse(name, text, "a GUID") from None


def refuse(name: str, found: str, expected: str) -> InvalidInput:
    """The error that says which parameter of an address is wrong."""
    shown = found if len(found) <= 100 else found[:100] + "…"
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
    """The place in a continuation, made of the same types as `like`."""
    try:
        found = msgspec.json.decode(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
    except ValueError:
        found = None
    if not isinstance(found, list) or (like and list(map(type, found)) != list(map(type, like))):
        raise refuse("continuation", text, "what the last answer gave as its continuation")
    return tuple(found)
