"""Long-running operations as Azure Resource Manager runs them: 202, `Azure-AsyncOperation` to poll, `Retry-After`.

One runs on a server at a time; whoever wants another gets 409 `ServerIsBusy`.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec
import psycopg

from local.cloud.faults import INJECTED
from local.cloud.web import Answer, Call, Operation, Refusal
from local.postgres_installation import PostgresFailed

log = logging.getLogger("local.arm")

RETRY_AFTER = {"Retry-After": "1"}
OPERATIONS = "/subscriptions/{subscription}/providers/Microsoft.DBforPostgreSQL/locations/{location}"


class Running(msgspec.Struct):
    """One operation: its status is InProgress, Succeeded or Failed; `error` is (code, message)."""

    id: str
    started: datetime
    status: str = "InProgress"
    ended: datetime | None = None
    error: tuple[str, str] | None = None

    @property
    def body(self) -> dict[str, object]:
        body: dict[str, object] = {"name": self.id, "status": self.status, "startTime": self.started.isoformat()}
        if self.ended:
            body["endTime"] = self.ended.isoformat()
        if self.error:
            body["error"] = {"code": self.error[0], "message": self.error[1]}
        return body


class LongRunning:
    """The operations of this stack's servers. `fails` tells of a call with which code its operation was ordered to
    fail."""

    def __init__(self, location: str):
        self.location = location
        self.fails: Callable[[Call], str] = lambda _: ""
        self._operations: dict[str, Running] = {}
        self._busy: dict[str, Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def operations(self) -> list[Operation]:
        return [
            Operation("GET", OPERATIONS + "/azureAsyncOperation/{operation}", "AsyncOperations_Get", self._status),
            Operation("GET", OPERATIONS + "/operationResults/{operation}", "OperationResults_Get", self._result),
        ]

    def refuse_if_busy(self, server: str) -> None:
        """Raise the refusal if an operation runs on `server`, a name."""
        if server.lower() in self._busy:
            message = f"Cannot complete operation while server '{server}' is busy processing another operation."
            raise Refusal(409, "ServerIsBusy", f"{message} Try again later.")

    def start(
        self, call: Call, server: str, work: Callable[[], object], done: Callable[[bool], None], seconds: float
    ) -> Answer:
        """Answer 202 and do `work` on `server` in a thread, `seconds` from now; `done` hears whether it succeeded.

        A `Refusal` or a failure of PostgreSQL in `work` becomes the operation's error.
        """
        running = Running(str(uuid.uuid4()), datetime.now(UTC))
        self._operations[running.id] = self._busy[server.lower()] = running
        task = asyncio.create_task(self._run(running, server, work, done, seconds, self.fails(call)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Answer(202, headers=self._headers(call, running))

    async def _run(
        self, running: Running, server: str, work: Callable[[], object], done: Callable[[bool], None],
        seconds: float, fails: str,
    ) -> None:  # fmt: skip
        try:
            await asyncio.sleep(seconds)
            if fails:
                raise Refusal(500, "InternalServerError" if fails == INJECTED else fails, _unexpected(running))
            await asyncio.to_thread(work)
        except Refusal as refusal:
            running.error = (refusal.code, refusal.message)
        except (PostgresFailed, psycopg.Error) as error:
            running.error = ("OperationFailed", str(error))
        except Exception:
            log.exception("the operation %s on %s failed", running.id, server)
            running.error = ("InternalServerError", _unexpected(running))
        del self._busy[server.lower()]
        done(running.error is None)
        running.status, running.ended = "Failed" if running.error else "Succeeded", datetime.now(UTC)

    def _headers(self, call: Call, running: Running) -> dict[str, str]:
        url = urlsplit(call.url)
        path = OPERATIONS.format(subscription=call.parameters["subscription"], location=self.location)
        version = call.query["api-version"]
        base, query = f"https://{url.netloc}{path}", f"?api-version={version}"
        return {
            "Azure-AsyncOperation": f"{base}/azureAsyncOperation/{running.id}{query}",
            "Location": f"{base}/operationResults/{running.id}{query}",
        } | RETRY_AFTER

    def _find(self, call: Call) -> Running:
        running = self._operations.get(call.parameters["operation"].lower())
        if running is None:
            raise Refusal(404, "OperationIdNotFound", f"There is no operation {call.parameters['operation']}.")
        return running

    async def _status(self, call: Call) -> Answer:
        running = self._find(call)
        return Answer(body=running.body, headers=RETRY_AFTER if running.status == "InProgress" else {})

    async def _result(self, call: Call) -> Answer:
        running = self._find(call)
        if running.status == "InProgress":
            return Answer(202, headers=self._headers(call, running))
        if running.error:
            raise Refusal(500, *running.error)
        return Answer(204)


def _unexpected(running: Running) -> str:
    return f"An unexpected error occured while processing the request. Tracking ID: '{running.id}'"
