"""The health of a real mirror, seen from Fabric and from PostgreSQL, and kept in Azurite."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest
from psycopg import sql

from local.postgres import PORT, SUPERUSER
from local.topology import Topology
from shared.decisions.observation import FabricSide, Observation, SourceSide
from shared.desired.server_id import ServerId
from shared.fabric import mirror
from shared.platform import clients
from shared.platform.errors import Unavailable
from shared.platform.reasons import Reason
from shared.records import glance, store
from shared.records.columns import Watched
from shared.records.rows import HealthRow, MirrorRow
from shared.source.connection import connect
from shared.source.facts import Glance
from shared.steps import observe as observing
from shared.steps import server_view, sweep
from shared.steps.observe import observe
from shared.steps.record_health import record
from tests.component.fabric.callers import Control
from tests.component.fabric.source import ROLE, Source

ODD_JUDGEMENT = """
    CREATE EXTENSION azure_cdc;
    CREATE OR REPLACE FUNCTION azure_cdc.get_all_tables_mirror_status(
        OUT table_schema text, OUT table_name text, OUT mirroring_status text, OUT mirroring_data jsonb)
    RETURNS SETOF record LANGUAGE sql AS $$ SELECT 'public'::text, 't'::text, 'OK'::text, '[{}]'::jsonb $$
"""


def unanswered(host: str) -> Reason:
    """The reason of a PostgreSQL that did not answer."""
    remedy = "See that the server runs and that the app reaches it. The next sweep looks again."
    return Reason("SourceUnknown", f"PostgreSQL at {host} did not answer within 1 s.", remedy)


def watched(row: MirrorRow) -> Watched:
    """What a sweep reads of the row."""
    return msgspec.convert(row, Watched, from_attributes=True)


async def look(row: MirrorRow) -> Observation:
    """A look as at a mirror that was never seen."""
    ((found,),) = await looks([row], {})
    return found


async def looks(rows: list[MirrorRow], latest: dict[str, HealthRow]) -> list[list[Observation]]:
    """What is seen of them, in the lists in which it comes, each in the order of `rows`."""
    mirrors = [watched(row) for row in rows]
    return [
        sorted(seen, key=lambda one: [one.mirror is mirror for mirror in mirrors].index(True))
        async for seen in observe(mirrors, latest)
    ]


async def seen(row: MirrorRow) -> HealthRow:
    """What is kept after one more look."""
    before = await store.read_health(row.workspace, row.item)
    latest = {row.item: before} if before else {}
    (observations,) = await looks([row], latest)
    (kept,) = await record(observations, latest)
    return kept


async def until(row: MirrorRow, level: str) -> HealthRow:
    async with asyncio.timeout(20):
        while (kept := await seen(row)).level != level:
            await asyncio.sleep(0.1)
    return kept


async def test_a_running_mirror_is_healthy_and_kept(row: MirrorRow) -> None:
    observation = await look(row)
    assert isinstance(observation.fabric, FabricSide)
    assert isinstance(observation.source, SourceSide)
    assert observation.source.slot is not None
    assert observation.source.publication is not None
    first, second = await until(row, "Healthy"), await seen(row)
    assert (second.tables, second.tables_replicating, second.tables_failing) == (2, 2, 0)
    assert (second.slot_active, second.wal_status, second.reasons) == (True, "reserved", ())
    assert second.since == first.since < second.updated_at
    kept = await store.read_health(row.workspace, row.item)
    assert kept is not None
    assert msgspec.structs.replace(kept, etag="") == msgspec.structs.replace(second, etag="")
    moments = [entry.updated_at async for entry in glance.observations(row.item, row.updated_at)]
    assert len(moments) >= 2
    assert moments == sorted(moments, reverse=True)


async def test_a_table_that_is_not_eligible_is_noted_between_the_looks_at_the_database_too(
    row: MirrorRow, source: Source
) -> None:
    """The mirror stays Healthy, so that most looks are glances, which do not see it."""
    source.server.execute("CREATE TABLE parted (id int) PARTITION BY RANGE (id)", database=row.database)
    first = await seen(row)
    assert first.details_at is not None
    for _ in range(3):
        kept = await seen(row)
        assert [(reason.code, "public.parted" in reason.message) for reason in kept.reasons] == [
            ("TablesNotEligible", True)
        ]
        assert (kept.level, kept.details_at) == ("Healthy", first.details_at)
    source.server.execute("DROP TABLE parted", database=row.database)
    long_ago = msgspec.structs.replace(kept, details_at=first.details_at - timedelta(hours=1))
    await store.write_latest([long_ago])
    assert (await seen(row)).reasons == ()


async def test_a_chunk_that_is_looked_at_again_after_a_crash_counts_once(
    row: MirrorRow, calls: Callable[..., list[str]], control: Control
) -> None:
    begun = datetime.now(UTC)
    chunk = (watched(row),)
    assert (await sweep.probe(chunk, begun)).calls > 0
    control("DELETE", "calls")
    assert await sweep.probe(chunk, begun) == sweep.Probed(0)
    assert calls() == []
    assert (await sweep.probe(chunk, datetime.now(UTC))).calls > 0


async def test_a_broken_table_shows_and_goes_away(row: MirrorRow, source: Source) -> None:
    await until(row, "Healthy")
    source.server.execute("ALTER TABLE a OWNER TO pgadmin", database=row.database)
    kept = await until(row, "Degraded")
    assert [reason.code for reason in kept.reasons] == ["TablesFailing", "TablesNotOwned"]
    assert "public.a" in kept.reasons[0].message
    assert kept.tables_failing == 1
    source.server.execute(f"ALTER TABLE a OWNER TO {ROLE}", database=row.database)
    mended = await until(row, "Healthy")
    assert mended.since > kept.since


async def test_a_stopped_and_a_deleted_mirror(row: MirrorRow) -> None:
    await mirror.stop(row.workspace, row.item)
    assert (await until(row, "Stopped")).status in ("Stopping", "Stopped")
    await mirror.delete(row.workspace, row.item)
    gone = await until(row, "Unhealthy")
    assert (gone.level, gone.reasons[0].code) == ("Unhealthy", "MirrorMissing")


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The databases that are connected to, as it happens."""
    made: list[str] = []

    def counted(host: str, database: str) -> Any:
        made.append(database)
        return connect(host, database)

    monkeypatch.setattr(server_view, "connect", counted)
    return made


