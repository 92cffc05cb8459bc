"""The mirrored database of one database: ensured, started, stopped, removed, and how it is doing.

Ours carry a mark in their description, so that they are found without reading every definition of the workspace.
Source: "Mirrored database" in the Fabric REST reference.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime
from itertools import chain, count
from typing import Literal

import msgspec

from shared.desired.server_id import ServerId
from shared.fabric.client import ErrorResponse, pages, read, write
from shared.fabric.connection import PREFIX
from shared.fabric.definition import PART, Definition, parse, parts
from shared.fabric.facts import MirrorStatus, TableStatus
from shared.platform import logs
from shared.platform.errors import MirrorError, NotFound, Unavailable
from shared.platform.reasons import Reason

LONGEST_NAME = 200
LONGEST_DESCRIPTION = 256
NAME_TAKEN = "ItemDisplayNameAlreadyInUse"
NAME_SECONDS = 300.0
"""Seconds within which Fabric's list is to show whose a name is that is taken."""
DEFAULT_SCHEMA = "public"
"""Of a mirrored database that is made here; one that is there keeps its own."""
SETTLE_SECONDS = 5.0
"""Pause before a mirror is looked at again that can't be started, changed or told whose it is yet."""
STARTABLE = frozenset({"Initialized", "Stopped"})
"""A mirror in any other status, also one that is not known yet, might be at work, and starting would seed it anew."""
_ANY_MARK = re.compile(rf"{PREFIX} \S+/.+ [0-9a-f]{{8}}")
"""A mark of ours in a description, be it of this database or of another one."""

log = logs.logger(__name__)


class MirrorResult(msgspec.Struct, frozen=True):
    """The item's id and display name, and what was done."""

    id: str
    name: str
    change: Literal["created", "updated", "unchanged"]


