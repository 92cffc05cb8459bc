"""Rows: what is in a new one, what goes into the history, and in which ranges of keys rows are looked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from shared.platform.reasons import Reason
from shared.platform.row import EPOCH
from shared.records import store
from shared.records.columns import ServerNews, Swept, Watched
from shared.records.glance import MirrorGlance, ServerGlance
from shared.records.rows import LAST_TICK, HealthRow, HistoryRow, MirrorRow, ServerRow, history_of, inverted_ticks
from shared.records.store import Range, Span
from tests.unit.facts import SERVER

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def health(**columns: Any) -> HealthRow:
    return HealthRow(workspace="w", item="i", server=SERVER, database="shop", level="Degraded", **columns)


def test_nothing_is_said_of_a_new_server() -> None:
    row = ServerRow(id=SERVER)
    assert (row.phase, row.request, row.reasons, row.role, row.restart_refused, row.announced) == (
        "New", None, (), "", "", "",
    )  # fmt: skip
    assert (row.rotation, row.rotated, row.baseline_worker_processes, row.updated_at) == (0, 0, None, EPOCH)
    news = ServerNews(id=SERVER)
    assert (news.phase, news.reasons, news.announced, news.updated_at) == ("New", (), "", EPOCH)
    assert ServerGlance(id=SERVER).phase == "New"


def test_a_new_mirror_has_nothing_in_fabric_and_mirrors_everything() -> None:
    row = MirrorRow(server=SERVER, database="shop")
    assert (row.phase, row.item, row.connection, row.superseded, row.takeover) == ("New", "", "", (), None)
    assert (row.everything, row.reseed, row.changed_at) == (True, False, EPOCH)
    watched = Watched(server=SERVER, database="shop")
    assert (watched.phase, watched.item, watched.everything, watched.changed_at) == ("New", "", True, EPOCH)


def test_a_mirror_is_taken_for_healthy_until_a_notice_tells_something_else() -> None:
    row = health()
    assert (row.announced, row.pending, row.pending_since, row.details_at) == ("Healthy", 0, None, None)
    assert (row.tables, row.latency_seconds, row.slot_active, row.retained_wal_bytes) == (None, None, None, None)
    assert Swept(server=SERVER, database="shop", level="Healthy").retained_wal_bytes is None


def test_rows_are_written_under_their_names() -> None:
    assert ServerRow(id=SERVER).keys == (SERVER.subscription, "rg-shop:pg-shop")
    assert MirrorRow(server=SERVER, database="a b").keys == (f"{SERVER.subscription}:rg-shop:pg-shop", "a=20b")
    assert health().keys == ("w", "i")


def test_the_name_of_a_server_is_the_last_part_of_its_id() -> None:
    glance = MirrorGlance(workspace="w", item="i", server=str(SERVER), database="shop", level="Healthy")
    assert glance.server_name == "pg-shop"


def test_a_record_that_is_too_large_says_what_to_do() -> None:
    assert "fewer tables" in MirrorRow.remedy_when_too_large


@pytest.mark.parametrize(("item", "asked"), [("i", True), ("another", False), ("", False)])
def test_only_the_mirrored_database_that_was_meant_is_copied_again(item: str, asked: bool) -> None:
    row = MirrorRow(server=SERVER, database="shop", item="i")
    assert row.asked_to_copy_again(item).reseed is asked


def test_the_history_has_all_but_the_names_of_failing_tables() -> None:
    row = health(rows=7, updated_at=NOON, failing=(Reason("Failed", "public.orders"),), tables_failing=1)
    kept = history_of(row)
    assert isinstance(kept, HistoryRow)
    assert (kept.failing, kept.tables_failing, kept.rows, kept.level, kept.updated_at) == ((), 1, 7, "Degraded", NOON)
    assert kept.keys == ("2026-03-02", f"i:{inverted_ticks(NOON)}")


def test_a_day_and_a_moment_are_those_of_utc() -> None:
    east = NOON.replace(hour=1).astimezone(timezone(timedelta(hours=-3)))
    assert history_of(health(updated_at=east)).keys == ("2026-03-02", f"i:{inverted_ticks(NOON.replace(hour=1))}")
    assert inverted_ticks(datetime(1, 1, 1, tzinfo=UTC)) == str(LAST_TICK)
    assert inverted_ticks(datetime(1, 1, 1, 0, 0, 1, tzinfo=UTC)) == str(LAST_TICK - 10_000_000)


def test_the_history_is_read_from_the_latest_day_to_the_first() -> None:
    since, before = NOON - timedelta(days=2), NOON
    assert list(store.history_ranges("i", since, before)) == [
        Range(day, f"i:{inverted_ticks(before)}", f"i:{inverted_ticks(since)}")
        for day in ("2026-03-02", "2026-03-01", "2026-02-28")
    ]


def test_the_history_of_one_day_is_one_range() -> None:
    [range] = store.history_ranges("i", NOON, NOON)
    assert range.partition == "2026-03-02"


def test_the_history_without_an_end_is_read_from_today_on() -> None:
    now = datetime.now(UTC)
    ranges = list(store.history_ranges("i", now - timedelta(days=1)))
    assert ranges[0].after == "i:"
    assert len(ranges) in (2, 3)  # the day may end while the test runs
    assert now.date().isoformat() in {range.partition for range in ranges}


def test_what_is_remembered_is_read_once_for_each_workspace() -> None:
    places = [("w2", "c"), ("w1", "b"), ("w2", "a"), ("w2", "b")]
    assert list(store.spans_of(places)) == [Span("w1", "b", "b"), Span("w2", "a", "c")]
    assert list(store.spans_of([])) == []


def test_a_span_is_in_the_order_of_the_keys_not_of_the_names() -> None:
    assert list(store.spans_of([("w", "a!"), ("w", "a-")])) == [Span("w", "a-", "a=21")]
