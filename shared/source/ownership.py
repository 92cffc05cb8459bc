"""Taking tables for the fabric role without harming the application, and giving them back.

PostgreSQL lets only a table's owner publish it. So the fabric role becomes the owner. The former owner is granted the
privileges that it had on the table and on its sequences, and membership in the fabric role, so that it may still alter
the table. The `Takeover` holds all that is needed to undo this: the caller has to record it before it applies it. Both
directions can be repeated at any point, and each table changes its owner in a transaction of its own.

The membership gives a former owner the rights on all tables of the fabric role. From PostgreSQL 16 on, the former owner
can't SET ROLE to the fabric role (SET FALSE); before, PostgreSQL has no such option.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import LiteralString

import psycopg
from psycopg import errors, sql

from shared.desired.takeover import FormerOwner, NotTakeable, Relation, TableName, Takeover
from shared.platform.errors import Blocked, Conflict, Unavailable
from shared.source import grants, locks, owners
from shared.source.connection import Connection, explained, of_postgresql
from shared.source.membership import acting_as, borrowed, major, out_of_reach, schema_owners

OWNER_GONE = "FormerOwnerGone"
LONGEST = 50
"""Characters of a database's name in the name of a role that is proposed for its objects."""
LOCK_WAIT = "500ms"
"""The longest wait for a table's lock. The application's own statements queue behind the wait."""
PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds between the attempts to lock a busy table."""
WORK_SECONDS = 40.0
"""After this time, the next call does the remaining tables."""


async def plan_take(connection: Connection, role: str, tables: Sequence[TableName]) -> Takeover:
    """The plan to take `tables`, without those that `role` owns already and those that don't exist."""
    names = {"schemas": [table.schema for table in tables], "names": [table.name for table in tables]}
    rows = await (await connection.execute(_OWNED, names)).fetchall()
    rows = [row for row in rows if row["owner"] != role]
    relations = await grants.relations(connection, [oid for row in rows for oid in (row["oid"], *row["sequences"])])
    grantors = await out_of_reach(connection, [row["owner"] for row in rows])
    administrators = await owners.administrators(connection, grantors)
    members = await _members(connection, role, granted_here=False)
    takeable: list[FormerOwner] = []
    former_owners: set[tuple[int, str]] = set()
    not_takeable: list[NotTakeable] = []
    for row in rows:
        table = relations[row["oid"]]
        if table.owner in grantors:
            is_administrator = table.owner in administrators
            not_takeable.append(_not_takeable(connection, table, grantors[table.owner], is_administrator))
            continue
        sequences = tuple(relations[oid] for oid in row["sequences"])
        former = FormerOwner(
            table=table, sequences=sequences, member=table.owner in members, replica_identity=row["replica_identity"]
        )
        takeable.append(former)
        former_owners.add((row["owner_oid"], table.owner))
    return Takeover(role, tuple(takeable), tuple(not_takeable), owners=tuple(sorted(former_owners)))


async def apply_take(connection: Connection, takeover: Takeover) -> None:
    """Make the fabric role the owner of every table of the recorded plan that it does not own yet.

    Raises `Unavailable`, which names the table, when a table stays locked or `WORK_SECONDS` are over; `Blocked` when a
    right is missing; `Conflict` when a table has another owner than in the plan.
    """
    await _each(connection, takeover.tables, lambda former: _take(connection, takeover.role, former), "Taking")


async def give_back(connection: Connection, takeover: Takeover, still_members: Collection[str] = ()) -> None:
    """Return every table that the fabric role still owns to its former owner, with the privileges of before.

    Its replica identity stays: `identity.give_back` returns it when the table is published no more.
    Tables that no longer exist, or that have another owner by now, stay as they are. A table whose former owner is
    gone, or is a role that the app may not act for, holds up no other: when all others are given back, `Blocked` names
    each. Former owners leave the fabric role, except `still_members`: those with tables in other databases that the
    fabric role owns. Raises like `apply_take`.
    """
    refused: dict[str, str] = {}

    async def work(former: FormerOwner) -> None:
        try:
            with explained(f"Giving back table {former.name}"):
                await _give_back(connection, takeover.role, former)
        except Blocked as error:
            if not (isinstance(error.__cause__, psycopg.Error) and of_postgresql(error.__cause__)):
                raise
            refused.setdefault(former.owner, error.message)

    gone: Blocked | None = None
    try:
        await _each(connection, takeover.tables, work, "Giving back")
    except Blocked as error:
        if not refused or error.code != OWNER_GONE:
            raise
        gone = error
    if refused:
        raise await _refused(connection, refused, gone)
    leaving = {former.owner for former in takeover.tables if not former.member} - set(still_members)
    await leave(connection, takeover.role, leaving)