class _Item(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    display_name: str = ""
    description: str | None = None


class _Part(msgspec.Struct, frozen=True):
    path: str = ""
    payload: str = ""


class _Parts(msgspec.Struct, frozen=True):
    parts: tuple[_Part, ...] = ()


class _DefinitionAnswer(msgspec.Struct, frozen=True):
    definition: _Parts = _Parts()


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
    """The name that the template gives, with `_` for what is neither letter, digit, `-`, `_` nor space."""
    name = template.replace("{server}", server.name).replace("{database}", database)
    return re.sub(r"[^\w -]", "_", name).strip()[:LONGEST_NAME].strip() or PREFIX


async def ensure(
    workspace: str, wanted: Definition, *, name: str, mark: str, recorded: str = "", adopt: bool = True
) -> MirrorResult:
    """The mirrored database that is defined so; created when there is none, updated when it is defined otherwise.

    `name` is its display name if it has to be made (with a number, where that is taken), `mark` what its description
    says (`connection.name_of`), `recorded` the id that an earlier run noted. `adopt`: one that a person made over our
    connection is taken over; where that is new, there can be none. What is not wanted in any way stays as it is, as a
    retention that was set by hand. Raises `Unavailable` while it can't be changed, or while it can't be told whether a
    name is taken by ours.
    """
    item = await _recorded(workspace, recorded)
    if item is None:
        items = [item async for item in pages(_Item, _items(workspace))]
        item = next((item for item in items if mark in (item.description or "")), None)
        if item is None and adopt:
            item = await _over_our_connection(workspace, items, wanted)
        if item is None:
            return await _create(workspace, wanted, _free(name, items), mark)
    await _mark(workspace, item, mark)
    return MirrorResult(item.id, item.display_name, await _define(workspace, item.id, wanted))


async def status(workspace: str, item: str) -> MirrorStatus:
    """How the mirror is doing. Raises `NotFound` when the item is gone."""
    answer = await read(_Status, _path(workspace, item, "getMirroringStatus"), method="POST")
    return MirrorStatus(answer.status, _reason(answer.error))


async def tables_status(workspace: str, item: str) -> tuple[TableStatus, ...]:
    """How its tables are doing."""
    path = _path(workspace, item, "getTablesMirroringStatus")
    return tuple([_table(answer) async for answer in pages(_TableAnswer, path, method="POST")])


async def start(workspace: str, item: str) -> bool:
    """Start the mirror unless it runs or starts already: starting it again would seed every table anew.

    Returns whether it was started. Raises `Unavailable` while it can't be started yet. A paused one is stopped first,
    since resuming a capacity does not resume its mirrors.
    """
    now = (await status(workspace, item)).status
    if now in ("Running", "Starting"):
        return False
    if now == "Paused":
        await write(msgspec.Raw, "POST", _path(workspace, item, "stopMirroring"))
    _require_rest(item, now, "started")
    await write(msgspec.Raw, "POST", _path(workspace, item, "startMirroring"))
    return True


async def stop(workspace: str, item: str) -> bool:
    """Stop the mirror; one that is gone or does not run is fine. Returns whether it was running."""
    try:
        now = (await status(workspace, item)).status
        if now in ("Initializing", "Initialized", "Stopping", "Stopped"):
            return False
        await write(msgspec.Raw, "POST", _path(workspace, item, "stopMirroring"))
    except NotFound:
        return False
    return True


async def delete(workspace: str, item: str) -> None:
    """Delete the mirrored database and what it has in OneLake; one that is gone already is fine."""
    try:
        await write(msgspec.Raw, "DELETE", _path(workspace, item), repeatable=True)
    except NotFound:
        return


async def _recorded(workspace: str, item: str) -> _Item | None:
    if not item:
        return None
    try:
        return await read(_Item, _path(workspace, item))
    except NotFound:
        return None


async def _over_our_connection(workspace: str, items: Sequence[_Item], wanted: Definition) -> _Item | None:
    """One that was made by hand."""
    unmarked = [item for item in items if not _ANY_MARK.search(item.description or "")]
    looks = await asyncio.gather(*(_is_over(workspace, item, wanted) for item in unmarked), return_exceptions=True)
    for look in looks:
        if isinstance(look, BaseException):
            raise look
    return next((item for item, is_ours in zip(unmarked, looks, strict=True) if is_ours), None)


async def _is_over(workspace: str, item: _Item, wanted: Definition) -> bool:
    """Whether the item mirrors that database over that connection. One whose definition Fabric does not show, or that
    is gone, is taken for somebody else's."""
    try:
        found = await _definition(workspace, item.id)
    except MirrorError as error:
        if error.retryable:
            raise
        log.warning("Mirrored database %r of workspace %s is passed over: %s", item.display_name, workspace, error)
        return False
    way = (wanted.connection.lower(), wanted.database)
    return found is not None and (found.connection.lower(), found.database) == way


async def _create(workspace: str, wanted: Definition, name: str, mark: str) -> MirrorResult:
    new = msgspec.structs.replace(wanted, default_schema=wanted.default_schema or DEFAULT_SCHEMA)
    body = {"displayName": name, "description": mark, "definition": parts(new)}
    try:
        made = await write(_Item, "POST", _items(workspace), body)
    except MirrorError as error:
        if error.code != NAME_TAKEN:
            raise
        raise Unavailable(  # perhaps by ours, which another try of this step has just made
            f"The name {name!r} is taken in the workspace {workspace} by an item that its list does not show yet.",
            code=NAME_TAKEN,
            remedy="Rename the item that has it, or set MIRROR_NAME to a template that gives other names.",
            retry_after=SETTLE_SECONDS,
            patience=NAME_SECONDS,
        ) from error
    return MirrorResult(made.id, name, "created")


def _free(name: str, items: Sequence[_Item]) -> str:
    """The name, with the first number that makes it one that no item has."""
    taken = {item.display_name.lower() for item in items}
    return next(free for free in chain([name], (f"{name}-{n}" for n in count(2))) if free.lower() not in taken)


async def _mark(workspace: str, item: _Item, mark: str) -> None:
    """Let its description say that it is ours, after what people have written there."""
    written = item.description or ""
    if mark not in written:
        described = f"{written[: LONGEST_DESCRIPTION - len(mark) - 1]} {mark}".lstrip()
        await write(msgspec.Raw, "PATCH", _path(workspace, item.id), {"description": described}, repeatable=True)


async def _define(workspace: str, item: str, wanted: Definition) -> Literal["updated", "unchanged"]:
    existing = await _definition(workspace, item)
    if existing and wanted.satisfied_by(existing):
        return "unchanged"
    changed = wanted.over(existing) if existing else wanted
    if not existing or not changed.leads_as(existing):
        await stop(workspace, item)
        _require_rest(item, (await status(workspace, item)).status, "changed")
    body = {"definition": parts(changed)}
    await write(msgspec.Raw, "POST", _path(workspace, item, "updateDefinition"), body, repeatable=True)
    return "updated"


async def _definition(workspace: str, item: str) -> Definition | None:
    """The definition of an item; None when it is not of PostgreSQL."""
    answer = await read(_DefinitionAnswer, _path(workspace, item, "getDefinition"), method="POST")
    return parse(next((part.payload for part in answer.definition.parts if part.path == PART), ""), item)


def _require_rest(item: str, now: str, to_be: str) -> None:
    if now not in STARTABLE:
        raise Unavailable(
            f"The mirrored database {item} is {now}; it can be {to_be} when that is over.",
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
