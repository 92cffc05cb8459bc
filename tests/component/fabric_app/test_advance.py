"""The way of a mirror to Running, step by step: what is waited for, what is noted, and what a person has to do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from local.topology import Topology
from shared.decisions import start
from shared.desired.server_id import ServerId
from shared.fabric import connection
from shared.fabric import mirror as mirrored_database
from shared.fabric.credentials import Basic
from shared.fabric.definition import definition
from shared.platform import errors, reasons
from shared.platform.reasons import Reason
from shared.records import store
from shared.records.rows import MirrorRow
from shared.steps import mirror, record
from tests.component.fabric.callers import Control
from tests.component.fabric.source import PASSWORD, ROLE, Source

ORDERS = "CREATE TABLE orders (id int PRIMARY KEY)"

type Made = Callable[..., Awaitable[MirrorRow]]


@pytest.fixture
async def made(workspace: str, server: ServerId, source: Source) -> AsyncIterator[Made]:
    """`made("CREATE TABLE …", tables=…, owner=…)`: a mirrored database that an earlier step has made and noted."""
    rows = []

    async def make(tables: str = ORDERS, chosen: list[tuple[str, str]] | None = None, owner: str = ROLE) -> MirrorRow:
        database = source.database(tables, owner)
        name = connection.name_of(server, database)
        link = (await connection.ensure(name, source.server.address, database, Basic(ROLE, PASSWORD))).id
        found = await mirrored_database.ensure(workspace, definition(link, database, chosen), name="shop", mark=name)
        known = {
            "connection": link,
            "workspace": workspace,
            "item": found.id,
            "item_name": found.name,
            "phase": "Preparing",
        }
        rows.append(await store.update_mirror(server, database, **known))
        return rows[-1]

    yield make
    for row in rows:
        await mirrored_database.delete(row.workspace, row.item)


async def until_running(row: MirrorRow, started: bool = False) -> MirrorRow:
    """As the orchestrator does, only faster: the row in the end."""
    async with asyncio.timeout(20):
        while True:
            try:
                seen = await mirror.advance(row.server, row.database, started)
            except errors.Unavailable:
                await asyncio.sleep(0.1)
                continue
            started = seen.started
            if seen.running:
                break
            await asyncio.sleep(0.1)
    return await kept(row)


async def kept(row: MirrorRow) -> MirrorRow:
    found = await store.read_mirror(row.server, row.database)
    assert found
    return found


async def test_a_mirror_comes_up_once_and_is_left_alone(made: Made, calls: Callable[..., list[str]]) -> None:
    row = await until_running(await made())
    assert (row.phase, row.reasons) == ("Running", ())
    again = await until_running(row)
    assert again.updated_at == row.updated_at
    assert calls().count("Mirroring_StartMirroring") == 1


async def test_only_what_changes_the_mirror_counts_as_its_change(made: Made) -> None:
    """Health gives a mirror time after a change. A run that ends as Blocked, hour by hour, gives it none."""
    row = await made()
    started = await mirror.advance(row.server, row.database, False)
    starting = await kept(row)
    assert starting.changed_at > row.changed_at
    up = await until_running(row, started.started)
    assert up.changed_at > starting.changed_at
    await record.mirror_problem(up.server, up.database, (Reason("TableNotTakeable", "m", "r"),))
    assert (await kept(up)).phase == "Blocked"
    await store.update_mirror(up.server, up.database, phase="Preparing")
    again = await until_running(up)
    assert (again.phase, again.changed_at) == ("Running", up.changed_at)


async def test_tables_that_fail_are_noted_with_fabrics_error(made: Made, source: Source) -> None:
    row = await until_running(await made(ORDERS, chosen=[("public", "orders"), ("public", "missing")]))
    assert row.phase == "Running"
    [reason] = row.reasons
    assert (reason.code, reason.message) == (
        "TABLE_DOES_NOT_EXIST", "public.missing: In schema public, table missing does not exist.",
    )  # fmt: skip
    assert "readiness says what a table lacks" in reason.remedy
    with source.connect(row.database, ROLE, PASSWORD) as owner:
        owner.execute("CREATE TABLE missing (id int PRIMARY KEY)")
    async with asyncio.timeout(15):
        while (row := await until_running(row)).reasons:
            await asyncio.sleep(0.1)


async def test_of_many_failing_tables_some_are_named_and_all_are_counted(made: Made) -> None:
    missing = [("public", f"missing_{number:02}") for number in range(start.MOST_NAMED + 5)]
    row = await until_running(await made(ORDERS, chosen=[("public", "orders"), *missing]))
    assert len(row.reasons) == start.MOST_NAMED + 1
    assert (row.reasons[-1].code, row.reasons[-1].message) == ("TablesFailing", "5 more tables fail.")


async def test_initializing_is_waited_out(made: Made, control: Control, calls: Callable[..., list[str]]) -> None:
    control("PUT", "behaviour", {"initializingSeconds": 60})
    row = await made()
    with pytest.raises(errors.Unavailable, match="is Initializing; it can be started when that is over") as waiting:
        await mirror.advance(row.server, row.database, False)
    assert waiting.value.retry_after
    assert "Mirroring_StartMirroring" not in calls()
    control("PUT", "behaviour", {"initializingSeconds": 0})
    assert (await until_running(row)).phase == "Running"


async def test_a_mirror_that_does_not_come_up_says_why(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    row = await made(ORDERS, owner="pgadmin")
    with pytest.raises(
        errors.Blocked, match=r"'shop' did not start: Internal error .*must be owner of table"
    ) as failed:
        await until_running(row)
    assert failed.value.code == "MirrorNotStarted"
    assert "a missing right or an unreachable server" in failed.value.remedy
    reason = reasons.of(failed.value)
    await record.mirror_problem(row.server, row.database, (reason,))
    again = await mirror.advance(row.server, row.database, True)  # the error may be the one of the earlier start
    assert (again.running, again.started) == (False, True)
    monkeypatch.setattr(start, "SETTLED", timedelta(0))
    with pytest.raises(errors.Blocked, match="'shop' did not start"):
        await mirror.advance(row.server, row.database, True)


async def test_a_paused_capacity_refuses_the_start(made: Made, stack: Topology, control: Control) -> None:
    row = await made()
    control("PUT", f"capacities/{stack.capacity}", {"state": "Inactive"})
    with pytest.raises(errors.Blocked, match=r"startMirroring: .* is currently paused\. \(CapacityNotActive") as paused:
        await mirror.advance(row.server, row.database, False)
    assert paused.value.code == "CapacityNotActive"
    assert "Resume the capacity" in paused.value.remedy


async def test_a_capacity_paused_during_the_start_is_told_and_mended(
    made: Made, stack: Topology, control: Control
) -> None:
    row = await until_running(await made())
    control("PUT", f"capacities/{stack.capacity}", {"state": "Inactive"})
    with pytest.raises(errors.Blocked, match="'shop' was paused while it started, as its capacity was") as paused:
        await mirror.advance(row.server, row.database, True)
    assert (paused.value.code, "Resume the capacity" in paused.value.remedy) == ("MirrorPaused", True)
    control("PUT", f"capacities/{stack.capacity}", {"state": "Active"})
    assert (await until_running(row)).phase == "Running"


async def test_a_mirror_that_is_to_be_seeded_anew_is_stopped_first(made: Made, calls: Callable[..., list[str]]) -> None:
    row = await until_running(await made())
    await store.update_mirror(row.server, row.database, reseed=True)
    row = await until_running(row)
    assert (row.phase, row.reseed) == ("Running", False)
    assert calls().count("Mirroring_StopMirroring") == 1
    assert calls().count("Mirroring_StartMirroring") == 2


async def test_a_restart_lets_no_old_status_deceive_it(
    made: Made, calls: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fabric may show a mirror as Running that was just stopped. What is done twice here is begun after a crash."""
    row = await until_running(await made())
    await store.update_mirror(row.server, row.database, phase="Restarting", changed_at=datetime.now(UTC))
    with pytest.raises(errors.Unavailable, match="does not show yet that mirrored database 'shop' was stopped"):
        await mirror.restart(row.server, row.database)
    assert start.is_restart_due(await kept(row))
    await mirrored_database.stop(row.workspace, row.item)
    async with asyncio.timeout(10):
        while start.is_restart_due(await kept(row)):
            with contextlib.suppress(errors.Unavailable):
                await mirror.restart(row.server, row.database)
    await mirror.restart(row.server, row.database)
    assert calls().count("Mirroring_StartMirroring") == 2
    assert (await until_running(row)).phase == "Running"
    await store.update_mirror(row.server, row.database, phase="Restarting")
    monkeypatch.setattr(start, "SETTLED", timedelta(0))
    await mirror.restart(row.server, row.database)  # somebody else started it
    assert (await kept(row)).phase == "Starting"
    assert calls().count("Mirroring_StartMirroring") == 2


