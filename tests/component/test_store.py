"""The store against real Azurite, opened with a token of the app's identity."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from azure.core.credentials import AccessToken
from azure.data.tables.aio import TableServiceClient

from local.cloud import tokens
from local.stack import Stack
from shared.decisions.outcome import Outcome
from shared.desired.intent import Wish
from shared.desired.server_id import ServerId
from shared.platform import clients, errors
from shared.platform.reasons import Reason, short
from shared.platform.settings import settings
from shared.records import glance, store
from shared.records.rows import HealthRow
from shared.steps import record as steps_record
from shared.steps import requests
from tests.component.app import app_environment

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)


@pytest.fixture(scope="module")
def stack(stack_factory: Callable[..., Stack]) -> Stack:
    return stack_factory("front_door", "identity", "azurite")


@pytest.fixture(autouse=True)
async def app(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    app_environment(stack.topology, monkeypatch)
    yield
    await clients.close()
    settings.cache_clear()


def server(name: str) -> ServerId:
    return ServerId(SUBSCRIPTION, "rg-(ü).1", name)


def health(item: str, minutes: float = 0, workspace: str = "w1", level: str = "Healthy") -> HealthRow:
    return HealthRow(
        workspace=workspace, item=item, server=server("pg-health"), database="shop", level=level,
        updated_at=NOW + timedelta(minutes=minutes), retained_wal_bytes=2**40, latency_seconds=3.0, slot_active=True,
    )  # fmt: skip


async def test_the_number_of_a_rotation_does_not_come_again_when_the_tables_are_lost() -> None:
    """Key Vault keeps it with the password."""
    id = server("pg-rotated")
    await store.update_server(id, role="fabric_user")
    numbers = []
    for _ in range(3):
        await requests.rotate(id)
        found = await store.read_server(id)
        assert found
        numbers.append(found.rotation)
    assert NOW.timestamp() < numbers[0] < numbers[1] < numbers[2]


async def test_a_restart_is_asked_of_the_mirror_that_is_there_alone() -> None:
    id, database = server("pg-asked"), "shop"
    assert not await store.ask_for_restart(id, database, "one")
    assert await store.read_mirror(id, database) is None
    await store.update_mirror(id, database, item="two")
    assert not await store.ask_for_restart(id, database, "one")
    assert await store.ask_for_restart(id, database, "two")
    assert (await store.list_mirrors_of(id))[0].reseed


async def test_a_server_is_made_changed_listed_and_deleted() -> None:
    id = server("pg-life")
    assert await store.read_server(id) is None
    made = await store.update_server(id, phase="Waiting", baseline_worker_processes=8)
    changed = await store.update_server(id, reasons=(Reason("A", "says", "do"),))
    assert changed.phase == "Waiting"
    assert changed.baseline_worker_processes == 8
    assert changed.updated_at > made.updated_at > NOW
    assert await store.read_server(id) == changed
    assert id in [row.id async for row in store.list_servers()]
    await store.delete_server(id)
    await store.delete_server(id)
    assert await store.read_server(id) is None


async def test_a_report_of_any_length_comes_back_in_full_and_takes_the_place_of_the_last_one() -> None:
    id, other = server("pg-report"), server("pg-other-report")
    for report in ("ä𝕏" * 400_000, "short", "ä𝕏" * 300_000):
        parts = store.parts_of(id, report)
        await store.write_report(parts)
        await store.write_report(store.parts_of(other, report))
        await store.delete_reports(id, but=parts[0].report_id)
        assert await store.read_report(id, parts[0].report_id) == report
    assert await store.read_report(id, store.parts_of(id, "short")[0].report_id) == ""
    assert await store.read_report(other, store.parts_of(other, "short")[0].report_id) == "short"
    await store.delete_server(id)
    assert await store.read_report(id, parts[0].report_id) == ""
    assert await store.read_report(other, parts[0].report_id) == report


async def test_the_end_of_a_run_is_recorded_where_the_row_has_no_room_for_it() -> None:
    """As a row of an older version may be, which has its report in full."""
    id = server("pg-full")
    await store.update_server(id, report="x" * 520_000)
    many = tuple(Reason(f"C{number}", "says" * 900, "do" * 900) for number in range(400))
    await steps_record.outcome(id, Outcome("Blocked", many))
    row = await store.read_server(id)
    assert row
    assert (row.phase, row.report, row.reasons) == ("Blocked", "", short(many))
    assert "There are more reasons: 1 of C" in row.reasons[-1].message


async def test_the_parameters_that_the_app_set_are_noted() -> None:
    id = server("pg-parameters")
    assert await store.note_parameter(id, "wal_level", is_set=True)
    assert not await store.note_parameter(id, "wal_level", is_set=True)
    assert await store.note_parameter(id, "azure.extensions", is_set=True)
    assert await store.note_parameter(id, "wal_level", is_set=False)
    row = await store.read_server(id)
    assert row
    assert row.parameters == ("azure.extensions",)


async def test_an_update_that_changes_nothing_writes_nothing() -> None:
    first = await store.update_server(server("pg-same"), phase="Preparing")
    assert await store.update_server(server("pg-same"), phase="Preparing") == first


async def test_updates_at_the_same_time_lose_nothing() -> None:
    id = server("pg-race")
    fields = {"phase": "Preparing", "request": Wish(), "fingerprint": "f", "report": "[]", "role": "r", "run": "run-1"}
    await asyncio.gather(*(store.update_server(id, **{name: value}) for name, value in fields.items()))
    row = await store.read_server(id)
    assert row is not None
    assert {name: getattr(row, name) for name in fields} == fields


@pytest.mark.parametrize("database", ["shop", "a/b\\c#d?e", "Ünï'\"; drop", "100%", "=3D", " ", "語" * 21])
async def test_databases_of_any_name(database: str) -> None:
    written = await store.update_mirror(server("pg-names"), database, phase="Running", login="é" * 200_000)
    assert await store.read_mirror(server("pg-names"), database) == written
    shorter = await store.update_mirror(server("pg-names"), database, login="short")
    assert await store.read_mirror(server("pg-names"), database) == shorter
    assert database in [row.database for row in await store.list_mirrors_of(server("pg-names"))]
    await store.delete_mirror(server("pg-names"), database)
    assert await store.read_mirror(server("pg-names"), database) is None


async def test_mirrors_are_listed_by_server_and_all_together() -> None:
    for name, database in (("pg-m1", "a"), ("pg-m1", "b"), ("pg-m2", "a")):
        await store.update_mirror(server(name), database, phase="Running")
    assert [row.database for row in await store.list_mirrors_of(server("pg-m1"))] == ["a", "b"]
    everything = {(row.server.name, row.database) async for row in store.watched()}
    assert {("pg-m1", "a"), ("pg-m1", "b"), ("pg-m2", "a")} <= everything


async def test_a_record_too_large_is_refused_before_it_is_sent() -> None:
    with pytest.raises(errors.Blocked, match="'shop' takes"):
        await store.update_mirror(server("pg-large"), "shop", login="x" * 600_000)
    assert await store.read_mirror(server("pg-large"), "shop") is None


async def test_health_keeps_the_latest_and_a_history_newest_first() -> None:
    for minutes, level in ((0, "Healthy"), (5, "Stopped"), (10, "Degraded")):
        await store.write_health([health("i1", minutes, level=level), health("i2", minutes)])
    latest = await store.read_health("w1", "i1")
    assert latest is not None
    assert (latest.level, latest.retained_wal_bytes, latest.latency_seconds) == ("Degraded", 2**40, 3.0)
    assert latest.slot_active is True
    assert [row.level async for row in glance.observations("i1", NOW)] == ["Degraded", "Stopped", "Healthy"]
    assert [row.level async for row in glance.observations("i1", NOW + timedelta(minutes=5))] == ["Degraded", "Stopped"]


async def test_writing_the_same_observation_again_adds_nothing() -> None:
    for _ in range(2):
        await store.write_health([health("again")])
    assert len([row async for row in glance.observations("again", NOW)]) == 1


async def test_many_mirrors_in_several_workspaces_and_pruning() -> None:
    rows = [health(f"many-{n}", n / 100, workspace=f"many-{n % 2}") for n in range(250)]
    await store.write_health(rows)
    latest = [row.workspace async for row in store.last_looks()]
    assert (latest.count("many-0"), latest.count("many-1")) == (125, 125)
    assert len([row async for row in glance.observations("many-7", NOW)]) == 1
    await store.delete_health("many-0", "many-2")
    assert await store.read_health("many-0", "many-2") is None


async def test_rows_that_are_too_large_for_one_transaction_are_written_in_several() -> None:
    """A letter beyond ASCII takes six bytes on its way: these are 5 MiB, and a transaction takes 4."""
    words = (Reason("E", "é" * 8000),)
    rows = [msgspec.structs.replace(health(f"large-{n:02}", workspace="large"), reasons=words) for n in range(100)]
    await store.write_health(rows)
    found = await store.remembered((row.workspace, row.item) for row in rows)
    assert [(row.item, row.reasons) for row in found] == [(row.item, words) for row in rows]


async def test_a_sweep_reads_long_reasons_as_a_whole() -> None:
    words = tuple(Reason("E", "m" * 2500, "r" * 2500) for _ in range(10))
    row = msgspec.structs.replace(health("wordy", workspace="wordy"), reasons=words)
    await store.write_health([row])
    assert [found.reasons for found in await store.remembered([("wordy", "wordy")])] == [words]
    assert [found.reasons async for found in store.swept() if found.reasons[:1] == words[:1]] == [words]
    assert [found.reasons for found in await glance.mirrors("wordy")] == [words]


async def test_a_history_of_days_is_read_without_its_neighbours() -> None:
    days = [-60 * 24 * n for n in range(4)]
    await store.write_health(health(item, minutes) for item in ("day", "day-", "days", "da") for minutes in days)
    found = [row.updated_at async for row in glance.observations("day", NOW - timedelta(days=2))]
    assert found == [NOW - timedelta(days=n) for n in range(3)]
    found = [
        row.updated_at async for row in glance.observations("day", NOW - timedelta(days=9), NOW - timedelta(days=1))
    ]
    assert found == [NOW - timedelta(days=n) for n in (2, 3)]


async def test_the_names_of_failing_tables_are_kept_in_the_latest_alone() -> None:
    row = msgspec.structs.replace(health("failing"), tables_failing=1, failing=(Reason("Failed", "public.a: no key"),))
    await store.write_health([row])
    latest = await store.read_health("w1", "failing")
    assert latest is not None
    assert latest.failing == row.failing
    history = clients.tables().get_table_client("MirrorHealthHistory")
    (kept,) = [row async for row in history.query_entities("RowKey ge 'failing:' and RowKey lt 'failing;'")]
    assert (kept["tables_failing"].value, kept["failing"]) == (1, "[]")


async def test_days_that_are_over_are_pruned_the_oldest_first() -> None:
    old = [health("old", -60 * 24 * 40 - n) for n in range(250)]
    await store.write_health([*old, health("old", -60 * 24 * 30), health("old", -60 * 24 * 29)])
    limit = NOW - timedelta(days=30)
    assert await store.prune(limit, 150) == 150
    assert await store.prune(limit, 1000) == 100
    assert await store.prune(limit, 1000) == 0
    left = [row.updated_at async for row in glance.observations("old", NOW - timedelta(days=90))]
    assert left == [NOW - timedelta(days=29), NOW - timedelta(days=30)]


async def test_storage_out_of_reach_says_so() -> None:
    nowhere = TableServiceClient("https://127.0.0.1:9/none", credential=clients.credential(), retry_total=0)
    clients.once("tables", lambda: nowhere)
    with pytest.raises(errors.Unavailable, match="Table Storage is out of reach at table Servers"):
        await store.read_server(server("pg-none"))


async def test_an_identity_without_rights_is_told_which_role_is_missing(stack: Stack) -> None:
    class OfAnotherService:
        async def get_token(self, *_: str, **__: object) -> AccessToken:
            return AccessToken(*tokens.mint(stack.topology, stack.topology.principals["operator"], tokens.FABRIC))

        async def close(self) -> None: ...

    clients.once("credential", OfAnotherService)
    with pytest.raises(errors.NotAllowed, match="refused the app's identity at table Servers") as refused:
        await store.read_server(server("pg-none"))
    assert "Storage Table Data Contributor" in refused.value.remedy
    assert "\n" not in refused.value.message
