"""The mirrored database of one database: ensured, started, stopped, removed, and how it is doing.

Ours carry a mark in their description, so that they are found without reading every definition of the workspace.
Source: "Mirrored database" in the Fabric REST reference.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

import msgspec

from shared.fabric.client import ErrorResponse, pages, read, write
from shared.fabric.connection import PREFIX
from shared.fabric.definition import PART, Definition, parse, parts
from shared.platform.errors import Blocked, Conflict, MirrorError, NotFound, Unavailable
from shared.platform.reasons import Reason
from shared.platform.server_id import ServerId

LONGEST_NAME = 200
NAME_TAKEN = "ItemDisplayNameAlreadyInUse"
SETTLE_SECONDS = 5.0
"""Pause before a mirror is looked at again that can't be started yet."""
STARTABLE = frozenset({"Initialized", "Stopped"})
"""A mirror in any other status, also one that is not known yet, might be at work, and starting would seed it anew."""


class MirrorResult(msgspec.Struct, frozen=True):
    """The item's id and display name, and what was done."""

    id: str
    name: str
    change: Literal["created", "updated", "unchanged"]


class MirrorStatus(msgspec.Struct, frozen=True):
    """Fabric's word for the mirror (Initializing, Initialized, Starting, Running, Paused, Stopping, Stopped, …)."""

    status: str
    error: Reason | None = None


class TableStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one table is doing. `rows` and `bytes` are what was processed so far; None: Fabric doesn't say."""

    schema: str
    name: str
    status: str
    rows: int | None = None
    bytes: int | None = None
    last_sync_at: datetime | None = None
    latency_seconds: float | None = None
    error: Reason | None = None


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


async def find(workspace: str, mark: str, connection: str, database: str) -> tuple[str, str] | None:
    """Id and name of the mirrored database of a database: ours by its mark, or one made by hand over our connection."""
    unmarked: list[_Item] = []
    async for item in pages(_Item, f"/workspaces/{workspace}/mirroredDatabases"):
        if (item.description or "") == mark:
            return item.id, item.display_name
        if not (item.description or "").startswith(f"{PREFIX} "):
            unmarked.append(item)
    for item in unmarked:
        found = await _definition(workspace, item.id)
        if found and (found.connection.lower(), found.database) == (connection.lower(), database):
            return item.id, item.display_name
    return None


async def ensure(workspace: str, wanted: Definition, *, name: str, mark: str, recorded: str = "") -> MirrorResult:
    """The mirrored database that is defined so; created when there is none, updated when it is defined otherwise.

    `name` is its display name if it has to be made (with a number, where that is taken), `mark` what its description
    says (`connection.name_of`), `recorded` the id that an earlier run noted. What is not wanted in any way stays as it
    is, as a retention that was set by hand.
    """
    found = await _recorded(workspace, recorded) or await find(workspace, mark, wanted.connection, wanted.database)
    if found is None:
        return await _create(workspace, wanted, name, mark)
    id, found_name = found
    existing = await _definition(workspace, id)
    if existing and wanted.satisfied_by(existing):
        return MirrorResult(id, found_name, "unchanged")
    if existing and (existing.connection.lower(), existing.database) != (wanted.connection.lower(), wanted.database):
        await stop(workspace, id)  # a running mirror can't be led to another source
    body = {"definition": parts(wanted.over(existing) if existing else wanted)}
    await write(msgspec.Raw, "POST", _path(workspace, id, "updateDefinition"), body, repeatable=True)
    return MirrorResult(id, found_name, "updated")


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
    if now not in STARTABLE:
        raise Unavailable(
            f"The mirrored database {item} is {now}; it can be started when that is over.",
            code="MirrorNotReady",
            retry_after=SETTLE_SECONDS,
        )
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


async def _create(workspace: str, wanted: Definition, name: str, mark: str) -> MirrorResult:
    items = f"/workspaces/{workspace}/mirroredDatabases"
    taken = {item.display_name.lower() async for item in pages(_Item, items)}
    for number in range(1, len(taken) + 3):
        unique = name if number == 1 else f"{name}-{number}"
        if unique.lower() in taken:
            continue
        body = {"displayName": unique, "description": mark, "definition": parts(wanted)}
        try:
            made = await write(_Item, "POST", items, body)
        except MirrorError as error:
            if error.code != NAME_TAKEN:
                raise
            continue
        return MirrorResult(made.id, unique, "created")
    raise Conflict(
        f"Every name like {name!r} is taken in the workspace {workspace}.",
        code=NAME_TAKEN,
        remedy="Set MIRROR_NAME to a template that gives other names.",
    )


async def _recorded(workspace: str, item: str) -> tuple[str, str] | None:
    if not item:
        return None
    try:
        found = await read(_Item, _path(workspace, item))
    except NotFound:
        return None
    return found.id, found.display_name


async def _definition(workspace: str, item: str) -> Definition | None:
    """The definition of an item; None when it has none that can be read, or not of PostgreSQL."""
    try:
        answer = await read(_DefinitionAnswer, _path(workspace, item, "getDefinition"), method="POST")
    except (Blocked, NotFound):
        return None
    payload = next((part.payload for part in answer.definition.parts if part.path == PART), "")
    return parse(payload)


def _path(workspace: str, item: str, action: str = "") -> str:
    return f"/workspaces/{workspace}/mirroredDatabases/{item}" + (f"/{action}" if action else "")


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