async def test_healthy_mirrors_take_one_call_each_and_one_connection_for_their_server(
    row: MirrorRow, control: Control, calls: Callable[..., list[str]], connections: list[str]
) -> None:
    """Two mirrors that share a slot stand for two databases of a server."""
    control("PUT", "behaviour", {"initializingSeconds": 0, "operationSeconds": 0.1, "pageSize": 100})
    kept = await until(row, "Healthy")
    twins = [row, msgspec.structs.replace(row, updated_at=row.updated_at - timedelta(hours=1))]
    connections.clear()
    control("DELETE", "calls")
    (glances,) = await looks(twins, {row.item: kept})
    assert calls() == ["Mirroring_GetTablesMirroringStatus"] * 2
    assert connections == ["postgres"]
    for found in glances:
        assert isinstance(found.source, SourceSide)
        assert found.source.slot is not None
    old = msgspec.structs.replace(kept, details_at=kept.updated_at - timedelta(minutes=16))
    connections.clear()
    ((full,),) = await looks([row], {row.item: old})
    assert calls()[2:] == ["Mirroring_GetTablesMirroringStatus", "Mirroring_GetMirroringStatus"]
    assert connections == ["postgres", row.database]
    assert isinstance(full.source, SourceSide)
    assert {table.name for table in full.source.tables or ()} == {"a", "b"}


