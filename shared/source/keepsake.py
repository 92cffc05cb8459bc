"""What is needed to give tables back, kept in their database too, so that it survives with them.

The app's own record can be lost with its storage, and a database can be restored as another server's. The keepsake is a
row in a schema of the app's own that only administrators can read. Its table is partitioned, as Fabric would mirror an
ordinary one. It exists only while the fabric role owns tables: as a member it leaves nothing in a database.
"""

from __future__ import annotations

from typing import LiteralString

import msgspec
from psycopg import sql
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from shared.desired.takeover import Takeover
from shared.platform.errors import Blocked
from shared.source.connection import Connection, explained
from shared.source.membership import borrowed, database_owner

SCHEMA = "fabric_mirror"


async def read(connection: Connection, role: str) -> Takeover | None:
    """What is kept of this fabric role in the connection's database. Raises `Blocked` with code `KeepsakeTaken`."""
    if not await _is_there(connection):
        return None
    cursor = await connection.execute("SELECT takeover FROM fabric_mirror.takeovers WHERE role = %s", [role])
    row = await cursor.fetchone()
    return msgspec.convert(row["takeover"], Takeover) if row else None


async def write(connection: Connection, takeover: Takeover) -> None:
    """Keep what is needed to give the tables back; without any table, leave nothing behind."""
    if not takeover.tables:
        await drop(connection, takeover.role)
        return
    with explained("Keeping in the database what is needed to give its tables back"):
        async with connection.transaction():
            if not await _is_there(connection):
                await _create(connection)
            await connection.execute("DELETE FROM fabric_mirror.takeovers WHERE role = %s", [takeover.role])
            await connection.execute(
                "INSERT INTO fabric_mirror.takeovers (role, takeover) VALUES (%s, %s)",
                [takeover.role, Jsonb(msgspec.to_builtins(takeover))],
            )


async def drop(connection: Connection, role: str) -> None:
    """Forget what is kept of this role, and the schema where nothing else is kept.

    A schema of somebody else has nothing of the app's, so it holds up no release.
    """
    schema = next(iter(await _objects(connection)), None)
    if schema is None or not schema["administrators"] or not await _is_there(connection):
        return
    with explained("Removing what the app kept in the database"):
        async with connection.transaction():
            await connection.execute("DELETE FROM fabric_mirror.takeovers WHERE role = %s", [role])
            cursor = await connection.execute("SELECT FROM fabric_mirror.takeovers LIMIT 1")
            if await cursor.fetchone() is None:
                await connection.execute("DROP TABLE fabric_mirror.takeovers")
                await connection.execute("DROP SCHEMA fabric_mirror")


async def _create(connection: Connection) -> None:
    async with borrowed(connection, [await database_owner(connection)]):
        await connection.execute("CREATE SCHEMA fabric_mirror AUTHORIZATION azure_pg_admin")
    for statement in _CREATE:
        await connection.execute(statement)


async def _objects(connection: Connection) -> list[DictRow]:
    """The schema, then everything in it that could run something."""
    return await (await connection.execute(_OBJECTS)).fetchall()


async def _is_there(connection: Connection) -> bool:
    """Whether the database has the keepsake, in the hands of administrators alone. Raises `Blocked`."""
    rows = await _objects(connection)
    foreign = next((row for row in rows if not row["administrators"]), None)
    if foreign:
        raise Blocked(
            f"Database {connection.info.dbname!r} has a schema {SCHEMA} with {foreign['name']!r} of "
            f"{foreign['owner']!r}, who is no administrator of the server. The app has read nothing of it.",
            code="KeepsakeTaken",
            remedy=f"Find out who made it and why. Then run as its owner: ALTER SCHEMA {SCHEMA} RENAME TO …;",
        )
    return any(row["name"] == "takeovers" and row["kind"] == "p" for row in rows)


_CREATE: tuple[LiteralString, ...] = (
    """CREATE TABLE fabric_mirror.takeovers (
           role text NOT NULL, takeover jsonb NOT NULL, kept_at timestamptz NOT NULL DEFAULT now()
       ) PARTITION BY LIST (role)""",
    "CREATE TABLE fabric_mirror.takeovers_all PARTITION OF fabric_mirror.takeovers DEFAULT",
    "ALTER TABLE fabric_mirror.takeovers OWNER TO azure_pg_admin",
    "ALTER TABLE fabric_mirror.takeovers_all OWNER TO azure_pg_admin",
    """COMMENT ON SCHEMA fabric_mirror IS
       'Managed by fabric-mirror: what is needed to give tables back to their owners.'""",
)
# Everything in the schema counts, also what runs when the table is read or written: its triggers, rules and defaults
# belong to the table's owner, and a type or function there can stand for one of PostgreSQL's.
_OBJECTS = sql.SQL("""
    WITH place AS (
        SELECT oid, nspname, nspowner FROM pg_catalog.pg_namespace WHERE nspname = 'fabric_mirror'
    ), objects (kind, name, owner) AS (
        SELECT 'schema', nspname::text, nspowner FROM place
        UNION ALL
        SELECT relkind::text, relname::text, relowner FROM pg_catalog.pg_class
        WHERE relnamespace IN (SELECT oid FROM place)
        UNION ALL
        SELECT 'function', p.proname::text, p.proowner
        FROM pg_catalog.pg_trigger t
        JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid AND c.relnamespace IN (SELECT oid FROM place)
        JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    )
    SELECT o.kind, o.name, r.rolname::text AS owner, EXISTS (
        SELECT FROM pg_catalog.pg_roles g
        WHERE g.rolname = 'azure_pg_admin' AND pg_catalog.pg_has_role(r.oid, g.oid, 'MEMBER')) AS administrators
    FROM objects o JOIN pg_catalog.pg_roles r ON r.oid = o.owner ORDER BY o.kind <> 'schema', o.kind, o.name
""")
