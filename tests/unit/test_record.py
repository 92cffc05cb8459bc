"""Which rows are kept of observations, and which notice a row gives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from shared.decisions.observation import FabricSide, Observation, SourceSide, failed
from shared.decisions.record import is_settled, is_told, judge, notice, why_dropped
from shared.fabric.facts import MirrorStatus, TableStatus
from shared.platform.reasons import Reason
from shared.records.columns import Watched
from shared.records.notices import HealthChanged
from shared.records.rows import HealthRow, MirrorRow
from shared.source.facts import TableStatus as SourceTable
from tests.unit.facts import SERVER, settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MIRROR = Watched(
    server=SERVER, database="shop", workspace="w", workspace_name="Sales", item="i", changed_at=NOW - timedelta(days=1)
)
TABLE = TableStatus(schema="public", name="t", status="Replicating", rows=1, last_sync_at=NOW, latency_seconds=2)
PART = SourceTable(
    schema="public", name="part", status="ERROR", codes=("NOT_REGULAR_TABLE",), message="", owner="fabric_user",
)  # fmt: skip
OWNED = msgspec.structs.replace(PART, name="t", status="OK", codes=())


def look(status: str = "Running", *tables: TableStatus, source: SourceSide | Reason | None = None) -> Observation:
    fabric = FabricSide(MirrorStatus(status), tables or (TABLE,))
    young = msgspec.structs.replace(MIRROR, changed_at=NOW)  # so that the missing slot is no matter
    return Observation(mirror=young, at=NOW, fabric=fabric, source=source or SourceSide())


def row(**changes: Any) -> HealthRow:
    values: dict[str, Any] = {
        "workspace": "w", "item": "i", "server": SERVER, "database": "shop", "level": "Healthy",
        "updated_at": NOW - timedelta(minutes=5),
    }  # fmt: skip
    return HealthRow(**values | changes)


def recorded(**changes: Any) -> MirrorRow:
    return MirrorRow(**{"server": SERVER, "database": "shop", "item": "i", "phase": "Running", **changes})


def test_a_row_says_which_mirror_it_is_about() -> None:
    kept = judge(look(), None, settings())
    assert (kept.workspace, kept.workspace_name, kept.item, kept.server, kept.database) == (
        "w", "Sales", "i", SERVER, "shop",
    )  # fmt: skip


def test_a_change_waits_for_its_confirmations() -> None:
    first = judge(look("Paused"), None, settings(HEALTH_CONFIRMATIONS="2"))
    assert (first.level, first.pending, first.announced) == ("Healthy", 1, "Healthy")
    second = judge(look("Paused"), first, settings(HEALTH_CONFIRMATIONS="2"))
    assert (second.level, second.pending, second.announced) == ("Unhealthy", 0, "Healthy")
    assert judge(look("Paused"), None, settings(HEALTH_CONFIRMATIONS="1")).level == "Unhealthy"


def test_what_was_told_stays_until_it_is_told_again() -> None:
    assert judge(look(), row(announced="Degraded"), settings()).announced == "Degraded"


def test_notes_on_tables_stay_while_nobody_looks_at_the_database() -> None:
    first = judge(look(source=SourceSide(tables=(OWNED, PART))), None, settings())
    first = msgspec.structs.replace(first, reasons=(Reason("TablesNotEligible", "part"), Reason("NoTables", "none")))
    for source, expected in (
        (SourceSide(), ["TablesNotEligible"]),
        (SourceSide(tables=(OWNED,)), []),
        (Reason("Unavailable", "down"), []),
    ):
        later = msgspec.structs.replace(look(source=source), at=NOW + timedelta(minutes=1))
        codes = [reason.code for reason in judge(later, first, settings(HEALTH_CONFIRMATIONS="1")).reasons]
        assert [code for code in codes if code != "SourceUnknown"] == expected
    assert judge(look(), None, settings()).reasons == ()


def test_a_mirror_that_is_gone_has_no_figures_of_fabric() -> None:
    before = row(status="Running", details_at=NOW - timedelta(hours=1))
    gone = msgspec.structs.replace(look(), fabric=FabricSide(gone=True))
    kept = judge(gone, before, settings())
    assert (kept.status, kept.details_at, kept.tables, kept.tables_at) == ("", before.details_at, None, None)


def test_the_latency_is_the_worst_of_the_tables_that_work() -> None:
    tables = (
        TABLE,
        msgspec.structs.replace(TABLE, name="u", latency_seconds=9, last_sync_at=NOW - timedelta(minutes=1)),
        msgspec.structs.replace(TABLE, name="v", latency_seconds=None, last_sync_at=None, rows=None),
        msgspec.structs.replace(TABLE, name="w", status="Failed", latency_seconds=99),
    )
    kept = judge(look("Running", *tables), None, settings())
    assert (kept.latency_seconds, kept.last_sync_at, kept.rows) == (9, NOW, 3)
    assert (kept.tables, kept.tables_replicating, kept.tables_failing) == (4, 3, 1)


def test_a_look_that_failed_as_a_whole_leaves_a_reason_for_both_sides() -> None:
    why = Reason("InternalError", "failed")
    kept = judge(failed(MIRROR, NOW, why), None, settings(HEALTH_CONFIRMATIONS="1"))
    assert (kept.level, kept.updated_at) == ("Unknown", NOW)
    assert [(reason.code, reason.message) for reason in kept.reasons] == [
        ("FabricUnknown", "failed"), ("SourceUnknown", "failed"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("now", "before", "settled"),
    [
        (row(), None, True),
        (row(level="Degraded"), None, False),
        (row(pending=1), None, False),
        (row(level="Degraded"), row(level="Degraded"), True),
        (row(level="Degraded"), row(level="Healthy"), False),
        (row(level="Healthy"), row(level="Degraded"), False),
        (row(level="Degraded", pending=1), row(level="Degraded"), False),
    ],
)
def test_only_a_change_needs_a_question_first(now: HealthRow, before: HealthRow | None, settled: bool) -> None:
    assert is_settled(now, before) is settled


@pytest.mark.parametrize(
    ("mirror", "why"),
    [
        (recorded(), ""),
        (recorded(phase="Blocked"), ""),
        (None, "is not mirrored any more"),
        (recorded(item="another"), "another mirrored database"),
        (recorded(phase="Releasing"), "is releasing"),
    ],
)
def test_nothing_is_kept_of_a_mirror_that_was_released_meanwhile(mirror: MirrorRow | None, why: str) -> None:
    found = why_dropped(row(), mirror)
    assert (why in found) if why else found == ""
    assert found == "" or "database 'shop' is not kept" in found


def test_a_notice_tells_the_level_and_the_one_before() -> None:
    reasons = (Reason("LatencyHigh", "slow"),)
    kept = row(level="Degraded", announced="Healthy", since=NOW, reasons=reasons)
    made = notice(kept)
    assert made.subject == f"{SERVER}/databases/shop"
    assert made.at == kept.updated_at
    assert made.data == HealthChanged(
        server=str(SERVER), database="shop", workspace="w", mirror="i", level="Degraded", previous="Healthy",
        since=NOW, reasons=reasons,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"updated_at": NOW + timedelta(hours=1)}, True),
        ({"reasons": ()}, True),
        ({"level": "Unhealthy"}, False),
        ({"announced": "Stopped"}, False),
        ({"since": NOW + timedelta(seconds=1)}, False),
        ({"database": "crm"}, False),
    ],
)
def test_the_same_change_has_the_same_id(changes: dict[str, Any], same: bool) -> None:
    kept = row(level="Degraded", since=NOW, reasons=(Reason("LatencyHigh", "slow"),))
    assert (notice(kept).id == notice(msgspec.structs.replace(kept, **changes)).id) is same


def test_a_level_is_told_once() -> None:
    assert is_told(row(level="Degraded", announced="Degraded"))
    assert not is_told(row(level="Degraded", announced="Healthy"))
