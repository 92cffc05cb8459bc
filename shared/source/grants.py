"""Privileges on tables and sequences: reads them before a change of owner, and restores them afterwards."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import LiteralString

from psycopg import sql

from shared.desired.takeover import Grant, Relation
from shared.source.connection import Connection


async def relations(connection: Connection, oids: Sequence[int]) -> dict[int, Relation]:
    """The tables and sequences with these object ids, as far as they exist."""
    cursor = await connection.execute(_RELATIONS, [list(oids)])
    return {
        row["oid"]: Relation(
            row["oid"], row["kind"], row["schema"], row["name"], row["owner"], tuple(sorted(_grants(row["privileges"])))
        )
        for row in await cursor.fetchall()
    }


def on(relation: Relation) -> sql.Composed:
    """`TABLE schema.name` or `SEQUENCE schema.name`, as GRANT and ALTER expect it."""
    kind = sql.SQL("SEQUENCE " if relation.kind == "S" else "TABLE ")
    return kind + sql.Identifier(relation.schema, relation.name)


def give(relation: Relation, privileges: Iterable[str], grantee: str) -> list[sql.Composed]:
    """The statement that grants `privileges` without the grant option; no statement for no privileges."""
    if not (keywords := _keywords(privileges)):
        return []
    return [sql.SQL("GRANT {} ON {} TO {}").format(keywords, on(relation), sql.Identifier(grantee))]


def restore(now: Relation, before: Relation, grantees: Collection[str]) -> list[sql.Composed]:
    """The statements that give `grantees` the privileges on a relation that they had before, and no others.

    The privileges of other grantees stay as they are.
    """
    statements: list[sql.Composed] = []
    for grantee in grantees:
        had, has = before.of(grantee), now.of(grantee)
        if extra := _keywords(has - had):
            statements.append(sql.SQL("REVOKE {} ON {} FROM {}").format(extra, on(now), sql.Identifier(grantee)))
        missing = {letter for letter in had if letter not in has or letter + "*" in has}
        statements += give(now, (letter for letter in missing if not letter.endswith("*")), grantee)
        for statement in give(now, (letter for letter in missing if letter.endswith("*")), grantee):
            statements.append(statement + sql.SQL(" WITH GRANT OPTION"))
    return statements


def _grants(rows: Iterable[tuple[str, str, str, bool]]) -> Iterable[Grant]:
    grouped: dict[tuple[str, str], str] = {}
    for grantee, grantor, privilege, grantable in sorted(rows):
        letter = _LETTERS[privilege] + ("*" if grantable else "")
        grouped[grantee, grantor] = grouped.get((grantee, grantor), "") + letter
    for (grantee, grantor), privileges in grouped.items():
        yield Grant(grantee, grantor, privileges)


def _keywords(privileges: Iterable[str]) -> sql.Composed | None:
    """The privileges as GRANT lists them; None for no privileges."""
    letters = {privilege.rstrip("*") for privilege in privileges}
    keywords = [sql.SQL(keyword) for keyword, letter in _LETTERS.items() if letter in letters]
    return sql.SQL(", ").join(keywords) if keywords else None


_LETTERS: dict[LiteralString, str] = {
    "SELECT": "r", "INSERT": "a", "UPDATE": "w", "DELETE": "d", "TRUNCATE": "D", "REFERENCES": "x", "TRIGGER": "t",
    "MAINTAIN": "m", "USAGE": "U",
}  # fmt: skip
"""Privileges by the letters that PostgreSQL shows them with. A `*` behind a letter stands for the grant option."""

_RELATIONS = sql.SQL("""
    SELECT c.oid::int8 AS oid, c.relkind::text AS kind, n.nspname::text AS schema, c.relname::text AS name,
           pg_get_userbyid(c.relowner)::text AS owner,
           (SELECT coalesce(json_agg(json_build_array(
                       CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee) END, pg_get_userbyid(a.grantor),
                       a.privilege_type, a.is_grantable)), '[]')
            FROM aclexplode(coalesce(c.relacl, acldefault(
                CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner))) a) AS privileges
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY (%s::oid[])
""")
