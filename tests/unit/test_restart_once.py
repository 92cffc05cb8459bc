"""A restart whose answer was lost is looked for before it is asked for again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from azure.core.exceptions import HttpResponseError

from shared.decisions.restart_once import TO_BEGIN, TO_SHOW, Done, Seen, Send, Wait, next_move
from shared.platform.errors import Unavailable
from shared.platform.identity import NoToken
from shared.records.rows import RestartIntent
from shared.source.refusals import is_refused

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
BOOT, LATER = NOW - timedelta(days=9), NOW - timedelta(seconds=20)
SECOND = timedelta(seconds=1)


def seen(**changes: Any) -> Seen:
    return Seen(**{"pending": ("wal_level",), "state": "Ready", "started_at": BOOT, **changes})


def asked(ago: timedelta, started_at: datetime | None = BOOT, ended: bool = False) -> RestartIntent:
    return RestartIntent(NOW - ago, started_at, "by", ended)


def test_the_first_request_for_a_need_is_sent() -> None:
    move = next_move(None, seen(), NOW)
    assert isinstance(move, Send)
    assert "wal_level" in move.why


@pytest.mark.parametrize("intent", [None, asked(SECOND), asked(TO_SHOW), asked(SECOND, ended=True)])
@pytest.mark.parametrize("state", ["Ready", "Restarting"])
def test_nothing_is_sent_when_nothing_waits_for_a_restart(intent: RestartIntent | None, state: str) -> None:
    assert isinstance(next_move(intent, seen(pending=(), state=state, started_at=LATER), NOW), Done)


@pytest.mark.parametrize("intent", [None, asked(SECOND), asked(TO_SHOW)])
def test_a_server_that_is_not_ready_may_be_restarting(intent: RestartIntent | None) -> None:
    move = next_move(intent, seen(state="Restarting", started_at=None), NOW)
    assert isinstance(move, Wait)
    assert "Restarting" in move.why


@pytest.mark.parametrize(
    ("before", "now", "patience"),
    [
        pytest.param(BOOT, BOOT, TO_BEGIN, id="not restarted since"),
        pytest.param(BOOT, LATER, TO_SHOW, id="restarted, and Azure does not show it yet"),
        pytest.param(BOOT, None, TO_SHOW, id="PostgreSQL does not answer now"),
        pytest.param(None, LATER, TO_SHOW, id="PostgreSQL did not answer then"),
    ],
)
def test_a_request_whose_answer_was_lost_is_waited_for_before_it_is_sent_again(
    before: datetime | None, now: datetime | None, patience: timedelta
) -> None:
    assert isinstance(next_move(asked(patience - SECOND, before), seen(started_at=now), NOW), Wait)
    assert isinstance(next_move(asked(patience, before), seen(started_at=now), NOW), Send)


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (BOOT, BOOT, "has not been restarted since"),
        (BOOT, LATER, f"has been running since {LATER.isoformat()}"),
        (BOOT, None, "does not say since when"),
        (None, LATER, "does not say since when"),
    ],
)
def test_what_shows_of_the_restart_is_said(before: datetime | None, now: datetime | None, words: str) -> None:
    assert words in next_move(asked(SECOND, before), seen(started_at=now), NOW).why


def test_azure_has_minutes_to_begin_and_to_show_a_restart() -> None:
    assert (timedelta(minutes=2), timedelta(minutes=5)) == (TO_BEGIN, TO_SHOW)


@pytest.mark.parametrize("state", ["Stopped", "Disabled", "Inaccessible"])
def test_azure_itself_says_why_a_server_that_is_not_running_is_not_restarted(state: str) -> None:
    assert isinstance(next_move(None, seen(state=state, started_at=None), NOW), Send)


def test_a_restart_that_has_ended_holds_up_no_later_need() -> None:
    assert isinstance(next_move(asked(SECOND, ended=True), seen(started_at=LATER), NOW), Send)


def test_a_restart_that_failed_is_asked_for_again_at_once_unless_postgresql_was_restarted_all_the_same() -> None:
    failed = msgspec.structs.replace(asked(SECOND), failed=True)
    move = next_move(failed, seen(), NOW)
    assert isinstance(move, Send)
    assert "failed" in move.why
    assert isinstance(next_move(failed, seen(started_at=LATER), NOW), Wait)
    assert isinstance(next_move(failed, seen(started_at=None), NOW), Wait)


def test_a_request_without_a_token_was_never_sent() -> None:
    error = Unavailable("no token")
    error.__cause__ = NoToken("no endpoint")
    assert is_refused(error)


@pytest.mark.parametrize(
    ("status", "refused"), [(None, False), (408, False), (429, False), (500, False), (409, True), (403, True)]
)
def test_only_a_refusal_says_that_the_work_was_not_done(status: int | None, refused: bool) -> None:
    error = Unavailable("Restarting failed")
    error.__cause__ = HttpResponseError("refused")
    error.__cause__.status_code = status
    assert is_refused(error) is refused
    assert not is_refused(Unavailable("no answer"))