async def leave(connection: Connection, role: str, former: Iterable[str]) -> None:
    """End the memberships of former owners in the fabric role that the app granted."""
    for owner in sorted(set(former) & await _members(connection, role, granted_here=True)):
        with explained(f"Ending the membership of role {owner!r} in {role!r}"):
            await connection.execute(sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(role), sql.Identifier(owner)))


async def _take(connection: Connection, role: str, former: FormerOwner) -> None:
    now = await _relation(connection, former.table)
    if now is None or now.owner == role:
        return
    if now.owner != former.owner:
        raise Conflict(
            f"Table {former.name} had the owner {former.owner!r} and now has the owner {now.owner!r}.",
            remedy="Nothing: the next look at the server makes a new plan.",
        )
    async with connection.transaction(), borrowed(connection, [former.owner, role]):
        await _limit_lock_wait(connection)
        await connection.execute(_owner_to(now, role))
        statements = grants.give(now, "r", role) + grants.give(now, former.table.of(former.owner), former.owner)
        sequences = await grants.relations(connection, [sequence.oid for sequence in former.sequences])
        for before in former.sequences:
            if before.oid in sequences:
                statements += grants.give(sequences[before.oid], before.of(former.owner), former.owner)
        async with acting_as(connection, role):
            for statement in statements:
                await connection.execute(statement)
        if former.owner not in await _members(connection, role, granted_here=True):
            await connection.execute(_membership(connection, role, former.owner))


async def _give_back(connection: Connection, role: str, former: FormerOwner) -> None:
    now = await _relation(connection, former.table)
    if now is None or now.owner != role:
        return
    schema_owner = (await schema_owners(connection))[now.schema]
    async with (
        connection.transaction(),
        borrowed(connection, [former.owner, role]),
        _lent_schema_rights(connection, former.owner, now.schema, schema_owner),
    ):
        await _limit_lock_wait(connection)
        await connection.execute(_owner_to(now, former.owner))
        relations = await grants.relations(connection, [now.oid, *(sequence.oid for sequence in former.sequences)])
        async with acting_as(connection, former.owner):
            for before in (former.table, *former.sequences):
                if before.oid in relations:
                    for statement in grants.restore(relations[before.oid], before, (former.owner, role)):
                        await connection.execute(statement)


@asynccontextmanager
async def _lent_schema_rights(
    connection: Connection, owner: str, schema: str, schema_owner: str
) -> AsyncIterator[None]:
    """Lend a future owner the rights on the schema that it lacks.

    PostgreSQL demands CREATE on the schema from a new owner, and USAGE from a grantor.
    """
    query = "SELECT has_schema_privilege(%(owner)s::name, %(schema)s, p) AS has FROM unnest(ARRAY['CREATE', 'USAGE']) p"
    rows = await (await connection.execute(query, {"owner": owner, "schema": schema})).fetchall()
    lacking = [privilege for privilege, row in zip(_SCHEMA_RIGHTS, rows, strict=True) if not row["has"]]
    if not lacking:
        yield
        return
    lent = sql.SQL(", ").join(map(sql.SQL, lacking))
    names = sql.Identifier(schema), sql.Identifier(owner)
    async with borrowed(connection, [schema_owner]):
        await connection.execute(sql.SQL("GRANT {} ON SCHEMA {} TO {}").format(lent, *names))
        yield
        await connection.execute(sql.SQL("REVOKE {} ON SCHEMA {} FROM {}").format(lent, *names))


def _locked(former: FormerOwner) -> list[int]:
    """What changes its owner with a table: its sequences too."""
    return [former.table.oid, *(sequence.oid for sequence in former.sequences)]


async def _each(
    connection: Connection, tables: Sequence[FormerOwner], work: Callable[[FormerOwner], Awaitable[None]], doing: str
) -> None:
    end = time.monotonic() + WORK_SECONDS
    gone: dict[str, FormerOwner] = {}
    for former in tables:
        if time.monotonic() > end:
            raise Unavailable(f"{doing} table {former.name} waits for the next call: there are many.", retry_after=0)
        for pause in (*PAUSES, None):
            try:
                async with locks.holders_named(connection, _locked(former)):
                    with explained(f"{doing} table {former.name}"):
                        await work(former)
                break
            except Unavailable:
                if pause is None or time.monotonic() > end:
                    raise
                await asyncio.sleep(pause)
            except errors.UndefinedObject as error:
                if not of_postgresql(error):
                    raise
                gone.setdefault(former.owner, former)
                break
    if gone:
        raise _owners_gone(doing, gone)