async def test_a_start_of_an_earlier_step_still_stands(made: Made, calls: Callable[..., list[str]]) -> None:
    """A restart has started it, and Fabric shows it as Stopped for some time yet."""
    row = await until_running(await made())
    await mirrored_database.stop(row.workspace, row.item)
    async with asyncio.timeout(10):
        while (await mirrored_database.status(row.workspace, row.item)).status != "Stopped":
            await asyncio.sleep(0.05)
    row = await store.update_mirror(row.server, row.database, phase="Starting", changed_at=datetime.now(UTC))
    seen = await mirror.advance(row.server, row.database, False)
    assert (seen.status, seen.running, seen.started) == ("Stopped", False, True)
    assert calls().count("Mirroring_StartMirroring") == 1


async def test_a_restart_of_a_mirror_that_was_deleted_is_over(made: Made) -> None:
    row = await until_running(await made())
    await store.update_mirror(row.server, row.database, reseed=True)
    await mirrored_database.delete(row.workspace, row.item)
    await mirror.restart(row.server, row.database)
    assert not start.is_restart_due(await kept(row))


async def test_one_that_is_made_anew_after_a_start_is_started_too(made: Made, calls: Callable[..., list[str]]) -> None:
    row = await until_running(await made())
    await store.update_mirror(row.server, row.database, phase="Starting", changed_at=datetime.now(UTC))
    await mirrored_database.delete(row.workspace, row.item)
    await mirror.ensure_mirror(row.server, row.database, row.workspace, "Sales", (), adopt=False)
    anew = await until_running(await kept(row))
    assert (anew.phase, anew.item == row.item) == ("Running", False)
    assert calls().count("Mirroring_StartMirroring") == 2
    await mirrored_database.delete(anew.workspace, anew.item)