async def test_a_server_that_does_not_answer_is_given_up_and_stalls_nobody(
    row: MirrorRow, server: ServerId, hosts: dict[ServerId, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_view, "LONGEST_LOOK", 1.0)
    monkeypatch.setattr(observing, "QUIET_SECONDS", 0.3)
    kept = await until(row, "Healthy")
    with socket.socket() as silent:  # it takes connections, and says nothing
        silent.bind(("127.0.0.246", 5432))
        silent.listen()
        other = ServerId(server.subscription, "rg-silent", server.name)
        away = msgspec.structs.replace(row, server=other)
        hosts[other] = "127.0.0.246"
        begun = asyncio.get_running_loop().time()
        [good], [bad] = await looks([row, away], {row.item: kept})
        assert asyncio.get_running_loop().time() - begun < 5
    assert isinstance(good.source, SourceSide)
    assert (bad.at - good.at).total_seconds() > 0.5
    assert bad.source == unanswered("127.0.0.246")
    assert isinstance(bad.fabric, FabricSide)
    assert bad.fabric.status is not None


async def test_databases_that_hang_cost_no_more_than_a_visit_and_their_siblings_nothing(
    row: MirrorRow, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody locks the catalogue of each; the look at the server's slots still succeeds."""
    monkeypatch.setattr(server_view, "LONGEST_LOOK", 1.0)
    monkeypatch.setattr(server_view, "LONGEST_VISIT", 2.0)
    databases = [source.database("CREATE TABLE t (id int PRIMARY KEY)") for _ in range(6)]

    async def sources(*names: str) -> list[SourceSide | Reason]:
        found = await looks([msgspec.structs.replace(row, database=name) for name in names], {})
        return [one.source for seen in found for one in seen]

    with contextlib.ExitStack() as locks:
        for database in databases:
            somebody = psycopg.connect(host=str(source.server.sockets), port=PORT, user=SUPERUSER, dbname=database)
            locks.enter_context(contextlib.closing(somebody))
            somebody.execute("LOCK TABLE pg_class IN ACCESS EXCLUSIVE MODE")
        hung, sibling = await sources(databases[0], row.database)
        assert hung == unanswered(row.host)
        assert isinstance(sibling, SourceSide)
        begun = asyncio.get_running_loop().time()
        all_hung = await sources(*databases)
        assert asyncio.get_running_loop().time() - begun < 5
    assert {found.message for found in all_hung if isinstance(found, Reason)} == {
        f"PostgreSQL at {row.host} did not answer within 1 s.",
        f"PostgreSQL at {row.host} took all of the 2 s of a look for its other databases.",
    }
    assert len(all_hung) == 6


async def test_each_side_is_unknown_for_itself(
    stack: Topology, row: MirrorRow, control: Control, hosts: dict[ServerId, str]
) -> None:
    hosts[row.server] = "127.0.0.247"
    away = await look(row)
    hosts[row.server] = row.host
    assert isinstance(away.source, Reason)
    assert "127.0.0.247" in away.source.message
    assert isinstance(away.fabric, FabricSide)
    fault = {"operation": "Mirroring_GetMirroringStatus", "status": 429, "retry_after": 50}
    control("POST", "faults", fault)
    throttled = await look(row)
    assert isinstance(throttled.fabric, FabricSide)
    assert throttled.fabric.unseen is not None
    assert {table.name for table in throttled.fabric.tables} == {"a", "b"}
    assert isinstance(throttled.source, SourceSide)
    assert throttled.source.slot is not None
    await clients.close()  # and with it the pause that was asked for


async def test_the_token_goes_only_where_resource_manager_says(
    row: MirrorRow, hosts: dict[ServerId, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can write rows can't have the app log in to a host of theirs."""
    asked: list[str] = []

    def counted(host: str, database: str) -> Any:
        asked.append(host)
        return connect(host, database)

    async def unseen(id: ServerId) -> Glance:
        raise Unavailable("Azure Resource Manager did not answer.")

    forged = await store.update_mirror(row.server, row.database, host="127.0.0.245")
    monkeypatch.setattr(server_view, "connect", counted)
    assert isinstance((await look(forged)).source, SourceSide)
    assert set(asked) == {hosts[row.server]}
    asked.clear()
    monkeypatch.setattr(server_view.flexible_server, "glance", unseen)
    refused = (await look(forged)).source
    assert isinstance(refused, Reason)
    assert (refused.code, refused.message) == ("Unavailable", "Azure Resource Manager did not answer.")
    assert asked == []


async def test_a_database_that_lets_nobody_in_does_not_hide_its_slot(row: MirrorRow, source: Source) -> None:
    healthy = await until(row, "Healthy")
    limit = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}")
    source.server.execute(limit.format(sql.Identifier(row.database), sql.Literal(0)))
    observation = await look(row)
    assert isinstance(observation.source, SourceSide)
    assert observation.source.slot is not None
    assert observation.source.unseen is not None
    assert "accepts no connections (CONNECTION LIMIT is 0)" in observation.source.unseen.message
    await store.write_latest([msgspec.structs.replace(healthy, details_at=None)])
    kept = await until(row, "Unknown")
    assert [reason.code for reason in kept.reasons] == ["SourceUnknown"]
    assert (kept.slot, kept.wal_status, kept.storage_gib) == (healthy.slot, "reserved", healthy.storage_gib)
    assert kept.retained_wal_bytes is not None
    source.server.execute(limit.format(sql.Identifier(row.database), sql.Literal(-1)))
    await until(row, "Healthy")


async def test_a_look_that_fails_unexpectedly_spoils_no_other_of_its_chunk(
    row: MirrorRow, source: Source, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One database's `azure_cdc` answers in a form that nobody knows, and Fabric does of two other mirrors."""
    before = await until(row, "Healthy")
    odd = source.database("CREATE TABLE t (id int PRIMARY KEY)")
    source.server.execute(ODD_JUDGEMENT, database=odd)
    databases = msgspec.structs.replace(row, database=odd, item=str(uuid4()))
    fabrics = msgspec.structs.replace(row, item=str(uuid4()))
    times = msgspec.structs.replace(row, item=str(uuid4()))

    async def tables(workspace: str, item: str) -> tuple[mirror.TableStatus, ...]:
        if item == fabrics.item:
            raise KeyError(item)
        a, b = await tables_status(workspace, row.item)
        now = datetime.now(UTC)
        in_no_zone = now.replace(tzinfo=None) if item == times.item else now
        return msgspec.structs.replace(a, last_sync_at=now), msgspec.structs.replace(b, last_sync_at=in_no_zone)

    tables_status = mirror.tables_status
    monkeypatch.setattr(mirror, "tables_status", tables)
    chunk = [row, databases, fabrics, times]
    await sweep.probe(tuple(map(watched, chunk)), datetime.now(UTC))
    kept = await store.read_health(row.workspace, row.item)
    assert kept is not None
    assert kept.updated_at > before.updated_at
    assert f"[server={row.server.key}" in caplog.text
    assert "KeyError" in caplog.text
    observations = {one.mirror.item: one for seen in await looks(chunk, {}) for one in seen}
    expected = f"Looking at server {row.server.name!r} failed unexpectedly: KeyError."
    of_database, of_fabric = observations[databases.item], observations[fabrics.item]
    assert isinstance(of_database.source, Reason)
    assert isinstance(of_fabric.fabric, Reason)
    for reason in (of_database.source, of_fabric.fabric):
        assert (reason.code, reason.message) == ("InternalError", expected)
        assert "log" in reason.remedy
    assert isinstance(of_fabric.source, SourceSide)
    ((of_times,),) = await looks([times], {times.item: kept})
    assert of_times.fabric == of_times.source == Reason("InternalError", expected.replace("Key", "Type"), reason.remedy)


async def test_a_slot_of_somebody_else_does_not_stand_in_for_the_one_that_is_gone(
    row: MirrorRow, source: Source
) -> None:
    kept = await until(row, "Healthy")
    source.server.execute("SELECT pg_create_logical_replication_slot('debezium', 'pgoutput')", database=row.database)
    drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {}"
    end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active AND slot_name = {}"
    try:
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(psycopg.errors.ObjectInUse):  # its reader was faster
                    source.server.execute(sql.SQL(end).format(sql.Literal(kept.slot)))
                    source.server.execute(sql.SQL(drop).format(sql.Literal(kept.slot)), database=row.database)
                    break
        publication = sql.SQL("DROP PUBLICATION {}").format(sql.Identifier(kept.slot))
        source.server.execute(publication, database=row.database)
        ((seen_now,),) = await looks([row], {row.item: kept})
        assert isinstance(seen_now.source, SourceSide)
        assert (seen_now.source.slot, seen_now.source.publication) == (None, None)
        assert seen_now.source.tables is not None
    finally:
        source.server.execute(sql.SQL(drop).format(sql.Literal("debezium")), database=row.database)
