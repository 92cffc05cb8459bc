"""Replica identities of tables: what they were before the mirror, one that fits, and the way back.

As long as a table is published, PostgreSQL refuses the application's updates without a fitting replica identity. So the
app sets one before: the primary key, else a unique index, else the whole row. Fabric does so for tables without a
primary key that come later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, LiteralString

from psycopg import errors, sql

from shared.desired.takeover import Identity, TableName
from shared.platform.errors import Blocked
from shared.source import locks
from shared.source.connection import Connection, explained, of_postgresql
from shared.source.facts import IdentityChange
from shared.source.membership import borrowed

LOCK_WAIT = "500ms"
"""The longest wait for a table's lock. The application's own statements queue behind the wait."""


async def look(connection: Connection, tables: Sequence[TableName]) -> tuple[Identity, ...]:
    """The replica identities of the tables that have no primary key."""
    names = {"schemas": [table.schema for table in tables], "names": [table.name for table in tables]}
    rows = await (await connection.execute(_WITHOUT_KEY, names)).fetchall()
    return tuple(Identity(row["oid"], row["schema"], row["name"], row["identity"]) for row in rows)


async def plan(connection: Connection, tables: Sequence[TableName]) -> tuple[IdentityChange, ...]:
    """The changes for those of the tables whose replica identity does not fit, or is missing."""
    names = {"schemas": [table.schema for table in tables], "names": [table.name for table in tables]}
    rows = await (await connection.execute(_UNFIT, names)).fetchall()
    return tuple(
        IdentityChange(Identity(row["oid"], row["schema"], row["name"], row["identity"]), row["fitting"])
        for row in rows
    )


async def apply(connection: Connection, changes: Sequence[IdentityChange]) -> None:
    """Set identities that fit, where they are still those of before. The caller has to record those of before first.

    Raises `Blocked` with the statement to run where the app may not act for the table's owner.
    """
    for change in changes:
        listed = {"oids": [change.before.oid], "role": ""}
        for row in await (await connection.execute(_NOW, listed)).fetchall():
            if row["identity"] == change.before.identity:
                await _set(connection, row, change.fitting)


async def give_back(connection: Connection, identities: Iterable[Identity], role: str) -> tuple[Identity, ...]:
    """Give tables back the replica identities that they had. Returns those of tables that a publication of `role`
    still publishes, which have to wait.

    A table whose owner the app may not act for holds up no other: `Blocked` gives the statements then.
    """
    problems: list[Blocked] = []
    listed = {identity.oid: identity for identity in identities}
    rows = await (await connection.execute(_NOW, {"oids": list(listed), "role": role})).fetchall()
    for row in rows:
        before = listed[row["oid"]]
        if row["published"] or row["identity"] == before.identity:
            continue
        try:
            await _set(connection, row, before.identity)
        except errors.UndefinedObject as error:  # the index was dropped
            if not of_postgresql(error):
                raise
        except Blocked as error:
            problems.append(error)
    if problems:
        message, remedy = (" ".join(part) for part in zip(*((it.message, it.remedy) for it in problems), strict=True))
        raise Blocked(message, code=problems[0].code, remedy=remedy) from problems[0]
    return tuple(listed[row["oid"]] for row in rows if row["published"])


async def published_in_full(connection: Connection, role: str) -> tuple[str, ...]:
    """The statements that give tables the default replica identity: those without a primary key that a publication of
    `role` publishes with FULL, as Fabric sets it."""
    rows = await (await connection.execute(_IN_FULL, [role])).fetchall()
    return tuple(
        statement(sql.Identifier(row["schema"], row["name"]), "DEFAULT").as_string(connection) + ";" for row in rows
    )


async def _set(connection: Connection, row: Mapping[str, Any], identity: str) -> None:
    command = statement(sql.Identifier(row["schema"], row["name"]), identity)
    try:
        async with locks.holders_named(connection, [row["oid"]]):
            with explained(f"Setting the replica identity of table {row['schema']}.{row['name']} to {identity}"):
                async with connection.transaction(), borrowed(connection, [row["owner"]]):
                    await connection.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_WAIT])
                    await connection.execute(command)
    except Blocked as error:
        remedy = f"Run as {row['owner']}: {command.as_string()};"
        raise Blocked(error.message, code=error.code, remedy=remedy) from error


def statement(table: sql.Identifier, identity: str) -> sql.Composed:
    """What sets a table's replica identity."""
    kind, _, index = identity.partition("USING INDEX ")
    clause = sql.SQL("USING INDEX {}").format(sql.Identifier(index)) if index else sql.SQL(_KINDS[kind])
    return sql.SQL("ALTER TABLE ONLY {} REPLICA IDENTITY {}").format(table, clause)