async def test_a_mirror_that_was_deleted_while_it_started_is_told(made: Made) -> None:
    row = await made()
    begun = await mirror.advance(row.server, row.database, False)
    await mirrored_database.delete(row.workspace, row.item)
    with pytest.raises(errors.Blocked, match="'shop' was deleted while it started") as deleted:
        await mirror.advance(row.server, row.database, begun.started)
    assert (deleted.value.code, "makes it again" in deleted.value.remedy) == ("MirrorMissing", True)


async def test_seeding_anew_may_be_asked_for_while_the_mirror_starts(
    made: Made, source: Source, calls: Callable[..., list[str]]
) -> None:
    row = await made()
    with held_in_its_start(source, row):
        begun = await mirror.advance(row.server, row.database, False)
        again = await mirror.advance(row.server, row.database, begun.started)
        assert (begun.started, again.started, again.status, again.running) == (True, True, "Starting", False)
        await store.update_mirror(row.server, row.database, reseed=True)
        with contextlib.suppress(errors.Unavailable):  # while it is Stopping
            await mirror.advance(row.server, row.database, again.started)
    row = await until_running(row, again.started)
    assert (row.phase, row.reseed) == ("Running", False)
    assert calls().count("Mirroring_StartMirroring") == 2


async def test_a_mirror_stopped_by_hand_while_it_starts_is_told_and_left_to_the_next_run(
    made: Made, source: Source, calls: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await made()
    with held_in_its_start(source, row):
        begun = await mirror.advance(row.server, row.database, False)
        await mirrored_database.stop(row.workspace, row.item)
        just_now = await mirror.advance(row.server, row.database, begun.started)
        assert (just_now.running, just_now.started) == (False, True)  # it may be what Fabric showed before the start
        monkeypatch.setattr(start, "SETTLED", timedelta(0))
        with pytest.raises(errors.Blocked, match="'shop' was stopped while it started") as stopped:
            await until_running(row, begun.started)
    assert stopped.value.code == "MirrorStopped"
    assert "The hourly resync starts it again" in stopped.value.remedy
    assert (calls().count("Mirroring_StartMirroring"), calls().count("Mirroring_StopMirroring")) == (1, 1)
    assert (await until_running(row)).phase == "Running"


@contextlib.contextmanager
def held_in_its_start(source: Source, row: MirrorRow) -> Iterator[None]:
    """While the application locks a table, the mirror can't take its snapshot and stays Starting."""
    with source.connect(row.database, ROLE, PASSWORD) as application, application.transaction():
        application.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        yield
