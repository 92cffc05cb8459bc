"""What the fabric role has, and is to have, in a database: what is seen there, and what the app recorded of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from shared.decisions import rights
from shared.decisions.login import login_of
from shared.decisions.rights import Elsewhere, Word
from shared.desired.server_id import ServerId
from shared.desired.takeover import Joined, TableName, Takeover
from shared.platform.errors import Blocked
from shared.platform.settings import Rights, settings
from shared.platform.table import ENTITY_BYTES, TOO_LARGE
from shared.records import store
from shared.records.rows import MirrorRow
from shared.source import grants, keepsake, owners, tables
from shared.source.connection import Connection
from shared.source.facts import Owner, TableReport

MOST_BYTES = ENTITY_BYTES - 128 * 1024
"""Of the record of a takeover, in UTF-16. The rest of the row is for phases, reasons and names."""


class Place(msgspec.Struct, frozen=True):
    """A database that is being prepared."""

    server: ServerId
    database: str
    host: str


class Choice(msgspec.Struct, frozen=True):
    """Which tables the role needs, and in which way somebody wants it to get its rights on them."""

    chosen: tuple[TableName, ...]
    """Empty: all tables."""
    rights: Rights
    consent: str
    """Where somebody named the rights: a tag, a request or the app setting."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What there is before anything is done."""

    report: TableReport
    owners: tuple[Owner, ...]
    owned: dict[str, tuple[TableName, ...]]
    """The tables of each owner; of a table that the fabric role owns, its former owner."""
    takeover: Takeover
    """What was done before, as the app recorded it."""
    word: Word
    """What the service said when it was last asked."""
    elsewhere: Elsewhere
    """What stays in other databases, which have the same fabric role."""
    granted: frozenset[Joined] = frozenset()
    """The role's memberships that the app granted, for this database or for another one."""
    returned: frozenset[TableName] = frozenset()
    """The tables that were given back to ask the service. They count as the role's until the question is over."""

    @property
    def eligible(self) -> tuple[TableName, ...]:
        return self.report.eligible

    @property
    def schemas(self) -> set[str]:
        return {table.schema for table in self.eligible}

    @property
    def strong_owners(self) -> frozenset[str]:
        """The owners of which the app made the role a member, and that have become strong since."""
        strong = {owner.name for owner in self.owners if owner.strong}
        return frozenset(it.owner for it in self.granted if it.owner in strong)

    @property
    def strong(self) -> frozenset[Joined]:
        """The memberships in `strong_owners`."""
        return frozenset(it for it in self.granted if it.owner in self.strong_owners)

    def to_take(self, owners: Iterable[str]) -> list[TableName]:
        """The tables of these owners that the role did not own before this look. That it owns the others changes
        nothing."""
        taken = {TableName(it.schema, it.name) for it in self.report.tables if it.owner == self.takeover.role}
        taken |= self.returned
        return [table for owner in owners for table in self.owned.get(owner, ()) if table not in taken]


async def look(connection: Connection, place: Place, choice: Choice) -> Seen:
    """What there is: the tables, their owners, and what the app did before."""
    name = settings().login.role
    report = await tables.report(connection, name, settings().fabric.table_limit, choice.chosen or None)
    row = await store.read_mirror(place.server, place.database)
    record = await present_record(connection, row.takeover if row else None) or Takeover(name)
    owned = owners_of(report, await former_owners(connection, record), name)
    others = await _others(connection, place.server, place.database)
    granted = joined_by_app(record, *map(_record, others))
    is_word_known = row is not None and choice.rights == "auto" and not record.returned
    return Seen(
        report=report,
        owners=await owners.look(connection, name, owned, granted),
        owned=owned,
        takeover=record,
        word=row.word if row and is_word_known else "unasked",
        elsewhere=await _elsewhere(connection, others),
        granted=granted & await owners.joined(connection, name),
        returned=await _present_names(connection, record.returned),
    )


async def _present_names(connection: Connection, oids: Sequence[int]) -> frozenset[TableName]:
    """The names that tables have now."""
    relations = await grants.relations(connection, oids)
    return frozenset(TableName(it.schema, it.name) for it in relations.values())


