"""The Fabric side of one database: its connection, its mirrored database, and the way to Running."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec

from shared.decisions.health import failing_tables
from shared.desired.server_id import ServerId
from shared.fabric import connection as fabric_connection
from shared.fabric import definition as definitions
from shared.fabric import mirror as mirrored_database
from shared.platform.errors import Blocked, MirrorError, NotFound, Unavailable
from shared.platform.reasons import Reason
from shared.platform.settings import settings
from shared.records import store
from shared.records.rows import MirrorRow
from shared.steps import credentials, login
from shared.steps.release import leave_workspace

SETTLED = timedelta(minutes=1)
"""After a stop or a start, Fabric may show for so long how the mirror was before."""
RESTARTING = "Restarting"
"""Phase of a mirror that was stopped in order to be started anew."""
MOST_NAMED = 20
TABLE_REMEDY = (
    "The server's readiness says what a table lacks. Where Fabric does not take it up by itself, restart the mirror."
)


class Advance(msgspec.Struct, frozen=True):
    """How far the mirror is: Fabric's word, whether it runs, and whether this run's start of it still stands."""

    status: str
    running: bool
    started: bool


async def ensure_connection(id: ServerId, database: str, host: str, gateway: str, rotation: int) -> bool:
    """Make sure of the Fabric connection to a database, with what Fabric is to log in with. Returns whether it is new.

    `rotation`: the last new password or secret that was asked for. `gateway`: by which one Fabric comes in, or empty.
    One that comes in otherwise stays until the mirror is led to the new one.
    """
    row, wanted = await _row(id, database), await credentials.for_fabric(id)
    found = await fabric_connection.ensure(
        fabric_connection.name_of(id, database, gateway),
        host,
        database,
        wanted.credentials,
        gateway=gateway,
        recorded=row.connection,
        renewed=row.login != login.mark(wanted, rotation),
    )
    superseded = tuple(sorted({*row.superseded, row.connection} - {found.id, ""}))
    given = login.mark(wanted, rotation)
    await store.update_mirror(id, database, connection=found.id, login=given, superseded=superseded)
    if settings().connection_group:
        await fabric_connection.share(found.id, settings().connection_group)
    return found.created


async def ensure_mirror(
    id: ServerId, database: str, workspace: str, workspace_name: str, tables: list[tuple[str, str]] | None, adopt: bool
) -> None:
    """Make sure of the mirrored database of a database: all of its tables, or the chosen ones. `adopt`: perhaps one
    that a person made over our connection.

    One in another workspace, where it was wanted before, is left first.
    """
    row = await _row(id, database)
    if row.item and row.workspace != workspace:
        await leave_workspace(row)
        row = await store.update_mirror(id, database, workspace=workspace, item="", item_name="", phase="Preparing")
    found = await mirrored_database.ensure(
        workspace,
        definitions.definition(row.connection, database, tables, retention_days=settings().retention_days),
        name=mirrored_database.display_name(settings().mirror_name, id, database),
        mark=fabric_connection.name_of(id, database),
        recorded=row.item,
        adopt=adopt,
    )
    changed = found.change != "unchanged"
    await store.update_mirror(
        id,
        database,
        phase="Preparing" if changed and row.phase == "Starting" else row.phase,  # no start of it stands any more
        workspace=workspace,
        workspace_name=workspace_name,
        item=found.id,
        item_name=found.name,
        everything=tables is None,
        changed_at=datetime.now(UTC) if changed else row.changed_at,
    )
    await store.update_mirror(id, database, superseded=await _still_there(row.superseded))


def is_restart_due(row: MirrorRow) -> bool:
    """Whether the mirror is to be stopped and started anew, or was stopped for that."""
    return bool(row.item) and (row.reseed or row.phase == RESTARTING)


async def restart(id: ServerId, database: str) -> None:
    """Stop the mirror and start it anew, where that was asked for. Raises `Unavailable` until Fabric has stopped it."""
    row = await _row(id, database)
    if row.reseed:
        await mirrored_database.stop(row.workspace, row.item)
        row = await store.update_mirror(id, database, phase=RESTARTING, reseed=False, changed_at=datetime.now(UTC))
    if row.phase != RESTARTING:
        return
    with suppress(NotFound):  # it is made anew when its database is prepared
        if not await mirrored_database.start(row.workspace, row.item) and _is_fresh(row):
            raise Unavailable(
                f"Fabric does not show yet that mirrored database {row.item_name!r} was stopped.",
                code="MirrorNotReady",
                retry_after=mirrored_database.SETTLE_SECONDS,
            )
    await store.update_mirror(id, database, phase="Starting", changed_at=datetime.now(UTC))


async def advance(id: ServerId, database: str, started: bool) -> Advance:
    """Look at the mirror and start it if it does not run. `started`: what the look before this one said.

    One that is to be seeded anew is restarted. Once it runs, the tables that Fabric can't mirror are noted with it,
    each with Fabric's own error. Raises `Blocked` when it does not come up: with Fabric's error, or since somebody
    stopped or deleted it. It is not started over and over, as each time seeds every table.
    """
    row = await _row(id, database)
    if is_restart_due(row):
        await restart(id, database)
        return Advance("Starting", running=False, started=True)
    started = started or (row.phase == "Starting" and _is_fresh(row))
    try:
        seen = await mirrored_database.status(row.workspace, row.item)
    except NotFound as error:
        raise Blocked(
            f"Mirrored database {row.item_name!r} was deleted while it started.",
            code="MirrorMissing",
            remedy="Somebody deleted it in Fabric. The hourly resync makes it anew, unless the database is released.",
        ) from error
    if seen.status == "Running":
        failing = await _failing(row)
        if (row.phase, row.reasons) != ("Running", failing):
            came_up = datetime.now(UTC) if row.phase == "Starting" else row.changed_at
            await store.update_mirror(id, database, phase="Running", reasons=failing, changed_at=came_up)
        return Advance(seen.status, running=True, started=started)
    if started and seen.error and seen.status not in ("Starting", "Initializing") and not _is_old(row, seen.error):
        raise Blocked(
            f"Mirrored database {row.item_name!r} did not start: {seen.error.message} ({seen.error.code}).",
            code="MirrorNotStarted",
            remedy="See its tables in the Fabric portal; a missing right or an unreachable server is the usual cause.",
        )
    if started and seen.status == "Paused":
        raise Blocked(
            f"Mirrored database {row.item_name!r} was paused while it started, as its capacity was.",
            code="MirrorPaused",
            remedy="Resume the capacity; the hourly resync then starts the mirror.",
        )
    if started and seen.status == "Stopped" and not _is_fresh(row):
        raise Blocked(
            f"Mirrored database {row.item_name!r} was stopped while it started.",
            code="MirrorStopped",
            remedy="Somebody stopped it in Fabric. The hourly resync starts it again, unless the database is released.",
        )
    if started:
        return Advance(seen.status, running=False, started=True)
    if await mirrored_database.start(row.workspace, row.item):
        await store.update_mirror(id, database, phase="Starting", changed_at=datetime.now(UTC))
        return Advance(seen.status, running=False, started=True)
    return Advance(seen.status, running=False, started=seen.status == "Starting")


async def _still_there(connections: Iterable[str]) -> tuple[str, ...]:
    """Remove connections that nothing uses any more; those that could not be, which keep no mirror from starting."""
    left = []
    for connection in connections:
        try:
            await fabric_connection.remove(connection)
        except MirrorError:
            left.append(connection)
    return tuple(left)


def _is_fresh(row: MirrorRow) -> bool:
    """Whether Fabric may still show how the mirror was before it was stopped or started."""
    return datetime.now(UTC) - row.changed_at <= SETTLED


def _is_old(row: MirrorRow, error: Reason) -> bool:
    """Whether this may be the error of an earlier start, which Fabric still shows."""
    return _is_fresh(row) and any(error.message in reason.message for reason in row.reasons)


async def _failing(row: MirrorRow) -> tuple[Reason, ...]:
    found = failing_tables(await mirrored_database.tables_status(row.workspace, row.item))
    named = tuple(msgspec.structs.replace(reason, remedy=TABLE_REMEDY) for reason in found[:MOST_NAMED])
    beyond = len(found) - len(named)
    return (*named, Reason("TablesFailing", f"{beyond} more tables fail.", TABLE_REMEDY)) if beyond else named


async def _row(id: ServerId, database: str) -> MirrorRow:
    row = await store.read_mirror(id, database)
    if row is None:
        raise Unavailable(f"Nothing is recorded of database {database!r}; an earlier step has to run first.")
    return row
