"""Replication slots and publications of a server: those of the mirrors, and what everybody else uses.

A slot retains WAL until its consumer has read it: a forgotten one fills the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import msgspec
from psycopg import sql

from shared.source.connection import Connection
from shared.source.facts import Slot, TrackedPublication
from shared.source.parameters import Used


async def slots_in_use(connection: Connection, role: str, mirrored: Sequence[str]) -> Used:
    """Slots and WAL senders of the whole server that are not used by mirrors: `role`'s senders, and one slot in each
    of the `mirrored` databases (those that the app already mirrors), don't count."""
    cursor = await connection.execute(_USED, {"role": role, "mirrored": list(mirrored)})
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - aggregates always give a row
    return Used(row["slots"], max(row["slots"], row["senders"]))


async def slots_by_database(connection: Connection) -> dict[str, tuple[Slot, ...]]:
    """The logical slots of the whole server, by database and name."""
    cursor = await connection.execute(_SLOTS)
    rows = groupby(await cursor.fetchall(), key=lambda row: row["database"])
    return {database: tuple(msgspec.convert(row, Slot) for row in found) for database, found in rows}


async def tracked_publications(connection: Connection) -> tuple[TrackedPublication, ...]:
    """What `azure_cdc` tracks in the connection's database; nothing where the extension isn't installed."""
    if not await has_relation(connection, "azure_cdc.tracked_publications"):
        return ()
    cursor = await connection.execute(_TRACKED)
    return tuple(msgspec.convert(row, TrackedPublication) for row in await cursor.fetchall())


async def stop_publications(connection: Connection, role: str) -> None:
    """End the streams of the tracked publications that `role` owns in the connection's database, with their slots."""
    for publication in await tracked_publications(connection):
        if publication.owner == role:
            await connection.execute("SELECT azure_cdc.stop_publication(%s)", [publication.name])


async def has_relation(connection: Connection, name: str) -> bool:
    """Whether the database has this table or view (`schema.name`, as SQL writes it) and lets us use its schema."""
    cursor = await connection.execute("SELECT to_regclass(%s) IS NOT NULL AS found", [name])
    row = await cursor.fetchone()
    return bool(row and row["found"])


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