def _owners_gone(doing: str, gone: Mapping[str, FormerOwner]) -> Blocked:
    """The refusal that names each role that is gone, with the statements that make it again."""
    named = ", ".join(f"{owner!r} (table {former.name})" for owner, former in gone.items())
    again = " ".join(
        sql.SQL("CREATE ROLE {0} NOLOGIN; GRANT {0} TO azure_pg_admin WITH ADMIN OPTION;")
        .format(sql.Identifier(owner))
        .as_string()
        for owner in gone
    )
    return Blocked(
        f"{doing} tables: the roles that own them are gone: {named}. All other tables are done.",
        code=OWNER_GONE,
        remedy=f"Run as an administrator: {again} Then look again. Give the tables other owners afterwards.",
    )


async def _refused(connection: Connection, refused: Mapping[str, str], gone: Blocked | None) -> Blocked:
    """The refusal of what PostgreSQL said for each former owner, with the statements that let the app act for it."""
    grantors = await out_of_reach(connection, refused)
    user = sql.Identifier(connection.info.user)
    statements = [
        f"Run as {' or '.join(roles) or 'a superuser'}: "
        + sql.SQL("GRANT {} TO {};").format(sql.Identifier(owner), user).as_string(connection)
        for owner, roles in grantors.items()
    ] or ["Give the app's identity these rights."]
    message = " ".join([*(f"{said}." for said in refused.values()), *([gone.message] if gone else [])])
    remedy = " ".join([*statements, "Then look again.", *([gone.remedy] if gone else [])])
    return Blocked(f"{message} All other tables are given back.", code="NotPermitted", remedy=remedy)


async def _relation(connection: Connection, table: Relation) -> Relation | None:
    return (await grants.relations(connection, [table.oid])).get(table.oid)


async def _members(connection: Connection, role: str, *, granted_here: bool) -> set[str]:
    """The members of `role` that the app's identity granted it to, or those that somebody else granted it to."""
    rows = await (await connection.execute(_MEMBERS, [role, granted_here])).fetchall()
    return {row["member"] for row in rows}


async def _limit_lock_wait(connection: Connection) -> None:
    await connection.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_WAIT])


def _owner_to(relation: Relation, owner: str) -> sql.Composed:
    return sql.SQL("ALTER {} OWNER TO {}").format(grants.on(relation), sql.Identifier(owner))


def _membership(connection: Connection, role: str, member: str) -> sql.Composed:
    options = sql.SQL(" WITH INHERIT TRUE, SET FALSE" if major(connection) >= 16 else "")
    return sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(member)) + options


def _not_takeable(
    connection: Connection, table: Relation, grantors: tuple[str, ...], is_administrator: bool
) -> NotTakeable:
    owner, user = sql.Identifier(table.owner), sql.Identifier(connection.info.user)
    if is_administrator and not grantors:
        neutral = sql.Identifier(f"{connection.info.dbname[:LONGEST]}_owner")
        statement, grantors = _HAND_OVER.format(owner=owner, user=user, neutral=neutral), (table.owner,)
    else:
        statement = sql.SQL("GRANT {} TO {};").format(owner, user)
    return NotTakeable(table.schema, table.name, table.owner, statement.as_string(connection), grantors)


_HAND_OVER = sql.SQL(
    "CREATE ROLE {neutral} NOLOGIN; GRANT {neutral} TO {user} WITH ADMIN OPTION; GRANT {neutral} TO {owner};"
    " REASSIGN OWNED BY {owner} TO {neutral};"
)
"""Hands all that an administrator owns in a database to a role that is no administrator, and that it belongs to."""
_SCHEMA_RIGHTS: tuple[LiteralString, ...] = ("CREATE", "USAGE")

_OWNED = sql.SQL("""
    SELECT c.oid::int8 AS oid, pg_get_userbyid(c.relowner)::text AS owner, c.relowner::int8 AS owner_oid,
           CASE c.relreplident WHEN 'n' THEN 'NOTHING' WHEN 'f' THEN 'FULL' WHEN 'i' THEN coalesce(
               'USING INDEX ' || (SELECT x.relname FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                                  WHERE i.indrelid = c.oid AND i.indisreplident), 'DEFAULT')
           ELSE 'DEFAULT' END AS replica_identity,
           ARRAY(SELECT s.oid::int8 FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
                 WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                   AND d.deptype IN ('a', 'i') ORDER BY 1) AS sequences
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r'
      AND (n.nspname, c.relname) IN (SELECT * FROM unnest(%(schemas)s::name[], %(names)s::name[]))
    ORDER BY n.nspname, c.relname
""")

_MEMBERS = sql.SQL("""
    SELECT pg_get_userbyid(member)::text AS member FROM pg_auth_members
    WHERE roleid = (SELECT oid FROM pg_roles WHERE rolname = %s) AND (pg_get_userbyid(grantor) = current_user) = %s
""")
