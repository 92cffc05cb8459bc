"""Faults that can be ordered of a stand-in: what goes wrong, with which calls, and whether the work is done before it.

GET    /.control/faults           POST: order a fault      DELETE: forget all
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection

import msgspec
from aiohttp import web

INJECTED = "InjectedFault"


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """What goes wrong, for the next `times` calls of `operation` (`*`: any), after the first `skip` of them.

    `path` and `body` (regular expressions, on the address and on what was sent) limit it to some calls. One of:

    - `status` with `code`, `message` and `retry_after` (seconds) answers in the service's own form;
    - `raw` answers with just this text, of `content_type`, with `status` or 200;
    - `truncate` does the work, and gives no more than so many bytes of its answer;
    - `drop` closes the connection; with `truncate`, after so many bytes of an answer that was announced as longer;
    - `fail_operation` lets the long-running operation that the call starts end as failed, with `code`;
    - `delay` alone (seconds) makes it slow, and does so to each of the others.

    With `after`, the work is done before, so that only its answer is lost.
    """

    operation: str
    times: int = 1
    skip: int = 0
    path: str = ""
    body: str = ""
    status: int | None = None
    code: str = ""
    message: str = "This fault was ordered through the fault control."
    retry_after: float | None = None
    raw: str | None = None
    content_type: str = "application/json"
    truncate: int | None = None
    delay: float = 0
    drop: bool = False
    after: bool = False
    fail_operation: bool = False

    @property
    def phase(self) -> str:
        """When the fault happens: before the work, after it, or in the operation that the work starts."""
        if self.fail_operation:
            return "operation"
        return "after" if self.after or self.truncate is not None else "before"

    def concerns(self, operation: str, path: str, body: str) -> bool:
        """Whether the fault was ordered for this call."""
        return (
            self.operation in (operation, "*")
            and re.search(self.path, path, re.IGNORECASE) is not None
            and re.search(self.body, body, re.IGNORECASE) is not None
        )


class Faults:
    """The faults that were ordered for one part. `operations` are the names of the part's operations."""

    def __init__(self, part: str, operations: Collection[str]):
        self._part, self._operations = part, set(operations)
        self._ordered: list[Fault] = []

    def take(self, phase: str, operation: str, path: str, body: str) -> Fault | None:
        """The first fault of this phase for a call, which uses up one of its times; None: there is no such fault."""
        for fault in [fault for fault in self._ordered if fault.phase == phase]:
            if not fault.concerns(operation, path, body):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.times -= 1
            if fault.times <= 0:
                self._ordered.remove(fault)
            return fault
        return None

    async def list(self, _: web.Request) -> web.Response:
        """Answer with the faults that are still to happen."""
        return web.json_response(msgspec.to_builtins(self._ordered))

    async def order(self, request: web.Request) -> web.Response:
        """Order a fault. A malformed one is answered with 400, and with what is wrong with it."""
        try:
            fault = msgspec.json.decode(await request.read(), type=Fault)
            re.compile(fault.path), re.compile(fault.body)
        except (msgspec.ValidationError, msgspec.DecodeError, re.error) as error:
            return web.json_response({"error": f"not a fault: {error}"}, status=400)
        if fault.operation != "*" and fault.operation not in self._operations:
            wrong = {"error": f"{self._part} has no operation {fault.operation!r}"}
            return web.json_response(wrong | {"operations": sorted(self._operations)}, status=400)
        self._ordered.append(fault)
        return web.json_response(msgspec.to_builtins(fault), status=201)

    async def forget(self, _: web.Request) -> web.Response:
        """Forget all ordered faults."""
        self._ordered.clear()
        return web.json_response([])


async def cut(request: web.Request, status: int, content: bytes, length: int) -> web.StreamResponse:
    """Announce the whole content, send its first `length` bytes, and close the connection."""
    response = web.StreamResponse(status=status, headers={"Content-Type": "application/json"})
    response.content_length = len(content)
    await response.prepare(request)
    await response.write(content[:length])
    await asyncio.sleep(0.05)  # the bytes leave before the connection is reset
    if request.transport:
        request.transport.abort()
    return response
