"""The Durable extension of Azure Functions as the engine: a program besides the host, which is the worker to it.

The extension calls this host for each orchestrator, entity and activity, and its gRPC service answers the app's durable
clients and the management API. In Azure it lives in the host's process; here it is a part of the stack, and it may end
and start again, at another address, while this host goes on.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
import durabletask.internal.orchestrator_service_pb2_grpc as stubs
import grpc.aio  # type: ignore[import-untyped]
import msgspec
from aiohttp import web

from local import topology
from local.functions_host.durable import functions_by_kind
from local.functions_host.engine import WORKER_PATH, Meet, Refused
from local.functions_host.keys import same
from local.functions_host.messages import TypedData
from local.functions_host.worker import App, Function, InvocationFailed

log = logging.getLogger("Host")

REASON = "(null)"  # what the extension gives
LOOK_SECONDS = 0.1
ANSWER_SECONDS = 30.0
LARGEST_MESSAGE_BYTES = 4 * 2**20
"""Of gRPC: the extension's own limit where host.json sets none."""
RECORD_VARIABLE = "LOCAL_HISTORIES"
"""A folder in which the last message to each orchestration is kept, with its answer (see `local/histories.py`)."""
KINDS = {"orchestrators": "orchestrationTrigger", "activities": "activityTrigger", "entities": "entityTrigger"}


class Extension:
    """See `engine.Engine`."""

    def __init__(self, app: App, stack: topology.Topology, hub: str, address: str):
        """`hub` is the task hub; `address` is that of this host."""
        self.app, self.stack = app, stack
        self.metadata = (("taskhub", hub),)
        self.url = f"{address}{WORKER_PATH}{stack.worker_key}"
        self.functions = {kind: functions_by_kind(app, trigger) for kind, trigger in KINDS.items()}
        self.address = ""
        self.channel: grpc.aio.Channel | None = None
        self.watching: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        return self.channel is not None

    def start(self, meet: Meet) -> None:
        """Tell the extension which functions there are, and follow it from address to address."""
        number = topology.instance()
        names = {kind: list(functions) for kind, functions in self.functions.items()}
        topology.write_whole(self.stack.functions_file(number), {**names, "worker": self.url})
        self.watching = asyncio.get_running_loop().create_task(self._follow(meet, number))

    async def stop(self) -> None:
        if self.watching:
            self.watching.cancel()
        if self.channel:
            await self.channel.close()

    async def ask(self, method: str, message: Any) -> Any:
        try:
            return await getattr(self._stub(), method)(message, metadata=self.metadata, timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise Refused(error.code(), error.details() or "") from None

    async def history(self, instance_id: str) -> list[pb.HistoryEvent]:
        request = pb.StreamInstanceHistoryRequest(instanceId=instance_id)
        try:
            chunks = self._stub().StreamInstanceHistory(request, metadata=self.metadata, timeout=ANSWER_SECONDS)
            return [event async for chunk in chunks for event in chunk.events]
        except grpc.aio.AioRpcError as error:
            raise Refused(error.code(), error.details() or "") from None

    async def handle(self, request: web.Request) -> web.Response:
        """Run one function for the extension. The forms are those of `local/durable_host`."""
        key, _, rest = request.path.removeprefix(WORKER_PATH).partition("/")
        kind, _, name = rest.partition("/")
        if not same(key, self.stack.worker_key) or request.method != "POST" or kind not in KINDS:
            return web.Response(status=404)
        functions = self.functions[kind]
        function = functions.get(name) or functions.get(name.lower())
        if function is None:
            return _failed("LookupError", f"The app has no function '{name}' among its {kind}.")
        message = await request.text()
        answer = await self._run(function, message)
        if RECORD_VARIABLE in os.environ and kind == "orchestrators":
            _record(Path(os.environ[RECORD_VARIABLE]), name, message, str(answer.text))
        return answer

    async def _run(self, function: Function, message: str) -> web.Response:
        try:
            returned = await self.app.invoke(function, TypedData(string=message), REASON)
        except InvocationFailed as failure:
            return _failed(failure.error_type, failure.message, failure.stack_trace)
        if returned is None:
            return web.Response(text="")
        return web.Response(text=str(getattr(returned, returned.WhichOneof("data") or "string")))

    async def _follow(self, meet: Meet, number: int) -> None:
        file, last = self.stack.engine_file(number), 0
        while True:
            try:
                changed = file.stat().st_mtime_ns
            except FileNotFoundError:  # the extension is about to start, or to start again
                changed = 0
            if changed != last:
                last = changed
                address = str(msgspec.json.decode(file.read_bytes())["address"]) if changed else ""
                await self._connect(address)
                meet(address)
            await asyncio.sleep(LOOK_SECONDS)

    async def _connect(self, address: str) -> None:
        log.info("The Durable extension is %s", f"at {address}" if address else "away")
        old, size = self.channel, LARGEST_MESSAGE_BYTES
        options = [("grpc.max_receive_message_length", size), ("grpc.max_send_message_length", size)]
        self.address, self.channel = address, grpc.aio.insecure_channel(address, options=options) if address else None
        if old:
            await old.close()

    def _stub(self) -> Any:
        if self.channel is None:
            raise Refused(grpc.StatusCode.UNAVAILABLE, "The Durable extension has not started yet.")
        return stubs.TaskHubSidecarServiceStub(self.channel)


def _record(folder: Path, orchestrator: str, message: str, answer: str) -> None:
    instance = pb.OrchestratorRequest.FromString(base64.b64decode(message)).instanceId
    path = folder / f"{hashlib.sha256(instance.encode()).hexdigest()}.json"
    topology.write_whole(path, {"orchestrator": orchestrator, "message": message, "answer": answer})


def _failed(error_type: str, message: str, stack: str = "") -> web.Response:
    return web.json_response({"type": error_type, "message": message, "stack": stack}, status=500)
