"""One mirror at work: it starts as Fabric does, seeds its tables, and then follows and counts the real changes.

Strictly in memory: nothing is written to a lake, only counted. What would stop Fabric stops it too: a missing grant, a
table of another owner, a capacity that is paused, a slot that is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any, Protocol

import msgspec
import psycopg

from local.cloud.fabric import pgoutput
from local.cloud.fabric.protocol import error, timestamp
from local.cloud.fabric.publication import Publication, SourceTable
from local.cloud.fabric.replication import Stream
from local.cloud.fabric.source import SourceProblem

log = logging.getLogger("local")

LOOK_SECONDS = 1.0
RETRY_SECONDS = 1.0
CLEAN_UP_SECONDS = 15.0
MAX_TABLES = 1000
AT_WORK = ("Starting", "Running")


class Link(Protocol):
    """The way from the mirrored database to its source."""

    async def admit(self) -> None:
        """Raise `SourceProblem` unless the source may write into the workspace."""

    def opened(self, replication: bool = False) -> contextlib.AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        """A connection to the source database with the present credentials. Raises `SourceProblem`."""


class Table(msgspec.Struct):
    """How far one table is. `synced`: seconds since the epoch; `latency`: seconds from commit to here."""

    schema: str
    name: str
    status: str = "Initialized"
    rows: int = 0
    bytes: int = 0
    synced: float | None = None
    latency: int | None = None
    error: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.schema, self.name

    def fail(self, code: str, message: str) -> None:
        if self.error is None or self.error["errorCode"] != code:
            self.error = error(code, message)
        self.status = "Failed"

    def replicate(self) -> None:
        self.status, self.error = "Replicating", None

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "sourceObjectType": "Table",
            "sourceSchemaName": self.schema,
            "sourceTableName": self.name,
            "status": self.status,
        }
        if self.synced is not None:
            metrics: dict[str, Any] = {
                "processedBytes": self.bytes,
                "processedRows": self.rows,
                "lastSyncDateTime": timestamp(self.synced),
            }
            body["metrics"] = metrics | ({} if self.latency is None else {"lastSyncLatencyInSeconds": self.latency})
        return body | ({"error": self.error} if self.error else {})


class Counter:
    """Counts the changes of one stream into the tables' figures."""

    def __init__(self, tables: dict[tuple[str, str], Table]):
        self.tables = tables
        self._relations: dict[int, tuple[str, str]] = {}
        self._touched: set[tuple[str, str]] = set()
        self._written = 0

    def take(self, message: bytes) -> None:
        """Take one message of the stream. An empty message says nothing."""
        match pgoutput.parse(message):
            case pgoutput.Relation(oid, schema, name):
                self._relations[oid] = (schema, name)
            case pgoutput.Change(relation, size) if table := self.tables.get(self._relations[relation]):
                table.rows += 1
                table.bytes += size
                self._touched.add(table.key)
            case pgoutput.Commit(end, committed) if self._touched:
                self._commit(end, committed)

    def written_since(self) -> int:
        """The WAL position of the last commit that changed a table; 0 if there was none since the last call."""
        written, self._written = self._written, 0
        return written

    def _commit(self, end: int, committed: float) -> None:
        now = time.time()
        for key in self._touched & self.tables.keys():
            self.tables[key].synced = now
            self.tables[key].latency = max(0, round(now - committed))
        self._touched.clear()
        self._written = end


