"""What a sweep comes to, and which mirrors its log warns of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.decisions.summary import MOST_WARNED_OF, endangering, sum_up
from shared.platform.reasons import Reason
from shared.platform.telemetry import Sweep
from shared.records.columns import Swept
from tests.unit.facts import SERVER

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def swept(database: str = "shop", *codes: str, **changes: Any) -> Swept:
    values: dict[str, Any] = {"level": "Healthy", "updated_at": NOW, "reasons": tuple(Reason(c, "") for c in codes)}
    return Swept(server=SERVER, database=database, **values | changes)


def test_a_sweep_is_measured() -> None:
    rows = [
        swept(retained_wal_bytes=5, updated_at=NOW - timedelta(minutes=7)),
        swept(level="Unhealthy", retained_wal_bytes=9, updated_at=NOW - timedelta(minutes=3)),
        swept(retained_wal_bytes=None),
    ]
    assert sum_up(rows, NOW - timedelta(seconds=90), NOW, 12) == Sweep(
        levels={"Healthy": 2, "Unhealthy": 1}, seconds=90, calls=12, retained_wal=9, oldest=420
    )


def test_a_sweep_without_mirrors_is_measured_too() -> None:
    assert sum_up([], NOW, NOW, 0) == Sweep(levels={}, seconds=0, calls=0, retained_wal=0, oldest=0)


@pytest.mark.parametrize(
    ("codes", "warned"),
    [
        (("WalRetained",), True), (("SlotAtRisk",), True), (("SlotLost",), True),
        (("MirrorPaused", "WalRetained"), True), (("MirrorPaused",), False), (("SlotMissing",), False), ((), False),
    ],
)  # fmt: skip
def test_the_log_warns_of_mirrors_that_endanger_their_servers(codes: tuple[str, ...], warned: bool) -> None:
    assert bool(endangering([swept("shop", *codes)])) is warned


def test_it_warns_of_those_first_that_retain_most_and_of_so_many_at_most() -> None:
    rows = [swept(f"d{n}", "WalRetained", retained_wal_bytes=n) for n in range(30)] + [swept("lost", "SlotLost")]
    found = endangering(rows)
    assert [row.database for row in found] == [f"d{n}" for n in range(29, 29 - MOST_WARNED_OF, -1)]
    assert [row.database for row in endangering([rows[-1], rows[3]])] == ["d3", "lost"]
