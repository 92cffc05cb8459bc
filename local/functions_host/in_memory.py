"""The in-memory engine: Durable Task's backend in the host's own process. It forgets everything when the host ends."""

from __future__ import annotations

from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
from aiohttp import web

from local.functions_host.backend import Backend
from local.functions_host.durable import Dispatcher
from local.functions_host.engine import Meet
from local.functions_host.worker import App


class InMemory:
    """See `engine.Engine`."""

    is_ready = True
    address = ""

    def __init__(self, app: App, concurrent_activities: int):
        self.backend = Backend()
        self.dispatcher = Dispatcher(app, self.backend, concurrent_activities)

    def start(self, meet: Meet) -> None:
        self.address = self.backend.start()
        meet(self.address)
        self.dispatcher.start()

    async def stop(self) -> None:
        self.backend.stop(grace=0)

    async def ask(self, method: str, message: Any) -> Any:
        return self.backend.ask(method, message)

    async def history(self, instance_id: str) -> list[pb.HistoryEvent]:
        chunks = self.backend.ask("StreamInstanceHistory", pb.StreamInstanceHistoryRequest(instanceId=instance_id))
        return [event for chunk in chunks for event in chunk.events]

    async def handle(self, request: web.Request) -> web.Response:
        """This engine lives in the host's process and sends no requests."""
        return web.Response(status=404)
