"""Replica identities of tables: what they were before the mirror, and the way back.

Fabric gives a table without a primary key another replica identity, so that its updates can be published. As long as a
table is published, its identity stays: without a fitting one, PostgreSQL refuses the application's updates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import LiteralString

from psycopg import errors, sql

from shared.desired.takeover import Identity, TableName
from shared.source.connection import Connection, explained
from shared.source.membership import borrowed


async def look(connection: Connection, tables: Sequence[TableName]) -> tuple[Identity, ...]:
    """The replica identities of the tables that have no primary key."""
    names = {"schemas": [table.schema for table in tables], "names": [table.name for table in tables]}
    rows = await (await connection.execute(_WITHOUT_KEY, names)).fetchall()
    return tuple(Identity(row["oid"], row["schema"], row["name"], row["identity"]) for row in rows)


async def give_back(connection: Connection, identities: Iterable[Identity], role: str) -> tuple[Identity, ...]:
    """Give tables back the replica identities that they had. Returns those of tables that a publication of `role`
    still publishes, which have to wait."""
    listed = {identity.oid: identity for identity in identities}
    rows = await (await connection.execute(_NOW, {"oids": list(listed), "role": role})).fetchall()
    for row in rows:
        before = listed[row["oid"]]
        if row["published"] or row["identity"] == before.identity:
            continue
        table = sql.Identifier(row["schema"], row["name"])
        with explained(f"Giving table {row['schema']}.{row['name']} its replica identity back"):
            async with connection.transaction(), borrowed(connection, [row["owner"]]):
                with suppress(errors.UndefinedObject):  # the index was dropped
                    async with connection.transaction():
                        await connection.execute(statement(table, before.identity))
    return tuple(listed[row["oid"]] for row in rows if row["published"])


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
_NOW = sql.SQL("""
    SELECT c.oid::int8 AS oid, n.nspname::text AS schema, c.relname::text AS name,
           pg_get_userbyid(c.relowner)::text AS owner, {identity}, EXISTS (
               SELECT FROM pg_publication_tables t JOIN pg_publication p ON p.pubname = t.pubname
               WHERE t.schemaname = n.nspname AND t.tablename = c.relname AND pg_get_userbyid(p.pubowner) = %(role)s
           ) AS published
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY (%(oids)s::oid[]) ORDER BY 1
""").format(identity=sql.SQL(_IDENTITY))
