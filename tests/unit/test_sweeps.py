"""A sweep looks a second time at what could not be looked at for a passing reason, and counts what failed.

The orchestrator is driven by hand: `answers` holds what each activity answers, call by call.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from durabletask import task
from durabletask.internal.orchestrator_service_pb2 import TaskFailureDetails

from functions.sweeps import sweep_health
from shared.decisions.answers import Chunk, Timetable
from shared.records.columns import Watched
from tests.unit.facts import SERVER

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


class Sweep:
    """What of a Durable orchestration's context the sweep uses."""

    instance_id = "sweep_health"

    def __init__(self, **answers: Iterable[Any]) -> None:
        self.current_utc_datetime = BEGIN
        self.waits: list[timedelta] = []
        self.asked: list[tuple[str, Any]] = []
        self._answers = {name: iter(given) for name, given in answers.items()}

    def call_activity(self, name: str, *, input: dict[str, Any], retry_policy: object) -> Any:
        self.asked.append((name, input["request"]))
        return next(self._answers[name])

    def create_timer(self, wait: timedelta | datetime) -> None:
        if isinstance(wait, datetime):
            wait -= self.current_utc_datetime
        self.waits.append(wait)
        self.current_utc_datetime += wait

    def run(self) -> Any:
        """What the sweep returns. A task is its own answer, or the error that it fails with."""
        steps = sweep_health.serve(self, {})  # type: ignore[arg-type]
        yielded = next(steps)
        while True:
            try:
                yielded = steps.throw(yielded) if isinstance(yielded, Exception) else steps.send(yielded)
            except StopIteration as end:
                return end.value

    def concluded(self) -> tuple[int, int]:
        """How many calls and failed chunks the sweep summed up."""
        [request] = [request for name, request in self.asked if name == "conclude_sweep"]
        return request["calls"], request["failed"]


def value(of: Any) -> dict[str, Any]:
    return {"type": "value", "value": of}


def timetable(*databases: str) -> dict[str, Any]:
    """A chunk a database, ten seconds apart."""
    mirrors = [Watched(server=SERVER, database=name, item=name, workspace="w") for name in databases]
    chunks = tuple(Chunk(10.0 * number, (mirror,)) for number, mirror in enumerate(mirrors))
    return value(msgspec.to_builtins(Timetable(chunks, left=0)))


LATER = {"type": "later", "reason": {"code": "Unavailable", "message": "m", "remedy": "r"}}
PROBLEM = {"type": "problem", "reason": {"code": "Odd", "message": "m", "remedy": "r"}}
CRASHED = task.TaskFailedError("died", TaskFailureDetails(errorType="WorkerDied", errorMessage="died"))


def probed(calls: int) -> dict[str, Any]:
    return value({"mirrors": 1, "calls": calls})


def test_a_chunk_that_met_something_passing_is_looked_at_again_after_all_others() -> None:
    answers = [LATER, probed(2), LATER, probed(3)]
    sweep = Sweep(plan_sweep=[timetable("crm", "shop")], probe_mirrors=answers, conclude_sweep=[value({"Healthy": 2})])
    assert sweep.run() == {"Healthy": 2}
    looked_at = [request["mirrors"][0]["database"] for name, request in sweep.asked if name == "probe_mirrors"]
    assert looked_at == ["crm", "shop", "crm", "crm"]
    assert sweep.concluded() == (5, 0)
    assert sweep.waits == [timedelta(seconds=10), timedelta(seconds=1)]


@pytest.mark.parametrize(
    "answers", [[PROBLEM], [CRASHED], [LATER] * 20, [LATER, PROBLEM], [LATER, CRASHED]], ids=lambda a: str(len(a))
)
def test_a_chunk_that_fails_is_counted_and_fails_no_sweep(answers: list[Any]) -> None:
    sweep = Sweep(plan_sweep=[timetable("crm")], probe_mirrors=answers, conclude_sweep=[value({})])
    assert sweep.run() == {}
    assert sweep.concluded() == (0, 1)
    assert sum(sweep.waits, timedelta()) <= timedelta(seconds=20)
