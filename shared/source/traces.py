"""What the app has left on a server, as the server itself tells it. The app's own record may be lost, or be of another
place: a server can be moved, and a database can be restored as another server's.

One query tells it for all databases: `pg_shdepend` lists what depends on a role in every database of the server.
"""

from __future__ import annotations

import msgspec
from psycopg import sql

from shared.source.connection import Connection
from shared.source.role import COMMENT


class Traces(msgspec.Struct, frozen=True):
    """A role of the fabric role's name."""

    ours: bool
    """By the comment on it, the app made it."""
    databases: tuple[str, ...]
    """The databases in which it has something, in order of name; without those that accept no connections."""


async def look(connection: Connection, role: str) -> Traces | None:
    """What there is of the role `role`. `connection` leads to any database of the server. None: there is no role."""
    row = await (await connection.execute(_TRACES, {"role": role, "comment": COMMENT})).fetchone()
    return Traces(row["ours"], tuple(row["databases"])) if row else None


_TRACES = sql.SQL("""
    SELECT shobj_description(r.oid, 'pg_authid') IS NOT DISTINCT FROM %(comment)s AS ours, ARRAY(
        SELECT d.datname::text FROM pg_database d
        WHERE d.datallowconn AND EXISTS (
            SELECT FROM pg_shdepend s
            WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
              AND (s.dbid = d.oid OR s.classid = 'pg_database'::regclass AND s.objid = d.oid))
        ORDER BY 1) AS databases
    FROM pg_roles r WHERE r.rolname = %(role)s
""")
