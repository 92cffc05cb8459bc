"""How orchestrators wait: longer and longer, for as long as a service says, and no longer than patience lasts.

The orchestrator is driven by hand: its time passes in timers alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from typing import Any

import msgspec
import pytest

from functions.corridor import Activity
from functions.flow import PATIENCE, Refused, call
from shared.platform.reasons import Reason

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
VALUE = {"type": "value", "value": 7}
REASON = Reason("Busy", "m", "r")


class Look(msgspec.Struct, frozen=True):
    """A request."""

    server: str


async def look(_: Look) -> int:
    return 7


LOOK = Activity(look)


class Context:
    """What of a Durable orchestration's context is used. `waits` are the seconds of its timers."""

    instance_id = "the run"

    def __init__(self) -> None:
        self.current_utc_datetime = BEGIN
        self.waits: list[float] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def call_activity(self, name: str, *, input: dict[str, Any], retry_policy: object) -> str:
        self.asked.append((name, input))
        return "activity"

    def create_timer(self, wait: timedelta) -> str:
        self.waits.append(wait.total_seconds())
        self.current_utc_datetime += wait
        return "timer"

    def run(self, answers: Iterable[dict[str, Any]], patience: timedelta = PATIENCE) -> Any:
        """What `call` gives when its activity answers so, one after the other."""
        steps, left = call(self, LOOK, Look("s"), patience), iter(answers)  # type: ignore[arg-type]
        task = next(steps)
        while True:
            try:
                task = steps.send(next(left) if task == "activity" else None)
            except StopIteration as end:
                return end.value


def later(code: str, retry_after: float | None = None, patience: float | None = None) -> dict[str, Any]:
    reason = {"code": code, "message": "m", "remedy": "r"}
    return {"type": "later", "reason": reason, "retry_after": retry_after, "patience": patience}


def refused(context: Context, answers: Iterable[dict[str, Any]], patience: timedelta = PATIENCE) -> Reason:
    with pytest.raises(Refused) as why:
        context.run(answers, patience)
    return why.value.reason


def test_it_waits_longer_and_longer_up_to_a_minute() -> None:
    context = Context()
    assert context.run([later("Busy")] * 9 + [VALUE]) == 7
    assert context.waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert context.asked == [("look", {"run": "the run", "request": {"server": "s"}})] * 10


def test_it_waits_for_as_long_as_a_service_says() -> None:
    context = Context()
    assert context.run([later("Throttled", 90), later("Throttled", 0.5), VALUE]) == 7
    assert context.waits == [90, 2]


def test_what_a_person_has_to_do_ends_it_at_once() -> None:
    context, reason = Context(), {"code": "Blocked", "message": "m", "remedy": "r"}
    assert refused(context, [{"type": "problem", "reason": reason}]) == Reason(**reason)
    assert context.waits == []


def test_patience_ends_with_the_last_answer_as_the_reason() -> None:
    context = Context()
    reason = refused(context, repeat(later("Busy")), timedelta(minutes=5))
    assert reason == REASON
    assert 240 < sum(context.waits) <= 300


@pytest.mark.parametrize("before", [0, 20], ids=["at once", "after twenty minutes"])
def test_the_patience_of_an_answer_begins_with_it(before: int) -> None:
    context = Context()
    refused(context, chain([later("Throttled", 60)] * before, repeat(later("NameTaken", 60, patience=300))))
    assert context.waits == [60] * (before + 5)


def test_an_answer_that_comes_again_after_another_has_no_patience_anew() -> None:
    context, taken = Context(), later("NameTaken", 60, patience=300)
    reason = refused(context, chain([taken, taken, later("Throttled", 120)], repeat(taken)))
    assert reason.code == "NameTaken"
    assert sum(context.waits) == 300


def test_after_the_patience_of_an_answer_others_have_all_of_theirs() -> None:
    context = Context()
    stopped = [later("ServerNotReady", 60, patience=7200)] * 60
    assert context.run([*stopped, later("Throttled", 60), VALUE]) == 7