async def present_record(connection: Connection, record: Takeover | None) -> Takeover | None:
    """The app's record of a database, or what is kept in the database itself, by the names that roles have now."""
    record = record or await keepsake.read(connection, settings().login.role)
    return await _renamed(connection, record) if record else None


async def _renamed(connection: Connection, record: Takeover) -> Takeover:
    joined = tuple(sorted(await owners.renamed(connection, record.joined)))
    if record.owners:
        record = record.by_present_names(await owners.roles(connection, [oid for oid, _ in record.owners]))
    return msgspec.structs.replace(record, joined=joined)


async def former_owners(connection: Connection, record: Takeover) -> dict[TableName, str]:
    """The former owner of each taken table, by the name that the table has now: somebody may have renamed it."""
    former = {table.table.oid: table.owner for table in record.tables}
    relations = await grants.relations(connection, list(former))
    return {TableName(table.schema, table.name): former[oid] for oid, table in relations.items()}


def owners_of(report: TableReport, former: Mapping[TableName, str], role: str) -> dict[str, tuple[TableName, ...]]:
    """The tables of each owner; those that the role owns count as their former owners' tables."""
    owned: dict[str, list[TableName]] = {}
    for table in report.tables:
        name = TableName(table.schema, table.name)
        owner = former.get(name, "") if table.owner == role else table.owner
        if owner and table.status != "ERROR":
            owned.setdefault(owner, []).append(name)
    return {owner: tuple(names) for owner, names in owned.items()}


async def keep(place: Place, record: Takeover) -> None:
    """Write down what is about to be done, and what was done before. Raises `Blocked` where that leaves no room in the
    row for what a run has to record besides it."""
    require_recordable(place.database, record)
    row = await store.read_mirror(place.server, place.database)
    phase = row.phase if row and row.phase in ("Running", "Starting") else "Preparing"
    secret = login_of(settings()).secret_of(place.server)
    await store.update_mirror(
        place.server, place.database, host=place.host, secret=secret, takeover=record or None, phase=phase
    )


def require_recordable(database: str, record: Takeover) -> None:
    """Raise `Blocked` where the row of the database has not enough room for the record."""
    bytes = len(msgspec.json.encode(record).decode().encode("utf-16-le"))
    if bytes > MOST_BYTES:
        raise Blocked(
            f"What gives the tables of database {database!r} back takes {bytes:,} bytes; its record has room for "
            f"{MOST_BYTES:,}.",
            code=TOO_LARGE,
            remedy=MirrorRow.remedy_when_too_large,
        )


async def still_members(connection: Connection, id: ServerId, leaving: str) -> set[str]:
    """The former owners of tables that are taken in other databases of the server than `leaving`."""
    return {former.owner for row in await _others(connection, id, leaving) for former in _record(row).tables}


async def still_joined(connection: Connection, id: ServerId, leaving: str) -> frozenset[Joined]:
    """The memberships of the fabric role that other databases of the server than `leaving` need."""
    return joined_by_app(*map(_record, await _others(connection, id, leaving)))


def joined_by_app(*records: Takeover) -> frozenset[Joined]:
    """The memberships of the fabric role that the app granted by these records."""
    return frozenset(membership for record in records for membership in record.joined)


async def _others(connection: Connection, id: ServerId, leaving: str) -> list[MirrorRow]:
    """The rows of the other databases with a record, in which roles have the names that they have now."""
    return [
        msgspec.structs.replace(row, takeover=await _renamed(connection, _record(row)))
        for row in await _rows_of_others(id, leaving)
    ]


async def _rows_of_others(id: ServerId, leaving: str) -> list[MirrorRow]:
    rows = await store.list_mirrors_of(id)
    return [row for row in rows if row.database != leaving and row.takeover]


def _record(row: MirrorRow) -> Takeover:
    return row.takeover or Takeover("")


async def _elsewhere(connection: Connection, others: Sequence[MirrorRow]) -> Elsewhere:
    """What stays of the role's rights in the other databases."""
    staying = rights.staying(others)
    administrators = await owners.administrators(connection, staying.former)
    return msgspec.structs.replace(staying, former=staying.former - administrators)
