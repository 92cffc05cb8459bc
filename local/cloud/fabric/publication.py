"""What a mirror owns on its source: a publication, a logical slot of the same name, and its rows in `azure_cdc`.

Everything is done as the role of the connection, so what that role may not do fails here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from local.cloud.fabric.source import SourceProblem

RELEASE_SECONDS = 3.0
LOCK_TIMEOUT = "2s"
MESSAGES = {
    "TABLE_DOES_NOT_EXIST": "In schema {schema}, table {name} does not exist.",
    "FORBIDDEN_CHARS_IN_COLUMN_NAME": "Table {schema}.{name} has forbidden characters in its columns {details}.",
    "FORBIDDEN_CHARS_IN_TABLE_NAME": "Table {schema}.{name} has forbidden characters in its name.",
    "UNSUPPORTED_TYPE_IN_REPLICA_IDENTITY": "Table {schema}.{name} has an unsupported type in its replica identity.",
    "NOT_REGULAR_TABLE": "Table {schema}.{name} is not a regular table.",
    "NOT_TABLE_OWNER": "The current user is not the owner of table {schema}.{name}.",
}
RIGHTS = """
    SELECT rolreplication OR rolsuper AS replication, pg_has_role('azure_cdc_admin', 'MEMBER') AS cdc_admin,
           has_database_privilege(current_database(), 'CREATE') AS may_create, current_setting('wal_level') AS wal_level
    FROM pg_roles WHERE rolname = current_user"""
UNIQUE_INDEX = """
    SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = %s::regclass AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL
      AND i.indexprs IS NULL AND NOT EXISTS (
          SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid AND NOT a.attnotnull
          AND a.attnum = ANY (i.indkey[0 : i.indnkeyatts - 1]))
    ORDER BY 1 LIMIT 1"""


class SourceTable(msgspec.Struct, frozen=True):
    """A table as `azure_cdc` sees it.

    `codes`: its status codes; `error`: code and message, if it can't be mirrored. `insists`: `azure_cdc` takes nobody
    but the owner.
    """

    schema: str
    name: str
    codes: frozenset[str]
    error: tuple[str, str] | None
    insists: bool = False

    @classmethod
    def found(cls, schema: str, name: str, findings: list[dict[str, Any]], insists: bool) -> SourceTable:
        errors = [finding for finding in findings if finding["status"] == "ERROR"]
        errors.sort(key=lambda finding: finding["status_code"] == "NOT_TABLE_OWNER")
        codes = frozenset(finding["status_code"] for finding in findings)
        worst = _message(errors[0]["status_code"], schema, name, errors[0].get("details")) if errors else None
        return cls(schema, name, codes, worst, insists)

    @classmethod
    def missing(cls, schema: str, name: str) -> SourceTable:
        return cls(schema, name, frozenset(), cls.gone(schema, name))

    @staticmethod
    def gone(schema: str, name: str) -> tuple[str, str]:
        """The error of a table that does not exist."""
        return _message("TABLE_DOES_NOT_EXIST", schema, name)

    @property
    def key(self) -> tuple[str, str]:
        return self.schema, self.name

    @property
    def can_be_published(self) -> bool:
        """Fabric finds out that it has no rights on a table by trying to publish it.

        PostgreSQL lets a member of the owner do that. Where `azure_cdc` insists on the owner, Fabric does not try.
        """
        return self.error is None or (self.error[0] == "NOT_TABLE_OWNER" and not self.insists)

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def _message(code: str, schema: str, name: str, details: Any = "") -> tuple[str, str]:
    pattern = MESSAGES.get(code, "Table {schema}.{name}: " + code)
    return code, pattern.format(schema=schema, name=name, details=details)


class Publication(msgspec.Struct, frozen=True):
    """`destination`: the landing zone in OneLake that `azure_cdc` notes."""

    name: str
    destination: str

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.name)

    async def prepare(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Check the role's rights, install `azure_cdc` and remove what an earlier start left."""
        replication, cdc_admin, may_create, wal_level = await _one(connection, RIGHTS)
        if not cdc_admin:
            raise _internal("The role is not a member of azure_cdc_admin.")
        if not replication:
            raise _internal("The role does not have the attribute REPLICATION.")
        if not may_create:
            raise _internal("The role does not have the privilege CREATE on the database.")
        if wal_level != "logical":
            raise _internal(f"The server parameter wal_level is {wal_level}, not logical.")
        await connection.execute("CREATE EXTENSION IF NOT EXISTS azure_cdc")
        await self.drop(connection)

    async def tables(self, connection: psycopg.AsyncConnection[Any]) -> list[SourceTable]:
        """Every table of the database, by schema and name; views and other relations are left out."""
        rows = await connection.execute(
            "SELECT table_schema, table_name, mirroring_data,"
            " coalesce(current_setting('local.azure_cdc', true) IN ('ownership', 'silent'), false)"
            " FROM azure_cdc.all_tables_status()"
            ' ORDER BY table_schema COLLATE "C", table_name COLLATE "C"'
        )
        tables = [SourceTable.found(*row) for row in await rows.fetchall()]
        return [table for table in tables if "NOT_REGULAR_TABLE" not in table.codes]

    async def create(
        self, connection: psycopg.AsyncConnection[Any], tables: list[SourceTable], generation: int
    ) -> None:
        """Create the publication of `tables` and its record."""
        if not tables:
            raise _internal("The database has no table that can be mirrored.")
        names = sql.SQL(", ").join(table.identifier for table in tables)
        async with connection.transaction():
            for table in tables:
                await _set_replica_identity(connection, table)
            await connection.execute(sql.SQL("CREATE PUBLICATION {} FOR TABLE {}").format(self.identifier, names))
            await connection.execute(
                "INSERT INTO azure_cdc.tracked_publications (publication_id, destination_path, generation_id)"
                " SELECT oid, %s, %s FROM pg_publication WHERE pubname = %s",
                (self.destination, generation, self.name),
            )
            await self._track_tables(connection)

    async def create_slot(self, wire: psycopg.AsyncConnection[Any], connection: psycopg.AsyncConnection[Any]) -> str:
        """Create the slot; the snapshot returned shows its starting point as long as `wire` does nothing else."""
        command = sql.SQL("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput EXPORT_SNAPSHOT").format(self.identifier)
        _, start, snapshot, _ = await _one(wire, command)
        await connection.execute(
            "UPDATE azure_cdc.tracked_publications SET stream_start_lsn = %s, stream_start_time = now()"
            " WHERE publication_id = (SELECT oid FROM pg_publication WHERE pubname = %s)", (start, self.name),
        )  # fmt: skip
        return str(snapshot)

    @contextlib.asynccontextmanager
    async def as_of(self, connection: psycopg.AsyncConnection[Any], snapshot: str) -> AsyncIterator[None]:
        """A transaction that sees the database as it was at the slot's starting point."""
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
            yield

    async def measure(self, connection: psycopg.AsyncConnection[Any], table: SourceTable) -> tuple[int, int]:
        """Read the whole table: its rows, and their bytes."""
        query = sql.SQL("SELECT count(*), coalesce(sum(pg_column_size(t)), 0) FROM ONLY {} t").format(table.identifier)
        rows, size = await _one(connection, query)
        return int(rows), int(size)

    async def snapshot_done(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute(
            "UPDATE azure_cdc.tracked_publications SET snapshot_done = true, snapshot_progress = 100,"
            " snapshot_progress_percentage = '100'"
            " WHERE publication_id = (SELECT oid FROM pg_publication WHERE pubname = %s)", (self.name,),
        )  # fmt: skip

    async def require(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Raise `SourceProblem` if the changes since the last ones can't be had any more."""
        query = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s AND database = current_database()"
        slot = await (await connection.execute(query, (self.name,))).fetchone()
        if slot is None or slot[0] == "lost":
            why = "no longer exists" if slot is None else "lost WAL that it still needed"
            message = f"The replication slot {self.name} {why}. Stop mirroring and start it again."
            raise SourceProblem("ReplicationSlotLost", message)
        query = "SELECT FROM pg_publication WHERE pubname = %s"
        if await (await connection.execute(query, (self.name,))).fetchone() is None:
            message = f"The publication {self.name} no longer exists. Stop mirroring and start it again."
            raise SourceProblem("PublicationLost", message)

    async def batch_written(self, connection: psycopg.AsyncConnection[Any], lsn: int) -> None:
        """Note that every change up to this WAL position has arrived, as one more batch."""
        await connection.execute(
            "INSERT INTO azure_cdc.tracked_batches (publication_id, completed_batch_id, last_written_lsn)"
            " SELECT p.oid, 1 + coalesce(max(b.completed_batch_id), 0), '0/0'::pg_lsn + %s::numeric"
            " FROM pg_publication p LEFT JOIN azure_cdc.tracked_batches b ON b.publication_id = p.oid"
            " WHERE p.pubname = %s GROUP BY p.oid", (lsn, self.name),
        )  # fmt: skip

    async def state(self, connection: psycopg.AsyncConnection[Any]) -> tuple[Any, ...]:
        """A value that differs after any transaction that changed data or the catalogue, and while one is open."""
        asked = "SELECT pg_current_snapshot()::text, current_setting('local.azure_cdc', true)"
        return await _one(connection, asked)

    async def members(self, connection: psycopg.AsyncConnection[Any]) -> set[tuple[str, str]]:
        """The published tables, by schema and name."""
        query = "SELECT schemaname::text, tablename::text FROM pg_publication_tables WHERE pubname = %s"
        rows = await connection.execute(query, (self.name,))
        return {(schema, name) for schema, name in await rows.fetchall()}

    @contextlib.asynccontextmanager
    async def added(self, connection: psycopg.AsyncConnection[Any], table: SourceTable) -> AsyncIterator[None]:
        """Publish one more table in a transaction in which nobody writes to it, so that its rows can be counted."""
        async with connection.transaction():
            await connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))
            await connection.execute(sql.SQL("LOCK TABLE ONLY {} IN SHARE MODE").format(table.identifier))
            await _set_replica_identity(connection, table)
            command = sql.SQL("ALTER PUBLICATION {} ADD TABLE {}").format(self.identifier, table.identifier)
            await connection.execute(command)
            await self._track_tables(connection)
            yield

    async def withdraw(self, connection: psycopg.AsyncConnection[Any], tables: Iterable[tuple[str, str]]) -> None:
        """Publish these no longer."""
        for table in tables:
            command = sql.SQL("ALTER PUBLICATION {} DROP TABLE {}").format(self.identifier, sql.Identifier(*table))
            await connection.execute(command)

    async def drop(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Remove the slot, the record and the publication, whichever of them there are."""
        await self._drop_slot(connection)
        if (await _one(connection, "SELECT to_regclass('azure_cdc.tracked_publications')"))[0]:
            await connection.execute(
                "DELETE FROM azure_cdc.tracked_publications WHERE publication_id ="
                " (SELECT oid FROM pg_publication WHERE pubname = %s)", (self.name,),
            )  # fmt: skip
        await connection.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(self.identifier))

    async def _drop_slot(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """A session that still streams from the slot is ended first."""
        end = asyncio.get_running_loop().time() + RELEASE_SECONDS
        while True:
            try:
                await connection.execute(
                    "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                    " WHERE slot_name = %s AND active", (self.name,),
                )  # fmt: skip
                await connection.execute(
                    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s",
                    (self.name,),
                )
                return
            except psycopg.errors.ObjectInUse:
                if asyncio.get_running_loop().time() > end:
                    raise
                await asyncio.sleep(0.1)

    async def _track_tables(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute(
            "INSERT INTO azure_cdc.tracked_tables (publication_id, table_oid)"
            " SELECT p.oid, r.prrelid FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid"
            " WHERE p.pubname = %s ON CONFLICT DO NOTHING", (self.name,),
        )  # fmt: skip


def _internal(cause: str) -> SourceProblem:
    """The service shows no more than this message for what is missing on the source."""
    return SourceProblem("InternalError", "Internal error", cause)


async def _one(connection: psycopg.AsyncConnection[Any], query: Any) -> tuple[Any, ...]:
    row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return tuple(row)


async def _set_replica_identity(connection: psycopg.AsyncConnection[Any], table: SourceTable) -> None:
    """Without a primary key the application's updates would fail once the table is published."""
    if "HAS_PRIMARY_KEY" in table.codes:
        return
    name = table.identifier.as_string(connection)
    query = "SELECT relreplident::text IN ('f', 'i') FROM pg_class WHERE oid = %s::regclass"
    already = await (await connection.execute(query, (name,))).fetchone()
    if already is None or already[0]:
        return
    form: sql.Composable = sql.SQL("FULL")
    if "HAS_UNIQUE_INDEX" in table.codes:
        index = await (await connection.execute(UNIQUE_INDEX, (name,))).fetchone()
        form = sql.SQL("USING INDEX {}").format(sql.Identifier(index[0])) if index else form
    await connection.execute(sql.SQL("ALTER TABLE ONLY {} REPLICA IDENTITY {}").format(table.identifier, form))
