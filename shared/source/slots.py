"""Replication slots and publications of a server, and how many slots others than the mirrors use.

A slot retains WAL until its consumer has read it, so a forgotten slot fills the server's disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import msgspec
from psycopg import sql

from shared.source import extension
from shared.source.connection import Connection
from shared.source.facts import Slot, TrackedPublication
from shared.source.parameters import Used


async def slots_in_use(connection: Connection, role: str, mirrored: Sequence[str]) -> Used:
    """How many slots and WAL senders of the whole server others than the app's mirrors use.

    The count leaves out the WAL senders of the fabric role `role`, and one slot in each of the `mirrored` databases:
    the databases that the app mirrors already.
    """
    cursor = await connection.execute(_USED, {"role": role, "mirrored": list(mirrored)})
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - an aggregate always returns a row
    return Used(row["slots"], max(row["slots"], row["senders"]))


async def slots_by_database(connection: Connection) -> dict[str, tuple[Slot, ...]]:
    """The logical slots of the whole server, by database and name."""
    cursor = await connection.execute(_SLOTS)
    by_database = groupby(await cursor.fetchall(), key=lambda row: row["database"])
    return {database: tuple(msgspec.convert(row, Slot) for row in rows) for database, rows in by_database}


async def tracked_publications(connection: Connection) -> tuple[TrackedPublication, ...]:
    """The publications that `azure_cdc` tracks in the connection's database; none where it lacks the extension."""
    if "tracked_publications" not in await extension.members(connection):
        return ()
    cursor = await connection.execute(_TRACKED)
    return tuple(msgspec.convert(row, TrackedPublication) for row in await cursor.fetchall())


async def stop_publications(connection: Connection, role: str) -> None:
    """End the streams of the tracked publications that `role` owns in the connection's database, with their slots."""
    owned = [publication for publication in await tracked_publications(connection) if publication.owner == role]
    if owned:
        await extension.require_member(connection, "stop_publication")
    for publication in owned:
        await connection.execute("SELECT azure_cdc.stop_publication(%s)", [publication.name])


_USED = sql.SQL("""
    SELECT (SELECT coalesce(sum(CASE WHEN database = ANY (%(mirrored)s::text[]) THEN count - 1 ELSE count END), 0)::int
            FROM (SELECT database::text, count(*) FROM pg_replication_slots GROUP BY 1) per_database) AS slots,
           (SELECT count(*)::int FROM pg_stat_replication WHERE usename IS DISTINCT FROM %(role)s) AS senders
""")

_SLOTS = sql.SQL("""
    SELECT database::text, slot_name::text AS name, active, coalesce(wal_status, 'reserved') AS wal_status,
           greatest(coalesce(pg_current_wal_lsn() - restart_lsn, 0), 0)::bigint AS retained_bytes,
           greatest(coalesce(pg_current_wal_lsn() - confirmed_flush_lsn, 0), 0)::bigint AS lag_bytes
    FROM pg_replication_slots WHERE slot_type = 'logical' ORDER BY database, slot_name
""")

_TRACKED = sql.SQL("""
    SELECT p.pubname::text AS name, pg_get_userbyid(p.pubowner)::text AS owner, t.destination_path, t.active
    FROM azure_cdc.tracked_publications t JOIN pg_publication p ON p.oid = t.publication_id ORDER BY p.pubname
""")
