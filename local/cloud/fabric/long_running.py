"""Fabric's long-running operations: 202 with Location, x-ms-operation-id and Retry-After, then state and result."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from local.cloud.fabric.protocol import BASE, Behaviour, error, timestamp
from local.cloud.web import Answer, Call, Operation, Refusal, Service

RETRY_AFTER = {"Retry-After": "1"}


class Running:
    """One operation. `result` is what its result call answers, None for operations that have none."""

    def __init__(self, caller: str):
        self.id, self.caller = str(uuid.uuid4()), caller
        self.created = self.updated = time.time()
        self.status = "Running"
        self.result: Any = None
        self.failure: dict[str, Any] | None = None

    def end(self, status: str, result: Any = None, failure: dict[str, Any] | None = None) -> None:
        self.status, self.result, self.failure, self.updated = status, result, failure, time.time()

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "status": self.status,
            "createdTimeUtc": timestamp(self.created),
            "lastUpdatedTimeUtc": timestamp(self.updated),
            "percentComplete": 0 if self.status == "Running" else 100,
        }
        return state | ({"error": self.failure} if self.failure else {})


class LongRunning:
    """Answers an operation's work at once, or as a long-running operation where the behaviour says so."""

    def __init__(self, behaviour: Behaviour):
        self.behaviour = behaviour
        self.service: Service | None = None
        self._operations: dict[str, Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def operations(self) -> list[Operation]:
        return [
            Operation("GET", "/v1/operations/{operation}", "LongRunningOperations_GetOperationState", self._state),
            Operation(
                "GET", "/v1/operations/{operation}/result", "LongRunningOperations_GetOperationResult", self._result
            ),
        ]

    async def answer(self, call: Call, work: Callable[[], Awaitable[Any]]) -> Answer:
        """The result of `work`; or 202, when the operation is ordered to be long-running or to fail."""
        fails = self.service.fails_next(call) if self.service else ""
        if not fails and call.operation not in self.behaviour.long_running:
            return Answer(body=await work())
        running = Running(call.claims["oid"])
        self._operations[running.id] = running
        task = asyncio.create_task(self._run(running, work, fails))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Answer(202, headers=self._headers(running) | RETRY_AFTER)

    async def _run(self, running: Running, work: Callable[[], Awaitable[Any]], fails: str) -> None:
        await asyncio.sleep(self.behaviour.operation_seconds)
        if fails:
            running.end("Failed", failure=error(fails, "This operation was ordered to fail."))
            return
        try:
            running.end("Succeeded", await work())
        except Refusal as refusal:
            running.end("Failed", failure=error(refusal.code, refusal.message, refusal.more.get("details", ())))

    def _headers(self, running: Running) -> dict[str, str]:
        result = "/result" if running.status == "Succeeded" and running.result is not None else ""
        return {"Location": f"{BASE}/operations/{running.id}{result}", "x-ms-operation-id": running.id}

    def _find(self, call: Call) -> Running:
        running = self._operations.get(call.parameters["operation"].lower())
        if running is None or running.caller != call.claims["oid"]:
            raise Refusal(404, "OperationNotFound", f"There is no operation {call.parameters['operation']}.")
        return running

    async def _state(self, call: Call) -> Answer:
        running = self._find(call)
        return Answer(
            body=running.state, headers=self._headers(running) | (RETRY_AFTER if running.status == "Running" else {})
        )

    async def _result(self, call: Call) -> Answer:
        running = self._find(call)
        if running.status != "Succeeded" or running.result is None:
            raise Refusal(
                400, "OperationHasNoResult", f"The operation {running.id} is {running.status} and has no result."
            )
        return Answer(body=running.result)