class Mirror:
    """The state that the status calls show, and the task that updates it."""

    def __init__(self, publication: Publication, link: Link, tables: set[tuple[str, str]] | None):
        self.publication, self.link, self.chosen = publication, link, tables
        self.status = "Initialized"
        self.error: dict[str, Any] | None = None
        self.tables: dict[tuple[str, str], Table] = {}
        self.generation = 0
        self._looked_at: object = None
        self._task: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()

    @property
    def at_work(self) -> bool:
        return self.status in AT_WORK

    async def start(self) -> None:
        """Start, or start again: every table is copied again."""
        async with self._changing:
            await self._halt()
            self.status, self.error, self.tables = "Starting", None, {}
            self.generation += 1
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop, and remove everything from the source, if that can be reached."""
        async with self._changing:
            await self._halt()
            self.status = "Stopping"
            self._task = asyncio.create_task(self._leave())

    async def pause(self) -> None:
        """Stop consuming, as when the capacity is paused: the slot stays, and retains WAL."""
        async with self._changing:
            if self.at_work:
                await self._halt()
                self.status = "Paused"

    async def remove(self) -> None:
        """End for good; returns when the source is clean, or could not be cleaned."""
        async with self._changing:
            await self._halt()
            await self._leave()

    async def close(self) -> None:
        """End because the service ends; the source is left as it is."""
        async with self._changing:
            await self._halt()

    async def _halt(self) -> None:
        task, self._task = self._task, None
        if task:
            task.cancel()
            await asyncio.wait([task])

    async def _leave(self) -> None:
        if self.generation:
            try:
                async with asyncio.timeout(CLEAN_UP_SECONDS), self.link.opened() as sql:
                    await self.publication.drop(sql)
            except (SourceProblem, psycopg.Error, OSError) as reason:
                log.warning("%s stays on the source: %s", self.publication.name, reason)
        self.status, self.error = "Stopped", None
        for table in self.tables.values():
            table.status, table.error = "Stopped", None

    async def _run(self) -> None:
        try:
            await self._begin()
            while True:
                await self._follow_until_interrupted()
        except SourceProblem as problem:
            self._fail(problem)
        except Exception as reason:
            log.exception("%s failed", self.publication.name)
            self._fail(SourceProblem("InternalError", "Internal error", str(reason)))

    def _fail(self, problem: SourceProblem) -> None:
        log.warning("%s stopped: %s %s", self.publication.name, problem.message, problem.cause)
        self.error = error(problem.code, problem.message, [(problem.code, problem.cause)] if problem.cause else ())
        self.status = "Stopped"
        for table in self.tables.values():
            if table.error is None:
                table.fail(problem.code, problem.message)

    async def _begin(self) -> None:
        """Everything from the first login to the end of the snapshot. Raises `SourceProblem`."""
        await self.link.admit()
        try:
            async with self.link.opened() as sql:
                try:
                    await self._seed(sql)
                except BaseException:
                    with contextlib.suppress(psycopg.Error):
                        await self.publication.drop(sql)
                    raise
        except psycopg.Error as reason:
            raise SourceProblem("InternalError", "Internal error", str(reason)) from reason

    async def _seed(self, sql: psycopg.AsyncConnection[Any]) -> None:
        publication = self.publication
        await publication.prepare(sql)
        chosen = self._choose(await publication.tables(sql))
        for table in chosen:
            self.tables[table.key] = Table(table.schema, table.name)
            if table.error and not table.can_be_published:
                self.tables[table.key].fail(*table.error)
        await publication.create(sql, [table for table in chosen if table.can_be_published], self.generation)
        async with self.link.opened(replication=True) as wire:
            snapshot = await publication.create_slot(wire, sql)
            async with publication.as_of(sql, snapshot):
                for table in chosen:
                    await self._copy(sql, table)
        await publication.snapshot_done(sql)

    def _choose(self, tables: list[SourceTable]) -> list[SourceTable]:
        """The tables to mirror, in the service's order. Chosen tables that do not exist are among them."""
        if self.chosen is None:
            return tables[:MAX_TABLES]
        by_key = {table.key: table for table in tables}
        return [by_key.get(key) or SourceTable.missing(*key) for key in sorted(self.chosen)][:MAX_TABLES]

    async def _copy(self, sql: psycopg.AsyncConnection[Any], source: SourceTable) -> None:
        table = self.tables[source.key]
        if source.error:
            table.fail(*source.error)
            return
        table.status = "Snapshotting"
        table.rows, table.bytes = await self.publication.measure(sql, source)
        table.synced = time.time()
        table.replicate()

    async def _follow_until_interrupted(self) -> None:
        """Follow the changes; a source that goes away is an error of the mirror until it is back."""
        try:
            await self._follow()
        except SourceProblem as problem:
            if not problem.passing:
                raise
            self.error = error(problem.code, problem.message, [(problem.code, problem.cause)], retriable=True)
        except (psycopg.Error, OSError) as reason:
            message = "The connection to the source was interrupted."
            self.error = error("SourceConnectionError", message, [("SourceError", str(reason).strip())], retriable=True)
        await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self) -> None:
        async with self.link.opened() as sql, self.link.opened(replication=True) as wire:
            await self.publication.require(sql)
            stream = Stream(wire, self.publication.name, self.publication.name)
            await stream.start()
            self.status, self.error = "Running", None
            counter = Counter(self.tables)
            self._looked_at, look_at = None, 0.0
            async with contextlib.aclosing(stream.messages()) as messages:
                async for message in messages:
                    counter.take(message)
                    if time.monotonic() >= look_at:
                        await self._look_if_changed(sql)
                        if written := counter.written_since():
                            await self.publication.batch_written(sql, written)
                        look_at = time.monotonic() + LOOK_SECONDS

    async def _look_if_changed(self, sql: psycopg.AsyncConnection[Any]) -> None:
        """Look at the tables, unless nothing has changed since the last look, and that look left nothing to do."""
        await self.publication.require(sql)
        state = (await self.publication.state(sql), self.chosen)
        if state != self._looked_at:
            await self._look(sql)
            self._looked_at = state if all(table.status == "Replicating" for table in self.tables.values()) else None

    async def _look(self, sql: psycopg.AsyncConnection[Any]) -> None:
        """Compare the publication with the tables to mirror now, and add, remove or mend what differs."""
        chosen = self._choose(await self.publication.tables(sql))
        published = await self.publication.members(sql)
        for source in chosen:
            table = self.tables.setdefault(source.key, Table(source.schema, source.name))
            if source.error:
                table.fail(*source.error)
            elif source.key not in published:
                await self._add(sql, source, table)
            elif table.status == "Failed":
                table.replicate()
        keys = {source.key for source in chosen}
        for key in self.tables.keys() - keys:
            if self.chosen is None:
                self.tables[key].fail(*SourceTable.gone(*key))
            else:
                del self.tables[key]  # it is not chosen any more
        await self.publication.withdraw(sql, published - keys)

    async def _add(self, sql: psycopg.AsyncConnection[Any], source: SourceTable, table: Table) -> None:
        try:
            async with self.publication.added(sql, source):
                await self._copy(sql, source)
        except psycopg.errors.LockNotAvailable:
            return  # the table is busy: the next look tries again
        except psycopg.Error as reason:
            if sql.broken:
                raise
            table.fail("SourceError", str(reason).strip())
