"""The mirrored database of one database: creates, changes, starts, stops and deletes it, and reads its status.

The app writes a mark into the description of its own mirrored databases, so that it recognises them without reading
every definition of the workspace. Source: "Mirrored database" in the Fabric REST reference.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain, count
from typing import Literal

import msgspec

from shared.desired.server_id import ServerId
from shared.fabric import workspace as workspaces
from shared.fabric.client import pages, read, write
from shared.fabric.connection import PREFIX
from shared.fabric.definition import PART, Definition, parse, parts
from shared.fabric.facts import MirrorStatus, TableStatus
from shared.fabric.refusals import ErrorResponse, ListNotFound
from shared.platform import logs
from shared.platform.errors import MirrorError, NotFound, Unavailable
from shared.platform.reasons import Reason

LONGEST_NAME = 200
LONGEST_DESCRIPTION = 256
NAME_TAKEN = "ItemDisplayNameAlreadyInUse"
"""Fabric's code for a display name that another item has."""
NAME_SECONDS = 300.0
"""How long the app waits until Fabric's list shows the item that has a name."""
DEFAULT_SCHEMA = "public"
"""The default schema of a mirrored database that the app creates. An existing one keeps its own."""
SETTLE_SECONDS = 5.0
"""Pause before the next look at a mirror that Fabric can't start or change yet, or whose owner is not clear yet."""
STARTABLE = frozenset({"Initialized", "Stopped"})
"""In any other status, even one that this version does not know, the mirror may be at work: a start would copy every
table again."""
AT_REST = STARTABLE | {"Initializing", "Stopping"}
"""In these statuses there is nothing to stop."""
_ANY_MARK = re.compile(rf"{PREFIX} \S+/.+ [0-9a-f]{{8}}")
"""The app's mark in a description, for whatever database."""

log = logs.logger(__name__)


class Marked(msgspec.Struct, frozen=True):
    """A mirrored database that has a mark of the app in its description."""

    id: str
    name: str
    """The display name."""


class MirrorResult(msgspec.Struct, frozen=True):
    """What `ensure` found or created."""

    id: str
    name: str
    """The display name."""
    change: Literal["created", "updated", "unchanged"]


