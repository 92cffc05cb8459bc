"""How a server is looked at whatever its present run does: it works, it waits, or it died."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from durabletask.client import OrchestrationStatus

from functions import signals
from functions.messages import Box
from shared.decisions.progress import Status
from tests.unit.facts import SERVER

RUN = f"{SERVER.key}:3"


class Client:
    """What of a durable client is used. `told` are the names of the signals and events, in order."""

    def __init__(self, running: str, status: OrchestrationStatus | None, waiting_for: str = "", age: float = 60):
        self.box = msgspec.to_builtins(Box(runs=3, running=running))
        self.status, self.waiting_for, self.age = status, waiting_for, age
        self.told: list[str] = []

    async def signal_entity(self, _: object, operation: str, input: Any = None) -> None:
        self.told.append(f"{operation} {input['run']}" if input else operation)

    async def raise_orchestration_event(self, _: str, event: str, data: object) -> None:
        self.told.append(event)

    async def get_entity(self, identity: object) -> Any:
        changed = datetime.now(UTC) - timedelta(seconds=self.age)
        return SimpleNamespace(id=identity, last_modified=changed, get_typed_state=lambda _: self.box)

    async def get_all_entities(self, _: object) -> list[Any]:
        return [await self.get_entity(SimpleNamespace(key=SERVER.key))]

    async def get_orchestration_state(self, _: str, fetch_payloads: bool = True) -> Any:
        if self.status is None:
            return None
        status = Status(
            phase="Waiting", step="restart", steps_done=1, steps_total=2, percent=50, message="m",
            waiting_for=self.waiting_for,
        )  # fmt: skip
        shown = msgspec.to_builtins(status)
        return SimpleNamespace(
            runtime_status=self.status,
            created_at=(datetime.now(UTC) - timedelta(seconds=self.age)).replace(tzinfo=None),
            get_custom_status=lambda: shown if fetch_payloads else None,
        )


@pytest.mark.parametrize(
    ("client", "told"),
    [
        (Client("", None), ["look"]),
        (Client(RUN, None), ["look"]),
        (Client(RUN, OrchestrationStatus.RUNNING), ["look"]),
        (Client(RUN, OrchestrationStatus.RUNNING, "restart-decision"), ["look", "look-again"]),
        (Client(RUN, OrchestrationStatus.FAILED, "restart-decision"), ["look", f"finished {RUN}"]),
        (Client(RUN, OrchestrationStatus.TERMINATED), ["look", f"finished {RUN}"]),
        (Client(RUN, OrchestrationStatus.PENDING), ["look"]),
        (Client(RUN, OrchestrationStatus.PENDING, age=3600), ["look", f"finished {RUN}"]),
    ],
    ids=["no run", "about to begin", "works", "waits", "failed", "terminated", "pending", "never begins"],
)
async def test_a_look(client: Client, told: list[str]) -> None:
    await signals.look(client, SERVER)  # type: ignore[arg-type]
    assert client.told == told


@pytest.mark.parametrize(
    ("client", "is_revived"),
    [
        (Client("", None), False),
        (Client(RUN, OrchestrationStatus.RUNNING), False),
        (Client(RUN, OrchestrationStatus.FAILED), True),
        (Client(RUN, OrchestrationStatus.RUNNING, age=3 * 86400), False),
        (Client(RUN, OrchestrationStatus.PENDING), False),
        (Client(RUN, OrchestrationStatus.PENDING, age=3600), True),
        (Client(RUN, None, age=60), False),
        (Client(RUN, None, age=600), True),
    ],
    ids=["no run", "works", "failed", "waits long", "pending", "never begins", "about to begin", "vanished"],
)
async def test_servers_whose_runs_died_are_looked_at_once_more(client: Client, is_revived: bool) -> None:
    await signals.revive(client)  # type: ignore[arg-type]
    assert client.told == (["look", f"finished {RUN}"] if is_revived else [])
