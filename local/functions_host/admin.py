"""The host's own API under /admin, opened by the master key: its state, its functions, and firing one by hand."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

from local.functions_host.http_triggers import REASON
from local.functions_host.keys import Keys
from local.functions_host.messages import TypedData
from local.functions_host.timers import Timer
from local.functions_host.worker import App, Function, InvocationFailed

PREFIX = "/admin/"
VERSION = "4.0"  # of the Functions runtime whose behaviour this is


class Admin:
    def __init__(self, app: App, keys: Keys, timers: dict[str, Timer]):
        self.app, self.keys, self.timers = app, keys, timers
        self.started = time.monotonic()
        self.running: set[asyncio.Task[None]] = set()

    async def handle(self, request: web.Request) -> web.Response:
        parts = request.path.removeprefix(PREFIX).strip("/").split("/")
        if parts == ["host", "ping"]:
            return web.Response()
        refusal = self.keys.refusal(request)
        if refusal:
            return refusal
        if parts[0] == "functions" and len(parts) == 2:  # whatever the letter case
            parts[1] = next((name for name in self.app.functions if name.lower() == parts[1].lower()), parts[1])
        match request.method, parts:
            case "GET", ["host", "status"]:
                uptime = round((time.monotonic() - self.started) * 1000)
                return web.json_response(
                    {"id": "local", "state": "Running", "version": VERSION, "processUptime": uptime}
                )
            case "GET", ["functions"]:
                return web.json_response([_description(f) for f in self.app.functions.values()])
            case "GET", ["functions", name] if name in self.app.functions:
                return web.json_response(_description(self.app.functions[name]))
            case "POST", ["functions", name] if name in self.app.functions:
                return await self._fire(request, self.app.functions[name])
        return web.Response(status=404)

    async def _fire(self, request: web.Request, function: Function) -> web.Response:
        """Start the function and answer 202 at once, as the real host does. Only the log says how it ends."""
        text = await request.text()
        if "content-type" not in request.headers:
            return web.Response(status=415)
        try:
            content = json.loads(text).get("input")
            if function.kind == "timerTrigger":
                self._start(self.timers[function.name].fire_by_hand())
            elif function.kind == "eventGridTrigger":
                self._start(self._invoke(function, TypedData(json=json.dumps(json.loads(content)))))
            else:
                return web.Response(status=400, text=f"A function with a {function.kind} cannot be fired by hand.")
        except (ValueError, TypeError, AttributeError):
            expected = '{"input": "…"}, the input being JSON text where the trigger needs one'
            return web.Response(status=400, text=f"The body is not a function invocation; expected {expected}.")
        return web.Response(status=202)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def _invoke(self, function: Function, value: TypedData) -> None:
        try:
            await self.app.invoke(function, value, REASON)
        except InvocationFailed:
            return  # the log has it, and nobody waits for the function


def _description(function: Function) -> dict[str, Any]:
    return {
        "name": function.name,
        "language": "python",
        "isDisabled": False,
        "config": {"bindings": list(function.bindings)},
    }
