"""Which notices servers give: each phase that somebody has to know of, once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.decisions.announce import change_of, is_due, is_overdue, notice
from shared.platform.reasons import Reason
from shared.records.columns import ServerNews
from shared.records.notices import (
    Data,
    PreparationBlocked,
    PreparedMirror,
    RestartApprovalRequired,
    ServerPrepared,
    ServerReleased,
)
from shared.records.rows import APPROVAL_REQUIRED, MirrorRow
from tests.unit.facts import SERVER

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
APPROVAL, TIER = Reason(APPROVAL_REQUIRED, "decide"), Reason("ServerTier", "Burstable")
MIRROR = MirrorRow(server=SERVER, database="shop", workspace="w", item="i")


def server(phase: str, *reasons: Reason, **changes: Any) -> ServerNews:
    values: dict[str, Any] = {"fingerprint": "f", "run": "r:1", "updated_at": NOW}
    return ServerNews(id=SERVER, phase=phase, reasons=reasons, **values | changes)


@pytest.mark.parametrize("phase", ["New", "Preparing", "Waiting", "Releasing", "Deleted"])
def test_nothing_is_told_of_what_is_under_way(phase: str) -> None:
    assert change_of(server(phase)) == ""
    assert not is_due(server(phase))
    assert not is_due(server(phase, announced="Mirrored f"))
    assert not is_overdue(server(phase), NOW + timedelta(days=1))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (server("Mirrored"), server("Mirrored", run="r:2"), True),
        (server("Mirrored"), server("Mirrored", fingerprint="g"), False),
        (server("Released"), server("Released", run="r:2"), True),
        (server("Released"), server("Released", fingerprint="g"), False),
        (server("Mirrored"), server("Released"), False),
        (server("Blocked", TIER), server("Blocked", TIER, run="r:2"), True),
        (server("Blocked", TIER), server("Blocked", TIER, fingerprint="g"), False),
        (server("Blocked", TIER), server("Blocked", Reason("Network", "n")), False),
        (server("Blocked", TIER), server("Blocked", Reason("ServerTier", "other words")), True),
        (server("Blocked", TIER, APPROVAL), server("Blocked", APPROVAL, TIER, TIER), True),
        (server("Waiting", APPROVAL), server("Waiting", APPROVAL, fingerprint="g"), True),
        (server("Waiting", APPROVAL), server("Waiting", APPROVAL, run="r:2"), False),
        (server("Waiting", APPROVAL), server("Waiting", TIER), False),
    ],
)
def test_what_differs_is_told_again(one: ServerNews, other: ServerNews, same: bool) -> None:
    assert (change_of(one) == change_of(other)) is same


@pytest.mark.parametrize("phase", ["Blocked", "Missing"])
def test_the_reasons_are_named_in_order_in_every_process(phase: str) -> None:
    """The row keeps the words for other processes, whose sets have another order."""
    codes = server(phase, TIER, APPROVAL, Reason("Network", "n"), Reason("Capacity", "c"))
    assert change_of(codes) == f"{phase} f Capacity,Network,RestartApprovalRequired,ServerTier"


def test_a_notice_is_due_until_the_row_says_that_it_was_sent() -> None:
    blocked = server("Blocked", TIER)
    assert is_due(blocked)
    assert not is_due(server("Blocked", TIER, announced=change_of(blocked)))
    assert is_due(server("Mirrored", announced=change_of(blocked)))


def test_a_notice_is_overdue_when_its_own_run_does_not_send_it_any_more() -> None:
    blocked = server("Blocked", TIER)
    assert not is_overdue(blocked, NOW + timedelta(minutes=1))
    assert is_overdue(blocked, NOW + timedelta(minutes=1, seconds=1))
    assert not is_overdue(server("Blocked", TIER, announced=change_of(blocked)), NOW + timedelta(days=1))


@pytest.mark.parametrize(
    ("news", "data"),
    [
        (
            server("Mirrored"),
            ServerPrepared(server=str(SERVER), run="r:1", mirrors=(PreparedMirror("shop", "w", "i"),), count=1),
        ),
        (server("Released"), ServerReleased(server=str(SERVER), run="r:1")),
        (
            server("Waiting", APPROVAL),
            RestartApprovalRequired(server=str(SERVER), run="r:1", reasons=(APPROVAL,)),
        ),
        (server("Blocked", TIER), PreparationBlocked(server=str(SERVER), run="r:1", reasons=(TIER,))),
    ],
)
def test_a_notice_tells_of_the_phase(news: ServerNews, data: Data) -> None:
    made = notice(news, [MIRROR])
    assert (made.subject, made.at, made.data) == (str(SERVER), NOW, data)


def test_a_notice_of_another_run_is_another_notice() -> None:
    first, again, second = (notice(server("Blocked", TIER, run=run), []) for run in ("r:1", "r:1", "r:2"))
    assert first.id == again.id != second.id