class _Item(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    display_name: str = ""
    description: str | None = None


class _Part(msgspec.Struct, frozen=True):
    path: str = ""
    payload: str = ""


class _Parts(msgspec.Struct, frozen=True):
    parts: tuple[_Part, ...]


class _DefinitionAnswer(msgspec.Struct, frozen=True):
    definition: _Parts


class _Status(msgspec.Struct, frozen=True):
    status: str
    error: ErrorResponse | None = None


class _Metrics(msgspec.Struct, frozen=True, rename="camel"):
    processed_bytes: int | None = None
    processed_rows: int | None = None
    last_sync_date_time: datetime | None = None
    last_sync_latency_in_seconds: float | None = None


class _TableAnswer(msgspec.Struct, frozen=True, rename="camel"):
    status: str
    source_schema_name: str = ""
    source_table_name: str = ""
    metrics: _Metrics | None = None
    error: ErrorResponse | None = None


def display_name(template: str, server: ServerId, database: str) -> str:
    """The name that the template gives, with `_` for each character but letters, digits, `-`, `_` and space."""
    name = template.replace("{server}", server.name).replace("{database}", database)
    return re.sub(r"[^\w -]", "_", name).strip()[:LONGEST_NAME].strip() or PREFIX


async def ensure(
    workspace: str, target: Definition, *, name: str, mark: str, recorded: str = "", adopt: bool = True
) -> MirrorResult:
    """Create the mirrored database with the definition `target`, or update it where its definition differs.

    `name` is the display name of a new one; it gets a number where another item has the name. `mark` goes into the
    description (`connection.name_of`). `recorded` is the id that an earlier run noted. `adopt` says that the app takes
    over a mirrored database that a person created over the app's connection; over a new connection there is none.
    Values that `target` leaves open stay, such as a retention that a person set.

    Raises `Unavailable` while Fabric can't change the mirrored database, or while its list does not show yet whether
    the app's own mirrored database has the name.
    """
    item = await _recorded(workspace, recorded)
    if item is None:
        items = [item async for item in pages(_Item, _items(workspace))]
        item = next((item for item in items if item.id == recorded or mark in (item.description or "")), None)
        if item is None and adopt:
            item = await _over_the_connection(workspace, items, target)
        if item is None:
            return await _create(workspace, target, _free(name, items), mark)
    await _mark(workspace, item, mark)
    return MirrorResult(item.id, item.display_name, await _define(workspace, item.id, target))


async def marked(workspace: str, marks: Iterable[str]) -> dict[str, Marked]:
    """The mirrored database of the workspace that has each of the marks, as far as there is one. Raises
    `NotFound` where there is no such workspace."""
    items = [item async for item in pages(_Item, _items(workspace))]
    return {
        mark: Marked(item.id, item.display_name) for mark in marks for item in items if mark in (item.description or "")
    }


async def status(workspace: str, item: str) -> MirrorStatus:
    """The status of the mirror. Raises `NotFound` when there is no such item."""
    answer = await read(_Status, _path(workspace, item, "getMirroringStatus"), method="POST")
    return MirrorStatus(answer.status, _reason(answer.error))


async def tables_status(workspace: str, item: str) -> tuple[TableStatus, ...]:
    """The status of each table of the mirror."""
    path = _path(workspace, item, "getTablesMirroringStatus")
    return tuple([_table(answer) async for answer in pages(_TableAnswer, path, method="POST")])


async def start(workspace: str, item: str) -> bool:
    """Start the mirror, unless it runs or starts already: another start would copy every table again.

    Returns whether the function started it. Raises `Unavailable` while Fabric can't start it. The function stops a
    paused mirror first, since a capacity that is resumed does not resume its mirrors.
    """
    current = (await status(workspace, item)).status
    if current in ("Running", "Starting"):
        return False
    if current == "Paused":
        await write(msgspec.Raw, "POST", _path(workspace, item, "stopMirroring"))
    _require_startable(item, current, "started")
    await write(msgspec.Raw, "POST", _path(workspace, item, "startMirroring"))
    return True


async def stop(workspace: str, item: str) -> None:
    """Stop the mirror, unless it is gone or does not run. Raises `Unavailable` while Fabric
    contradicts itself about that."""
    try:
        if (await status(workspace, item)).status not in AT_REST:
            await write(msgspec.Raw, "POST", _path(workspace, item, "stopMirroring"))
    except NotFound:
        await confirm_gone(workspace, item)


async def delete(workspace: str, item: str) -> None:
    """Delete the mirrored database with its data in OneLake, unless it is gone already. Raises like `stop`."""
    try:
        await write(msgspec.Raw, "DELETE", _path(workspace, item), repeatable=True)
    except NotFound:
        await confirm_gone(workspace, item)


async def confirm_gone(workspace: str, item: str) -> None:
    """After an answer that there is no such item, raise `Unavailable` if Fabric lists it all the same: an item that
    was wrongly taken for deleted would go on mirroring, and nobody would know of it."""
    try:
        listed = item.lower() in {row.id.lower() async for row in pages(_Item, _items(workspace))}
    except ListNotFound:
        await workspaces.confirm_gone(workspace)
        return
    if listed:
        raise Unavailable(
            f"Fabric does not find mirrored database {item}, which the list of workspace {workspace} has.",
            code="MirrorNotReady",
            retry_after=SETTLE_SECONDS,
        )


async def _recorded(workspace: str, item: str) -> _Item | None:
    if not item:
        return None
    try:
        return await read(_Item, _path(workspace, item))
    except NotFound:
        return None


async def _over_the_connection(workspace: str, items: Sequence[_Item], target: Definition) -> _Item | None:
    """The mirrored database that a person created over the app's connection, if there is one."""
    unmarked = [item for item in items if not _ANY_MARK.search(item.description or "")]
    answers = await asyncio.gather(*(_is_over(workspace, item, target) for item in unmarked), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return next((item for item, is_over in zip(unmarked, answers, strict=True) if is_over), None)


async def _is_over(workspace: str, item: _Item, target: Definition) -> bool:
    """Whether the item mirrors the database of `target` over its connection.

    An item that is gone, or whose definition Fabric does not show, counts as somebody else's.
    """
    try:
        existing = await _definition(workspace, item.id)
    except MirrorError as error:
        if error.retryable:
            raise
        log.warning("The app ignores mirrored database %r of workspace %s: %s", item.display_name, workspace, error)
        return False
    way = (target.connection.lower(), target.database)
    return existing is not None and (existing.connection.lower(), existing.database) == way


async def _create(workspace: str, target: Definition, name: str, mark: str) -> MirrorResult:
    new = msgspec.structs.replace(target, default_schema=target.default_schema or DEFAULT_SCHEMA)
    body = {"displayName": name, "description": mark, "definition": parts(new)}
    try:
        item = await write(_Item, "POST", _items(workspace), body)
    except MirrorError as error:
        if error.code != NAME_TAKEN:
            raise
        raise Unavailable(  # perhaps an earlier try of this step created that item
            f"An item in the workspace {workspace} has the name {name!r}, and Fabric's list does not show it yet.",
            code=NAME_TAKEN,
            remedy="Rename that item, or set MIRROR_NAME to a template that gives other names.",
            retry_after=SETTLE_SECONDS,
            patience=NAME_SECONDS,
        ) from error
    return MirrorResult(item.id, name, "created")


def _free(name: str, items: Sequence[_Item]) -> str:
    """The name itself, or the name with the first number that no item has."""
    taken = {item.display_name.lower() for item in items}
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(free for free in names if free.lower() not in taken)


async def _mark(workspace: str, item: _Item, mark: str) -> None:
    """Write the mark into the item's description, behind the text of people."""
    description = item.description or ""
    if mark not in description:
        marked = f"{description[: LONGEST_DESCRIPTION - len(mark) - 1]} {mark}".lstrip()
        await write(msgspec.Raw, "PATCH", _path(workspace, item.id), {"description": marked}, repeatable=True)


async def _define(workspace: str, item: str, target: Definition) -> Literal["updated", "unchanged"]:
    existing = await _definition(workspace, item)
    if existing and target.satisfied_by(existing):
        return "unchanged"
    changed = target.over(existing) if existing else target
    if not existing or not changed.leads_as(existing):
        await stop(workspace, item)
        _require_startable(item, (await status(workspace, item)).status, "changed")
    body = {"definition": parts(changed)}
    await write(msgspec.Raw, "POST", _path(workspace, item, "updateDefinition"), body, repeatable=True)
    return "updated"


async def _definition(workspace: str, item: str) -> Definition | None:
    """The definition of an item; None when its source is not PostgreSQL."""
    answer = await read(_DefinitionAnswer, _path(workspace, item, "getDefinition"), method="POST")
    return parse(next((part.payload for part in answer.definition.parts if part.path == PART), ""), item)


def _require_startable(item: str, status: str, change: str) -> None:
    """Raise `Unavailable` unless Fabric can start or change the mirror in this status. `change`: "started"."""
    if status not in STARTABLE:
        raise Unavailable(
            f"The mirrored database {item} is {status}; it can be {change} when that is over.",
            code="MirrorNotReady",
            retry_after=SETTLE_SECONDS,
        )


def _items(workspace: str) -> str:
    return f"/workspaces/{workspace}/mirroredDatabases"


def _path(workspace: str, item: str, action: str = "") -> str:
    return f"{_items(workspace)}/{item}" + (f"/{action}" if action else "")


def _reason(error: ErrorResponse | None) -> Reason | None:
    return Reason(error.error_code or "UnknownError", error.text) if error else None


def _table(answer: _TableAnswer) -> TableStatus:
    metrics = answer.metrics or _Metrics()
    return TableStatus(
        schema=answer.source_schema_name,
        name=answer.source_table_name,
        status=answer.status,
        rows=metrics.processed_rows,
        bytes=metrics.processed_bytes,
        last_sync_at=metrics.last_sync_date_time,
        latency_seconds=metrics.last_sync_latency_in_seconds,
        error=_reason(answer.error),
    )
