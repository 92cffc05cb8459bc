"""Default privileges of the fabric role.

A member of a role may set them, so every former owner of tables may. They depend on the role, which can't be dropped
then, and nobody but its members can take them back. So the app does, before the role is dropped.

Source: "ALTER DEFAULT PRIVILEGES" and "pg_default_acl" of the PostgreSQL docs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, LiteralString

from psycopg import sql

from shared.source.connection import Connection
from shared.source.membership import borrowed


async def reset(connection: Connection, role: str) -> None:
    """Give the role the default privileges of PostgreSQL itself in the connection's database."""
    rows = await (await connection.execute(_SET, [role])).fetchall()
    if not rows:
        return
    async with connection.transaction(), borrowed(connection, [role]):
        for row in rows:
            for statement in _statements(role, row):
                await connection.execute(statement)


def _statements(role: str, row: Mapping[str, Any]) -> Iterator[sql.Composed]:
    """What makes PostgreSQL forget a row of `pg_default_acl`: it keeps none that says what is so without it."""
    kind, owner = _KINDS[row["kind"]], sql.Identifier(role)
    place = sql.SQL(" IN SCHEMA {}").format(sql.Identifier(row["schema"])) if row["schema"] else sql.SQL("")
    of_role = sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {}").format(owner) + place
    for grantee in row["grantees"]:
        to = sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC")
        yield of_role + sql.SQL(" REVOKE ALL ON {} FROM {}").format(kind, to)
    if not row["schema"]:
        yield of_role + sql.SQL(" GRANT ALL ON {} TO {}").format(kind, owner)
        if row["kind"] in _OPEN_TO_ALL:
            yield of_role + sql.SQL(" GRANT ALL ON {} TO PUBLIC").format(kind)


_KIND_NAMES: dict[str, LiteralString] = {
    "r": "TABLES", "S": "SEQUENCES", "f": "FUNCTIONS", "T": "TYPES", "n": "SCHEMAS", "L": "LARGE OBJECTS",
}  # fmt: skip
_KINDS = {letter: sql.SQL(name) for letter, name in _KIND_NAMES.items()}
_OPEN_TO_ALL = ("f", "T")
"""PostgreSQL lets everybody call functions and use types."""
_SET = sql.SQL("""
    SELECT d.defaclobjtype::text AS kind, n.nspname::text AS schema, ARRAY(
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee)::text END
        FROM aclexplode(d.defaclacl) a ORDER BY 1) AS grantees
    FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
    WHERE pg_get_userbyid(d.defaclrole) = %s ORDER BY 2 NULLS FIRST, 1
""")
