"""Writes down again what the app has on a server of which it has no record, so that the server can be released.

The record can be lost with the table store, and a server can be moved to another address. The server itself tells the
rest: its fabric role, the databases in which that role has something, and in them what gives their tables back. The
mirrored databases have the app's mark.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from shared.decisions import run as deciding
from shared.desired.server_id import ServerId
from shared.fabric import connection as fabric_connection
from shared.fabric import mirror as mirrored_database
from shared.platform import logs
from shared.platform.errors import Blocked, NotFound
from shared.platform.reasons import Reason
from shared.platform.settings import settings
from shared.records import store
from shared.records.rows import MirrorRow, ServerRow
from shared.source import identity, keepsake, traces
from shared.source.connection import connect
from shared.source.facts import MAINTENANCE_DATABASE, ServerFacts

log = logs.logger(__name__)


async def databases_of_ours(facts: ServerFacts) -> tuple[str, ...] | None:
    """The databases in which the app's fabric role has something; None: the server has no role that the app made.

    Nothing is changed, and only a server that the app administrates is asked. A role without the app's comment counts
    where what gives tables back names it. Raises like `connect`, and like `keepsake.read`.
    """
    name = settings().login.role
    if not deciding.can_be_asked(facts, settings()):
        return None
    async with connect(facts.host, MAINTENANCE_DATABASE) as connection:
        seen = await traces.look(connection, name)
    if seen is None or seen.ours:
        return seen.databases if seen else None
    taken = [database for database in seen.databases if await _is_kept(facts.host, database)]
    return tuple(taken) or None


async def recover(facts: ServerFacts, row: ServerRow | None) -> tuple[ServerRow | None, list[MirrorRow]]:
    """The server's row and those of its mirrors, written again from what the server and Fabric have.

    `row` stays what it is where there is nothing of the app on the server. Raises like `databases_of_ours`, and where
    Fabric does not answer.
    """
    databases = await databases_of_ours(facts)
    if databases is None or (row is not None and row.role and not databases):
        return row, []
    log.warning("The record of databases %s was lost; it is made again.", ", ".join(databases) or "(none)")
    unknown = [reason for database in databases async for reason in _unknown(facts.host, database)]
    left = tuple(dict.fromkeys((*(row.left if row else ()), *unknown)))
    row = await store.update_server(facts.id, role=settings().login.role, phase="Releasing", left=left)
    items = await _items(facts.id, databases)
    mirrors = []
    for database in databases:
        workspace, item, name = items.get(database, ("", "", ""))
        made = {"host": facts.host, "workspace": workspace, "item": item, "item_name": name}
        mirrors.append(await store.update_mirror(facts.id, database, phase="Releasing", **made))
    return row, mirrors


async def _unknown(host: str, database: str) -> AsyncIterator[Reason]:
    """What the release of a database can't give back, as only the record knew it. It has to be looked at while Fabric
    still publishes the tables. If the app can't look, the release itself says why."""
    name = settings().login.role
    try:
        async with connect(host, database) as connection:
            is_known = await keepsake.read(connection, name) is not None
            statements = () if is_known else await identity.published_in_full(connection, name)
    except (Blocked, NotFound) as error:
        log.warning("The app can't look into database %r: %s", database, error.message)
        return
    if statements:
        yield Reason(
            "ReplicaIdentitiesLeft",
            f"Database {database}: Fabric published {len(statements)} tables with REPLICA IDENTITY FULL. What they had "
            "before is not known, since the record of it was lost.",
            f"Where FULL was not theirs, run in this database as the tables' owner: {' '.join(statements)}",
        )


async def _is_kept(host: str, database: str) -> bool:
    """Whether the database has what gives tables of the fabric role back."""
    async with connect(host, database) as connection:
        return await keepsake.read(connection, settings().login.role) is not None


async def _items(id: ServerId, databases: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    """The workspace, id and name of the mirrored database of each database that has one with the app's mark."""
    marks = {fabric_connection.name_of(id, database): database for database in databases}
    items: dict[str, tuple[str, str, str]] = {}
    for workspace in settings().scope.workspaces:
        try:
            marked = await mirrored_database.marked(workspace, marks)
        except NotFound:  # there is no such workspace any more
            continue
        items |= {marks[mark]: (workspace, item.id, item.name) for mark, item in marked.items()}
    return items
