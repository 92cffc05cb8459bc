"""The way back: mirrors stopped, tables and rights given back, the role dropped, the password deleted.

Server parameters whose change needs a restart stay as they are. Each step finds out what is still to be done.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from shared.decisions import outcome
from shared.decisions import parameters as server_parameters
from shared.decisions.login import password_name
from shared.desired.server_id import ServerId
from shared.fabric import connection as fabric_connection
from shared.fabric import mirror as mirrored_database
from shared.platform import secrets
from shared.platform.errors import Blocked, NotAllowed, NotFound
from shared.platform.reasons import Reason, short
from shared.platform.settings import settings
from shared.records import store
from shared.records.rows import MirrorRow, ServerRow
from shared.source import default_privileges, event_triggers, parameter_list, role, slots, traces
from shared.source import server as flexible_server
from shared.source.connection import connect
from shared.source.facts import MAINTENANCE_DATABASE
from shared.source.traces import Traces
from shared.steps.undo import undo


async def release_mirror(id: ServerId, database: str) -> None:
    """Stop the mirror of a database, keep or delete the mirrored database by the setting, and remove its connection."""
    row = await store.read_mirror(id, database)
    if row is None:
        return
    await store.update_mirror(id, database, phase="Releasing", reasons=())
    await _leave_fabric(row)


async def release_database(id: ServerId, database: str) -> None:
    """Give a database back to its owners, exactly as it was. A database that was dropped meanwhile is fine.

    Raises `Unavailable` when Azure does not find the server, and keeps the row: only the row knows the owners.
    """
    row = await store.read_mirror(id, database)
    if row is None:
        return
    name = settings().login.role
    host = (await flexible_server.glance(id)).host  # the token goes nowhere else, whatever the row says
    try:
        async with connect(host, database) as connection, event_triggers.guarded(connection):
            await slots.stop_publications(connection, name)
            await undo(connection, row)
            await role.release_database(connection, name)
    except NotFound:
        pass
    await store.delete_mirror(id, database)


async def leave_workspace(row: MirrorRow) -> None:
    """Stop the mirror, and keep or delete the mirrored database by the setting."""
    if row.item:
        await mirrored_database.stop(row.workspace, row.item)
        if settings().fabric.release_mirror == "delete":
            await mirrored_database.delete(row.workspace, row.item)


async def release_server(id: ServerId) -> tuple[Reason, ...]:
    """Drop the fabric role and delete its password. Returns what is left as it is.

    Raises `Unavailable` when Azure does not find the server, so that no role is taken for dropped.
    """
    row = await store.read_server(id)
    if row is not None and row.role:
        host = (await flexible_server.glance(id)).host
        async with connect(host, MAINTENANCE_DATABASE) as connection:
            await _reset_default_privileges(host, await traces.look(connection, row.role), row.role)
            await role.drop_role(connection, row.role, recorded=True)
        await store.update_server(id, role="")
    await secrets.delete(password_name(id))
    return short((*await _parameters_left(id, row), *(row.left if row else ())))


async def _reset_default_privileges(host: str, left: Traces | None, name: str) -> None:
    """Reset the default privileges of the role wherever its members set some, also in databases without a mirror.

    A database that lets the app not in is named by the refusal to drop the role.
    """
    for database in left.databases if left else ():
        with suppress(Blocked, NotFound):
            async with connect(host, database) as connection, event_triggers.guarded(connection):
                await default_privileges.reset(connection, name)


async def _parameters_left(id: ServerId, row: ServerRow | None) -> tuple[Reason, ...]:
    """The parameters that the app set. Where no run is recorded that could have, the server itself is asked."""
    if row is not None and row.baseline_worker_processes is not None:
        return outcome.left(row.parameters)
    return outcome.left(server_parameters.set_by_somebody(await parameter_list.parameters(id)), recorded=False)


async def leave_deleted_server(id: ServerId) -> None:
    """The server was deleted: leave Fabric by the same setting. The rows and the password stay, as they are what a
    server that is there again is given back by; `forget_server` deletes them after HISTORY_DAYS."""
    for row in await store.list_mirrors_of(id):
        await _leave_fabric(row)
        left: dict[str, Any] = {"item": "", "item_name": "", "connection": "", "login": "", "superseded": ()}
        await store.update_mirror(id, row.database, phase="Deleted", reasons=(), reseed=False, **left)
    await store.update_server(id, missing_since=None, missing_code="", deletion_told=False, report="", report_id="")
    await store.delete_reports(id)


async def forget_server(id: ServerId) -> None:
    """Delete all that is recorded of a server that was deleted, and its password."""
    for row in await store.list_mirrors_of(id):
        await store.delete_mirror(id, row.database)
    await secrets.delete(password_name(id))
    await store.delete_server(id)


async def _leave_fabric(row: MirrorRow) -> None:
    await leave_workspace(row)
    if row.item:
        await store.delete_health(row.workspace, row.item)
    if row.connection:
        await fabric_connection.remove(row.connection)
    for connection in row.superseded:
        with suppress(NotAllowed):
            await fabric_connection.remove(connection)
    if row.host:
        await fabric_connection.remove_unused(row.server, row.database, row.host)
