"""Undoes what the app did in a database for the fabric role: for tables that are chosen no more, or all of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from shared.decisions import surplus as deciding
from shared.desired.takeover import TableName
from shared.platform.errors import Blocked
from shared.platform.settings import settings
from shared.records import store
from shared.records.rows import MirrorRow
from shared.source import event_triggers, identity, keepsake, owners, ownership
from shared.source.connection import Connection, connect
from shared.steps.holdings import Choice, Place, look, present_record, still_joined, still_members


async def give_back_surplus(place: Place, chosen: Sequence[TableName]) -> None:
    """Undo what was done for an earlier choice of tables: give back tables, and leave owners that have no table to
    mirror any more.

    A table that Fabric still publishes keeps its replica identity until a later look.
    """
    row = await store.read_mirror(place.server, place.database)
    if row is None or not row.takeover:
        return
    name = settings().login.role
    async with connect(place.host, place.database) as connection, event_triggers.guarded(connection):
        seen = await look(connection, place, Choice(tuple(chosen), "auto", ""))
        surplus = deciding.surplus(seen.takeover, chosen, seen.owned)
        if not surplus:
            return
        record = deciding.without(
            seen.takeover, surplus, await identity.give_back(connection, surplus.identities, name)
        )
        others = await still_members(connection, place.server, place.database)
        still = others | {former.owner for former in record.tables}
        await ownership.give_back(connection, msgspec.structs.replace(seen.takeover, tables=surplus.tables), still)
        joined = await still_joined(connection, place.server, place.database)
        await owners.leave(connection, name, surplus.joined - joined)
        await keepsake.write(connection, record)
    await store.update_mirror(place.server, place.database, takeover=record or None)


async def undo(connection: Connection, row: MirrorRow) -> None:
    """Give back all tables of a database, and leave all owners. Nothing may be published any more.

    What can't be undone holds up nothing else: raises `Blocked` when the rest is done, with code
    `FormerOwnerGone`, or `NotPermitted` for a table or a replica identity.
    """
    name = settings().login.role
    record = await present_record(connection, row.takeover)
    if not record:
        return
    problem: Blocked | None = None
    try:
        await identity.give_back(connection, record.every_identity.values(), "")
    except Blocked as error:
        problem = error
    try:
        await ownership.give_back(connection, record, await still_members(connection, row.server, row.database))
    except Blocked as error:
        if error.code not in (ownership.OWNER_GONE, "NotPermitted"):
            raise
        problem = problem or error
    await owners.leave(connection, name, set(record.joined) - await still_joined(connection, row.server, row.database))
    if problem:
        raise problem
    await keepsake.drop(connection, name)
