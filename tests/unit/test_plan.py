"""The timetable of a sweep: who is looked at, in which order and when, within the quota."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import hypothesis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.decisions.answers import Timetable
from shared.decisions.sweep import is_urgent, needs_details, not_yet_seen, plan
from shared.desired.server_id import ServerId
from shared.fabric.quota import for_background
from shared.platform.settings import Settings
from shared.records.columns import Watched
from shared.records.rows import LastLook
from tests.unit.facts import SUBSCRIPTION, settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR_AGO = NOW - timedelta(hours=1)


def mirrors(count: int, databases: int = 1, first: int = 0) -> list[Watched]:
    """So many mirrors, on servers of so many databases each."""
    return [
        Watched(
            server=ServerId(SUBSCRIPTION, "rg", f"pg-{n // databases:05}"), database=f"db-{n % databases:03}",
            workspace="w", item=f"i{n:05}", changed_at=HOUR_AGO,
        )
        for n in range(first, first + count)
    ]  # fmt: skip


def seen(mirror: Watched, **changes: object) -> LastLook:
    """Its last observation: healthy, five minutes ago, with the details looked at then."""
    row = LastLook(
        workspace=mirror.workspace, item=mirror.item, server=mirror.server, database=mirror.database, level="Healthy",
        updated_at=NOW - timedelta(minutes=5), details_at=NOW - timedelta(minutes=5),
    )  # fmt: skip
    return msgspec.structs.replace(row, **changes)


def latest(found: list[Watched], **changes: object) -> dict[str, LastLook]:
    return {mirror.item: seen(mirror, **changes) for mirror in found}


def items(made: Timetable) -> list[str]:
    return [mirror.item for chunk in made.chunks for mirror in chunk.mirrors]


def test_healthy_mirrors_take_one_call_each_and_fill_their_time() -> None:
    everybody = mirrors(800)
    made = plan(everybody, latest(everybody), NOW, settings())
    assert [len(chunk.mirrors) for chunk in made.chunks] == [100] * 8
    pace = for_background(200) / 60
    assert [chunk.after for chunk in made.chunks] == pytest.approx([n * 100 / pace for n in range(8)], abs=0.1)
    assert made.left == 0


@pytest.mark.parametrize(
    ("changes", "urgent", "details"),
    [
        ({}, False, False),
        ({"level": "Degraded"}, True, True),
        ({"level": "Unknown"}, True, True),
        ({"pending": 1}, True, True),
        ({"updated_at": HOUR_AGO - timedelta(seconds=1)}, True, True),  # the mirror was changed since
        ({"updated_at": HOUR_AGO}, False, False),
        ({"details_at": NOW - timedelta(minutes=14, seconds=59)}, False, False),
        ({"details_at": NOW - timedelta(minutes=15)}, False, True),
        ({"details_at": None}, False, True),
    ],
)
def test_who_is_urgent_and_who_takes_a_second_call(changes: dict[str, object], urgent: bool, details: bool) -> None:
    (mirror,) = mirrors(1)
    row = seen(mirror, **changes)
    assert (is_urgent(mirror, row), needs_details(mirror, row, NOW, settings())) == (urgent, details)


def test_a_mirror_that_was_never_seen_is_urgent() -> None:
    (mirror,) = mirrors(1)
    assert is_urgent(mirror, None)
    assert needs_details(mirror, None, NOW, settings())


def test_urgent_ones_come_first() -> None:
    everybody = mirrors(300)
    rows = latest(everybody)
    bad = [mirror.item for mirror in everybody[::50]]
    for item in bad:
        rows[item] = msgspec.structs.replace(rows[item], level="Unhealthy")
    made = plan(everybody, rows, NOW, settings())
    assert items(made)[:6] == bad
    assert sorted(items(made)) == sorted(mirror.item for mirror in everybody)


def test_what_does_not_fit_is_looked_at_in_turns_the_oldest_first() -> None:
    everybody = mirrors(2000)
    rows = latest(everybody)
    for sweep in range(12):
        now = NOW + timedelta(minutes=5 * sweep)
        made = plan(everybody, rows, now, settings(DETAILS_MINUTES="1000"))
        assert len(items(made)) == int(196 * 4.5)
        assert made.left == 2000 - len(items(made))
        for chunk in made.chunks:
            for mirror in chunk.mirrors:
                looked = now + timedelta(seconds=chunk.after)
                rows[mirror.item] = msgspec.structs.replace(rows[mirror.item], updated_at=looked)
        if sweep >= 2:  # three sweeps see all of them
            assert now - min(row.updated_at for row in rows.values()) < timedelta(minutes=10)


def test_many_unhealthy_ones_leave_the_healthy_their_share() -> None:
    bad, good = mirrors(1500), mirrors(500, first=1500)
    rows = latest(bad, level="Unhealthy") | latest(good)
    chosen = set(items(plan([*bad, *good], rows, NOW, settings())))
    calls = 196 * 4.5
    assert len(chosen & {mirror.item for mirror in bad}) == int(calls * 0.75 / 2)
    assert len(chosen & {mirror.item for mirror in good}) == pytest.approx(calls * 0.25, abs=2)


def test_what_the_healthy_do_not_need_goes_to_the_urgent() -> None:
    bad, good = mirrors(1500), mirrors(20, first=1500)
    made = plan([*bad, *good], latest(bad, level="Unhealthy") | latest(good), NOW, settings())
    assert len(items(made)) == 20 + int((196 * 4.5 - 20) / 2)


def test_the_urgent_get_all_calls_where_nobody_else_waits() -> None:
    bad = mirrors(1500)
    assert len(items(plan(bad, latest(bad, level="Unhealthy"), NOW, settings()))) == int(196 * 4.5 / 2)


def test_the_mirrors_of_a_server_stay_together() -> None:
    everybody = mirrors(240, databases=3)
    made = plan(everybody, latest(everybody), NOW, settings())
    assert [len(chunk.mirrors) for chunk in made.chunks] == [99, 99, 42]
    one = mirrors(250, databases=250)
    made = plan(one, latest(one), NOW, settings())
    assert [len(chunk.mirrors) for chunk in made.chunks] == [100, 100, 50]


@pytest.mark.parametrize(("changes", "left_out"), [({"item": ""}, True), ({"phase": "Releasing"}, True), ({}, False)])
def test_who_has_no_mirrored_database_or_is_being_released_is_not_looked_at(
    changes: dict[str, str], left_out: bool
) -> None:
    (mirror,) = mirrors(1)
    made = plan([msgspec.structs.replace(mirror, **changes)], {}, NOW, settings())
    assert made.left == 0
    assert (items(made) == []) is left_out


def test_after_a_crash_only_the_rest_of_a_chunk_is_looked_at() -> None:
    never, before, at_the_start, since = chunk = mirrors(4)
    looks = {
        before.item: seen(before, updated_at=NOW - timedelta(seconds=1)),
        at_the_start.item: seen(at_the_start, updated_at=NOW),
        since.item: seen(since, updated_at=NOW + timedelta(seconds=1)),
    }
    assert not_yet_seen(chunk, looks, NOW) == [never, before]


def test_the_oldest_look_comes_first_among_equals() -> None:
    everybody = mirrors(2)
    older = everybody[1]
    rows = latest(everybody)
    rows[older.item] = msgspec.structs.replace(rows[older.item], updated_at=NOW - timedelta(minutes=6))
    one_call = settings(FABRIC_CALLS_PER_MINUTE="2", SWEEP_MINUTES="1", DETAILS_MINUTES="1000")
    made = plan(everybody, rows, NOW, one_call)
    assert (items(made), made.left) == ([older.item], 1)


def test_a_timetable_comes_back_from_the_wire() -> None:
    made = plan(mirrors(3), {}, NOW, settings())
    assert msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(made))), Timetable) == made


def test_nothing_to_do() -> None:
    assert plan([], {}, NOW, settings()) == Timetable((), 0)


@hypothesis.settings(deadline=None)  # of a machine that does much else
@given(
    st.integers(0, 400), st.integers(1, 7), st.integers(1, 300), st.floats(0.1, 10),
    st.lists(st.sampled_from(["Healthy", "Degraded", ""]), min_size=1, max_size=9),
)  # fmt: skip
def test_no_plan_spends_more_than_the_quota(
    count: int, databases: int, calls: int, minutes: float, levels: list[str]
) -> None:
    given_settings: Settings = settings(FABRIC_CALLS_PER_MINUTE=str(calls), SWEEP_MINUTES=str(minutes))
    everybody = mirrors(count, databases)
    rows = {
        mirror.item: seen(mirror, level=level)
        for n, mirror in enumerate(everybody)
        if (level := levels[n % len(levels)])
    }
    made = plan(everybody, rows, NOW, given_settings)

    def cost(mirror: Watched) -> int:
        return 1 + needs_details(mirror, rows.get(mirror.item), NOW, given_settings)

    chosen = items(made)
    assert len(set(chosen)) == len(chosen) == count - made.left
    pace = for_background(calls)
    assert sum(cost(m) for chunk in made.chunks for m in chunk.mirrors) <= pace * minutes
    assert all(0 < len(chunk.mirrors) <= 100 for chunk in made.chunks)
    for chunk, following in pairwise(made.chunks):
        spent = sum(map(cost, chunk.mirrors))
        assert following.after - chunk.after == pytest.approx(60 * spent / pace, abs=0.11)
