"""What only PostgreSQL itself can tell before a server is prepared: slots in use, other mirrors, and every table."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from shared.decisions.readiness import DatabaseFacts, is_administrator
from shared.desired.intent import MirrorIntent
from shared.desired.takeover import TableName
from shared.platform import reasons
from shared.platform.errors import MirrorError
from shared.platform.settings import settings
from shared.records import store
from shared.source import event_triggers, identity, ownership, role, slots
from shared.source.connection import Connection, connect
from shared.source.facts import MAINTENANCE_DATABASE, ServerFacts
from shared.source.parameters import Used
from shared.steps import rights
from shared.steps.holdings import Choice, Place


async def slots_in_use(facts: ServerFacts) -> Used:
    """Slots and WAL senders that others than our running mirrors use. Raises like `connect`."""
    mirrored = [row.database for row in await store.list_mirrors_of(facts.id) if row.phase == "Running"]
    async with connect(facts.host, MAINTENANCE_DATABASE) as connection:
        return await slots.slots_in_use(connection, settings().login.role, mirrored)


async def look(
    facts: ServerFacts, databases: Sequence[str], intent: MirrorIntent
) -> tuple[Used | None, tuple[DatabaseFacts, ...]]:
    """Slots and WAL senders that others use, and the facts of each database that exists.

    Nothing where the app is not yet an administrator of the server, or the server is not ready. Raises `Unavailable`
    when a server that should answer does not.
    """
    if facts.state != "Ready" or not facts.entra_auth or not is_administrator(facts, settings()):
        return None, ()
    present = [database for database in databases if facts.has(database)]
    try:
        used = await slots_in_use(facts)
    except MirrorError as error:
        if error.retryable:
            raise
        return None, tuple(DatabaseFacts(name=database, problem=reasons.of(error)) for database in present)
    return used, tuple(await asyncio.gather(*(_database(facts, database, intent) for database in present)))


async def _database(server: ServerFacts, database: str, intent: MirrorIntent) -> DatabaseFacts:
    row = await store.read_mirror(server.id, database)
    mirrored = bool(row and row.item)
    try:
        async with connect(server.host, database) as connection:
            triggers = await event_triggers.look(connection)
            tracked = await slots.tracked_publications(connection)
            facts = await _rights(connection, server, database, intent)
    except MirrorError as error:
        if error.retryable:
            raise
        return DatabaseFacts(name=database, problem=reasons.of(error), mirrored=mirrored)
    others = tuple(publication.name for publication in tracked if publication.owner != settings().login.role)
    return msgspec.structs.replace(facts, mirrored=mirrored, mirrored_by_others=others, event_triggers=triggers)


async def _rights(connection: Connection, server: ServerFacts, database: str, intent: MirrorIntent) -> DatabaseFacts:
    """The tables, and how the role is to get its rights on them."""
    name = settings().login.role
    chosen = tuple(TableName(table.schema, table.table) for table in intent.tables_of(database))
    seen = await rights.look(connection, Place(server.id, database, server.host), Choice(chosen, intent.rights, ""))
    plan, harms = await rights.choose(connection, name, intent.rights, seen, seen.word)
    taken = [table for owner in plan.ownership for table in seen.owned[owner]]
    takeover = await ownership.plan_take(connection, name, taken)
    return DatabaseFacts(
        name=database,
        tables=seen.report,
        owners=seen.owners,
        rights=plan,
        harms=harms,
        strong_owners=tuple(sorted(seen.strong_owners)),
        not_takeable=takeover.not_takeable,
        identities=await identity.plan(connection, seen.eligible),
        missing=await role.plan_database(connection, name, seen.schemas, plan.membership, bool(plan.ownership)),
    )
