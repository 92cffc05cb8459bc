"""When a change of level counts: flaps are not told, changes that hold are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.decisions.health import SEVERITY, Assessment
from shared.decisions.standing import BEING_MADE, Standing, settle, waiting
from shared.platform.reasons import Reason
from shared.records.rows import HealthRow, Level
from tests.unit.facts import SERVER

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
SLOW = (Reason("LatencyHigh", "slow"),)


def at(number: int) -> datetime:
    return BEGIN + timedelta(minutes=5 * number)


def kept(standing: Standing) -> HealthRow:
    return HealthRow(workspace="w", item="i", server=SERVER, database="shop", **msgspec.structs.asdict(standing))


def course(levels: str, confirmations: int) -> list[Standing]:
    """What counts after each observation. A letter is a level's first one: H, S, D or U."""
    names = {"H": "Healthy", "S": "Stopped", "D": "Degraded", "U": "Unhealthy"}
    found: list[Standing] = []
    for number, letter in enumerate(levels):
        previous = kept(found[-1]) if found else None
        seen = Assessment(names[letter], SLOW if letter != "H" else ())
        found.append(settle(previous, seen, at(number), confirmations))
    return found


@pytest.mark.parametrize(
    ("seen", "confirmations", "counts"),
    [
        ("H", 2, "H"),
        ("U", 2, "H"),  # a new one was healthy before
        ("UU", 2, "HU"),
        ("U", 1, "U"),
        ("SHS", 2, "HHH"),
        ("HDH", 1, "HDH"),
        ("HDDDH", 2, "HHDDD"),
        ("HDHDHDH", 2, "HHHHHHH"),
        ("HDDHDDHH", 3, "HHHHHHHH"),
        ("HDUDU", 2, "HHUUU"),  # never healthy again: what it is now counts
        ("DDHDHHD", 2, "HDDDDHH"),
        ("HDSU", 4, "HHHH"),
    ],
)
def test_what_counts(seen: str, confirmations: int, counts: str) -> None:
    assert "".join(standing.level[0] for standing in course(seen, confirmations)) == counts


def test_a_change_that_counts_began_when_it_was_first_seen() -> None:
    *_, waiting, changed, later = course("HHDDD", 2)
    assert (waiting.level, waiting.pending, waiting.pending_since, waiting.reasons) == ("Healthy", 1, at(2), ())
    assert (changed.level, changed.since, changed.pending, changed.pending_since) == ("Degraded", at(2), 0, None)
    assert changed.reasons == SLOW
    assert later.since == at(2)


def test_a_flap_leaves_no_trace() -> None:
    assert course("HDH", 2)[-1] == Standing(level="Healthy", reasons=(), since=at(0))


def test_reasons_follow_while_the_level_stays() -> None:
    before = settle(None, Assessment("Degraded", SLOW), at(0), 2)
    other = (Reason("SlotInactive", "nobody reads"),)
    assert settle(kept(before), Assessment("Degraded", other), at(1), 2).reasons == other


@given(st.lists(st.sampled_from(SEVERITY), min_size=1, max_size=30), st.integers(1, 5))
def test_no_change_is_told_before_it_held_and_every_one_that_held_is(levels: list[str], confirmations: int) -> None:
    standing: Standing | None = None
    for number, level in enumerate(levels):
        before = standing
        standing = settle(kept(before) if before else None, Assessment(level), at(number), confirmations)  # type: ignore[arg-type]
        last = levels[max(0, number + 1 - confirmations) : number + 1]
        if before and standing.level != before.level:
            assert len(last) == confirmations
            assert before.level not in last
        if len(last) == confirmations and len(set(last)) == 1:
            assert standing.level == level


@pytest.mark.parametrize(
    ("told", "seen", "level", "pending"),
    [
        ("Unhealthy", "Unhealthy", "Unhealthy", 0),
        ("Unhealthy", "Healthy", "Unhealthy", 1),
        ("Healthy", "Healthy", "Healthy", 0),
    ],
)
def test_a_mirror_that_was_made_again_is_compared_with_what_was_told(
    told: Level, seen: Level, level: Level, pending: int
) -> None:
    row = kept(settle(None, Assessment("Degraded"), at(0), 1))
    row = waiting(msgspec.structs.replace(row, announced=told), at(1))
    assert (row.level, row.reasons) == ("Unknown", (BEING_MADE,))
    after = settle(row, Assessment(seen), at(2), 2)
    assert (after.level, after.pending) == (level, pending)


def test_another_unknown_level_is_compared_as_it_is() -> None:
    row = kept(settle(None, Assessment("Unknown", (Reason("FabricUnknown", "down"),)), at(0), 1))
    assert settle(row, Assessment("Healthy"), at(1), 2).level == "Unknown"
