"""Which sweep is started while an earlier one runs, has ended, or neither ends nor can be ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from durabletask.client import OrchestrationStatus

from functions import timers
from functions.timers import SWEEPS, _start_sweep
from tests.unit.facts import settings

ENDED, RUNNING, PENDING = (
    OrchestrationStatus.COMPLETED, OrchestrationStatus.RUNNING, OrchestrationStatus.PENDING
)  # fmt: skip
YOUNG, OLD = 5, 600
"""Minutes: a sweep that lasts longer than twelve times SWEEP_MINUTES does not end by itself."""


class Client:
    """What of a durable client is used. `sweeps` are status and age in minutes of each id that there is."""

    def __init__(self, *sweeps: tuple[OrchestrationStatus, int]):
        self.sweeps = dict(zip(SWEEPS, sweeps, strict=False))
        self.ended: list[str] = []
        self.started: list[str] = []

    async def get_orchestration_state(self, id: str, fetch_payloads: bool = True) -> Any:
        if id not in self.sweeps:
            return None
        status, minutes = self.sweeps[id]
        created_at = (datetime.now(UTC) - timedelta(minutes=minutes)).replace(tzinfo=None)
        return SimpleNamespace(runtime_status=status, created_at=created_at)

    async def terminate_orchestration(self, id: str) -> None:
        self.ended.append(id)

    async def purge_orchestration(self, id: str) -> None:
        assert id not in self.sweeps or self.sweeps[id][0] == ENDED

    async def schedule_new_orchestration(self, name: str, *, input: Any, instance_id: str) -> None:
        assert name == "sweep_health"
        self.started.append(instance_id)


@pytest.mark.parametrize(
    ("sweeps", "started", "ended"),
    [
        pytest.param([], [SWEEPS[0]], [], id="the first"),
        pytest.param([(ENDED, YOUNG)], [SWEEPS[0]], [], id="the next"),
        pytest.param([(RUNNING, YOUNG)], [], [], id="the last one is at work"),
        pytest.param([(PENDING, YOUNG)], [], [], id="the last one is about to begin"),
        pytest.param([(RUNNING, OLD)], [SWEEPS[1]], [SWEEPS[0]], id="the last one does not end"),
        pytest.param([(PENDING, OLD)], [SWEEPS[1]], [SWEEPS[0]], id="the last one never begins"),
        pytest.param([(PENDING, OLD), (RUNNING, YOUNG)], [], [SWEEPS[0]], id="the next one is at work"),
        pytest.param([(PENDING, OLD), (ENDED, YOUNG)], [SWEEPS[1]], [SWEEPS[0]], id="the stuck one can't be ended"),
        pytest.param([(ENDED, OLD), (RUNNING, YOUNG)], [], [], id="the stuck one ended, the next one is at work"),
        pytest.param([(PENDING, OLD)] * 3, [], [*SWEEPS], id="nothing ends"),
    ],
)
async def test_no_sweep_ends_the_watching(
    sweeps: list[tuple[OrchestrationStatus, int]], started: list[str], ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "settings", settings)
    client = Client(*sweeps)
    await _start_sweep(client)  # type: ignore[arg-type]
    assert (client.started, client.ended) == (started, ended)
