"""What becomes of the rows of mirrored databases that are no more: whose recovery is told, and what is deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from shared.decisions.heirs import inherited, successions
from shared.decisions.standing import BEING_MADE, waiting
from shared.platform.reasons import Reason
from shared.records.columns import Watched
from shared.records.rows import HealthRow, LastLook
from tests.unit.facts import SERVER

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAUSED = (Reason("MirrorPaused", "paused"),)


def mirror(item: str, database: str = "shop", **changes: Any) -> Watched:
    return Watched(**{"server": SERVER, "database": database, "workspace": "w", "item": item, **changes})


def last(item: str, database: str = "shop", minutes: int = 0, workspace: str = "w") -> LastLook:
    return LastLook(
        workspace=workspace, item=item, server=SERVER, database=database, level="Unhealthy",
        updated_at=NOW + timedelta(minutes=minutes),
    )  # fmt: skip


def row(**changes: Any) -> HealthRow:
    values: dict[str, Any] = {
        "workspace": "w", "workspace_name": "Sales", "item": "old", "server": SERVER, "database": "shop",
        "level": "Unhealthy", "reasons": PAUSED, "since": NOW - timedelta(hours=2), "announced": "Degraded",
        "updated_at": NOW - timedelta(minutes=5), "pending": 1, "pending_since": NOW, "status": "Paused", "slot": "s",
        "retained_wal_bytes": 7, "storage_gib": 32, "details_at": NOW, "tables": 3,
    }  # fmt: skip
    return HealthRow(**values | changes)


def test_a_row_whose_mirror_is_there_stays() -> None:
    assert successions([mirror("i")], [last("i")]) == []


def test_a_row_whose_database_has_no_mirror_any_more_is_deleted() -> None:
    [gone] = successions([mirror("other", database="crm")], [last("i")])
    assert (gone.last, gone.heir, gone.delete) == (last("i"), None, True)
    assert gone.why == "Mirrored database i of database 'shop' is no more: the app forgets its last observation."


def test_a_mirror_that_takes_anothers_place_begins_as_that_was() -> None:
    new = mirror("new")
    [change] = successions([new], [last("old")])
    assert (change.heir, change.delete) == (new, True)
    assert change.why.endswith("mirrored database new begins as it was.")


def test_a_row_waits_until_the_mirror_is_made() -> None:
    to_be_made = mirror("")
    [change] = successions([to_be_made], [last("old")])
    assert (change.heir, change.delete) == (to_be_made, False)
    assert "waits" in change.why


@pytest.mark.parametrize("item", ["new", ""])
@pytest.mark.parametrize("phase", ["Releasing", "Deleted"])
def test_a_mirror_that_is_released_or_deleted_inherits_nothing(phase: str, item: str) -> None:
    [gone] = successions([mirror(item, phase=phase)], [last("old")])
    assert (gone.heir, gone.delete) == (None, True)


def test_a_mirror_that_has_a_row_already_inherits_nothing() -> None:
    [gone] = successions([mirror("new")], [last("new"), last("old")])
    assert (gone.last.item, gone.heir) == ("old", None)


def test_of_several_rows_the_latest_is_inherited() -> None:
    rows = [last("older", minutes=1), last("newest", minutes=3), last("middle", minutes=2)]
    assert [(change.last.item, change.heir is not None) for change in successions([mirror("new")], rows)] == [
        ("newest", True), ("middle", False), ("older", False),
    ]  # fmt: skip


def test_only_the_same_database_of_the_same_server_inherits() -> None:
    elsewhere = msgspec.structs.replace(SERVER, name="pg-other")
    [gone] = successions([mirror("a", database="crm"), mirror("b", server=elsewhere)], [last("old")])
    assert gone.heir is None


def test_the_same_item_in_another_workspace_is_another_place() -> None:
    [change] = successions([mirror("i", workspace="v")], [last("i", workspace="w")])
    assert (change.heir, change.delete) == (mirror("i", workspace="v"), True)


def test_an_heir_gets_the_level_and_what_was_told_but_no_figures() -> None:
    heir = mirror("new", workspace="v", workspace_name="Shops")
    assert inherited(row(), heir, NOW) == HealthRow(
        workspace="v", workspace_name="Shops", item="new", server=SERVER, database="shop", level="Unhealthy",
        reasons=PAUSED, since=NOW - timedelta(hours=2), announced="Degraded", updated_at=NOW - timedelta(minutes=5),
    )  # fmt: skip


def test_until_the_mirror_is_made_the_row_keeps_its_place_and_says_so() -> None:
    assert inherited(row(), mirror("", workspace="v"), NOW) == HealthRow(
        workspace="w", workspace_name="Sales", item="old", server=SERVER, database="shop", level="Unknown",
        reasons=(BEING_MADE,), since=NOW, announced="Degraded", updated_at=NOW,
    )  # fmt: skip


def test_a_row_that_goes_on_waiting_is_unknown_since_it_began_to() -> None:
    first = waiting(row(), NOW)
    again = waiting(first, NOW + timedelta(minutes=5))
    assert (first.since, again.since, again.updated_at) == (NOW, NOW, NOW + timedelta(minutes=5))
