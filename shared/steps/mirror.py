"""The Fabric side of one database: its connection, its mirrored database, and the way to Running."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from shared.decisions import start as deciding
from shared.decisions.answers import Advance
from shared.decisions.login import mark
from shared.desired.server_id import ServerId
from shared.desired.takeover import TableName
from shared.fabric import connection as fabric_connection
from shared.fabric import definition as definitions
from shared.fabric import mirror as mirrored_database
from shared.fabric.facts import MirrorStatus
from shared.platform import logs
from shared.platform.errors import Blocked, MirrorError, NotFound, Unavailable
from shared.platform.settings import settings
from shared.records import store
from shared.records.rows import MirrorRow
from shared.steps import credentials
from shared.steps.release import leave_workspace

log = logs.logger(__name__)


async def ensure_connection(id: ServerId, database: str, host: str, gateway: str, rotation: int) -> bool:
    """Make sure of the Fabric connection to a database, with what Fabric is to log in with. Returns whether it is new.

    `rotation`: the last new password or secret that was asked for. `gateway`: by which one Fabric comes in, or empty.
    One that comes in otherwise stays until the mirror is led to the new one.
    """
    row, given = await _row(id, database), await credentials.for_fabric(id)
    present = mark(rotation, given.version)
    connection = await fabric_connection.ensure(
        fabric_connection.name_of(id, database, gateway),
        host,
        database,
        given.credentials,
        gateway=gateway,
        recorded=row.connection,
        renewed=row.login != present,
    )
    superseded = tuple(sorted({*row.superseded, row.connection} - {connection.id, ""}))
    await store.update_mirror(id, database, connection=connection.id, login=present, superseded=superseded)
    if settings().fabric.connection_group:
        await fabric_connection.share(connection.id, settings().fabric.connection_group)
    return connection.created


async def ensure_mirror(
    id: ServerId, database: str, workspace: str, workspace_name: str, tables: Sequence[TableName], adopt: bool
) -> None:
    """Make sure of the mirrored database of a database. `tables`: the chosen ones; none: all of them. `adopt`: perhaps
    one that a person made over our connection.

    One in another workspace, where it was wanted before, is left first.
    """
    row = await _row(id, database)
    chosen = [(table.schema, table.name) for table in tables] or None
    if row.item and row.workspace != workspace:
        await leave_workspace(row)
        row = await store.update_mirror(id, database, workspace=workspace, item="", item_name="", phase="Preparing")
    made = await mirrored_database.ensure(
        workspace,
        definitions.definition(row.connection, database, chosen, retention_days=settings().fabric.retention_days),
        name=mirrored_database.display_name(settings().fabric.mirror_name, id, database),
        mark=fabric_connection.name_of(id, database),
        recorded=row.item,
        adopt=adopt,
    )
    changed = made.change != "unchanged"
    await store.update_mirror(
        id,
        database,
        phase="Preparing" if changed and row.phase == "Starting" else row.phase,  # no start of it stands any more
        workspace=workspace,
        workspace_name=workspace_name,
        item=made.id,
        item_name=made.name,
        everything=chosen is None,
        changed_at=datetime.now(UTC) if changed else row.changed_at,
    )
    await store.update_mirror(id, database, superseded=await _still_there(row.superseded))


async def restart(id: ServerId, database: str) -> None:
    """Stop the mirror and start it again, where that was asked for. Raises `Unavailable` until Fabric
    shows the stop."""
    row = await _row(id, database)
    if deciding.next_of_restart(row) == "stop":
        await mirrored_database.stop(row.workspace, row.item)
        row = await store.update_mirror(id, database, phase="Restarting", reseed=False, changed_at=datetime.now(UTC))
    if deciding.next_of_restart(row) == "nothing":
        return
    with suppress(NotFound):  # the mirrored database is made again when its database is prepared
        is_settling = deciding.is_settling(row, datetime.now(UTC))
        if not await mirrored_database.start(row.workspace, row.item) and is_settling:
            raise Unavailable(
                f"Fabric does not show yet that mirrored database {row.item_name!r} was stopped.",
                code="MirrorNotReady",
                retry_after=mirrored_database.SETTLE_SECONDS,
            )
    await store.update_mirror(id, database, phase="Starting", changed_at=datetime.now(UTC))


async def advance(id: ServerId, database: str, started: bool) -> Advance:
    """Look at the mirror and start it if it does not run. `started`: what the look before this one answered.

    A mirror whose restart was asked for is restarted. Once the mirror runs, the tables that Fabric can't mirror are
    noted with it, each with Fabric's own error. Raises `Blocked` when the mirror does not come up.
    """
    row = await _row(id, database)
    if deciding.is_restart_due(row):
        await restart(id, database)
        return Advance("Starting", running=False, started=True)
    now = datetime.now(UTC)
    started = deciding.is_started(row, started, now)
    status = await _status(row)
    match deciding.next_move(row, status, started, now):
        case deciding.GiveUp(reason):
            raise Blocked(reason.message, code=reason.code, remedy=reason.remedy)
        case deciding.Runs(why):
            log.info("%s", why)
            await _note_running(row)
        case deciding.Start(why):
            log.info("%s", why)
            if await mirrored_database.start(row.workspace, row.item):
                await store.update_mirror(id, database, phase="Starting", changed_at=datetime.now(UTC))
                started = True
            else:
                started = status is not None and status.status == "Starting"
        case deciding.Wait(why):
            log.debug("%s", why)
    word = status.status if status else ""
    return Advance(word, running=word == "Running", started=started)


async def _status(row: MirrorRow) -> MirrorStatus | None:
    try:
        return await mirrored_database.status(row.workspace, row.item)
    except NotFound:
        await mirrored_database.confirm_gone(row.workspace, row.item)
        return None


async def _note_running(row: MirrorRow) -> None:
    failing = deciding.table_reasons(await mirrored_database.tables_status(row.workspace, row.item))
    if (row.phase, row.reasons) != ("Running", failing):
        came_up = datetime.now(UTC) if row.phase == "Starting" else row.changed_at
        await store.update_mirror(row.server, row.database, phase="Running", reasons=failing, changed_at=came_up)


async def _still_there(connections: Iterable[str]) -> tuple[str, ...]:
    """Remove connections that nothing uses any more; those that could not be, which keep no mirror from starting."""
    left = []
    for connection in connections:
        try:
            await fabric_connection.remove(connection)
        except MirrorError:
            left.append(connection)
    return tuple(left)


async def _row(id: ServerId, database: str) -> MirrorRow:
    row = await store.read_mirror(id, database)
    if row is None:
        raise Unavailable(f"Nothing is recorded of database {database!r}; an earlier step has to run first.")
    return row
