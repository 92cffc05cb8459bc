"""The face that both Durable engines show to the rest of the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc  # type: ignore[import-untyped]
from aiohttp import web

type Meet = Callable[[str], None]
"""Takes the address at which the app's durable clients reach the engine: host and port of its gRPC service."""


class Refused(Exception):
    """The engine refused a call of the host. `code` is the gRPC status and `details` says why."""

    def __init__(self, code: grpc.StatusCode, details: str):
        super().__init__(details)
        self.code, self.details = code, details


class Engine(Protocol):
    """Runs orchestrations and entities, and calls the app's functions for them."""

    @property
    def is_ready(self) -> bool:
        """Whether the engine can answer."""

    @property
    def address(self) -> str:
        """Host and port of its gRPC service; empty while there is none."""

    def start(self, meet: Meet) -> None:
        """Take work from now on. `meet` is called whenever the engine has another address."""

    async def stop(self) -> None:
        """Take no more work."""

    async def ask(self, method: str, message: Any) -> Any:
        """The answer of a method of Durable Task's gRPC service. Raises `Refused`."""

    async def history(self, instance_id: str) -> list[pb.HistoryEvent]:
        """The events of an orchestration so far. Raises `Refused`."""

    async def handle(self, request: web.Request) -> web.Response:
        """Answer what the engine itself asks of the host, under `WORKER_PATH`."""


WORKER_PATH = "/.worker/"


async def find(engine: Engine, instance_id: str) -> pb.OrchestrationState | None:
    """The state of an orchestration with its input and output, or None where there is none of this id."""
    answer = await engine.ask("GetInstance", pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=True))
    return answer.orchestrationState if answer.exists else None