_KINDS: dict[str, LiteralString] = {"DEFAULT": "DEFAULT", "NOTHING": "NOTHING", "FULL": "FULL"}
_IDENTITY: LiteralString = """
    CASE c.relreplident WHEN 'n' THEN 'NOTHING' WHEN 'f' THEN 'FULL' WHEN 'i' THEN coalesce(
        'USING INDEX ' || (SELECT x.relname FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                           WHERE i.indrelid = c.oid AND i.indisreplident), 'DEFAULT')
    ELSE 'DEFAULT' END AS identity
"""
_WITHOUT_KEY = sql.SQL("""
    SELECT c.oid::int8 AS oid, n.nspname::text AS schema, c.relname::text AS name, {identity}
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
      AND (n.nspname, c.relname) IN (SELECT * FROM unnest(%(schemas)s::name[], %(names)s::name[]))
    ORDER BY 1
""").format(identity=sql.SQL(_IDENTITY))
_IN_FULL = sql.SQL("""
    SELECT DISTINCT n.nspname::text AS schema, c.relname::text AS name
    FROM pg_publication p JOIN pg_publication_tables t ON t.pubname = p.pubname
    JOIN pg_namespace n ON n.nspname = t.schemaname
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
    WHERE pg_get_userbyid(p.pubowner) = %s AND c.relreplident = 'f'
      AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
    ORDER BY 1, 2
""")
_NOW = sql.SQL("""
    SELECT c.oid::int8 AS oid, n.nspname::text AS schema, c.relname::text AS name,
           pg_get_userbyid(c.relowner)::text AS owner, {identity}, EXISTS (
               SELECT FROM pg_publication_tables t JOIN pg_publication p ON p.pubname = t.pubname
               WHERE t.schemaname = n.nspname AND t.tablename = c.relname AND pg_get_userbyid(p.pubowner) = %(role)s
           ) AS published
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY (%(oids)s::oid[]) ORDER BY 1
""").format(identity=sql.SQL(_IDENTITY))
# An index can be the replica identity if it is unique, not deferrable, not partial, without expressions, and all its
# columns are NOT NULL. Generated columns are not published (18 refuses UPDATE then). The chosen index may be gone.
_UNFIT = sql.SQL("""
    WITH target AS (
        SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relreplident AS kind, {identity}
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.relpersistence = 'p'
          AND (n.nspname, c.relname) IN (SELECT * FROM unnest(%(schemas)s::name[], %(names)s::name[]))
    ), keys AS (
        SELECT i.indrelid AS oid, x.relname::text AS index, i.indisprimary, i.indisreplident
        FROM pg_index i JOIN target t ON t.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
        WHERE i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
          AND NOT EXISTS (
              SELECT FROM pg_attribute a
              WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0 : i.indnkeyatts - 1])
                AND (NOT a.attnotnull OR a.attgenerated <> '' OR a.atttypid = 'timetz'::regtype))
    ), judged AS (
        SELECT t.*, EXISTS (SELECT FROM keys k WHERE k.oid = t.oid AND k.indisprimary) AS primary_key,
               EXISTS (SELECT FROM keys k WHERE k.oid = t.oid AND k.indisreplident) AS chosen_fits,
               (SELECT min(k.index) FROM keys k WHERE k.oid = t.oid) AS key,
               EXISTS (SELECT FROM pg_attribute a
                       WHERE a.attrelid = t.oid AND a.attgenerated <> '' AND NOT a.attisdropped) AS generated
        FROM target t
    )
    SELECT oid::int8 AS oid, schema, name, identity,
           CASE WHEN primary_key THEN 'DEFAULT' ELSE coalesce('USING INDEX ' || key, 'FULL') END AS fitting
    FROM judged
    WHERE CASE kind WHEN 'd' THEN NOT primary_key WHEN 'i' THEN NOT chosen_fits
                    WHEN 'f' THEN generated AND key IS NOT NULL ELSE true END
    ORDER BY schema, name
""").format(identity=sql.SQL(_IDENTITY))
