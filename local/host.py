"""The Functions host of the local stack: serves an unchanged Functions app as Azure does, on one port of 127.0.0.1.

    python -m local.host

It reads the topology and listens on the socket of the supervisor. The app is the one of this repository, or that in
FUNCTIONS_APP_DIRECTORY; its settings are this process's environment. When the app cannot be indexed it says why on
standard error and exits with status 1.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from aiohttp import web

from local import topology
from local.cloud.web import listening_socket
from local.functions_host import event_grid, host_json, management, paths, worker
from local.functions_host.admin import PREFIX as ADMIN
from local.functions_host.admin import Admin
from local.functions_host.crashes import Crashes
from local.functions_host.engine import WORKER_PATH, Engine
from local.functions_host.extension import LARGEST_MESSAGE_BYTES, Extension
from local.functions_host.http_triggers import HttpTriggers
from local.functions_host.in_memory import InMemory
from local.functions_host.keys import Keys, same
from local.functions_host.timers import Timer

log = logging.getLogger("Host")

LONGEST_STOP_SECONDS = 1.5
WELCOME = "<!DOCTYPE html><title>Your Azure Function App is up and running.</title>"
WEBHOOKS, NOBODYS_KEY = "/runtime/webhooks/", "system"
LARGEST_BODY_BYTES = 100 * 2**20


class Host:
    """An indexed app with everything that calls its functions."""

    def __init__(
        self, app: worker.App, settings: host_json.HostJson, stack: topology.Topology, listening: socket.socket
    ):
        keys = Keys(stack.host_keys)
        self.app, self.stack, self.keys, self.listening = app, stack, keys, listening
        app.crashes = Crashes(stack)
        self.durable = settings.extensions.durable_task
        self.engine = _engine(app, self.durable, stack, f"http://127.0.0.1:{listening.getsockname()[1]}")
        self.timers = {f.name: Timer(app, f) for f in app.triggered_by("timerTrigger")}
        self.triggers = HttpTriggers(app, keys, settings.extensions.http.route_prefix)
        self.event_grid = event_grid.EventGridWebhook(app, keys)
        self.management = management.Management(self.engine, keys)
        self.admin = Admin(app, keys, self.timers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Every request enters here."""
        try:
            path = paths.normal(request.raw_path.partition("?")[0])
        except paths.PathInvalid:
            return web.Response(status=400)
        if path.startswith("/.control/"):
            return self._control(request)
        if path.startswith(WORKER_PATH):
            return await self.engine.handle(request)
        if not self.engine.is_ready:
            return web.Response(status=503)  # as Azure's front end says while the host starts
        if path.startswith(ADMIN):
            return await self.admin.handle(request)
        if path.rstrip("/") == event_grid.PATH:
            return await self.event_grid.handle(request)
        if path == management.PATH or path.startswith(management.PATH + "/"):
            return await self.management.handle(request)
        if path == "/" and request.method == "GET":
            return web.Response(text=WELCOME, content_type="text/html")
        if path.startswith(WEBHOOKS):  # of an extension that is not there: no key opens it
            return self.keys.refusal(request, NOBODYS_KEY) or web.Response(status=404)
        return await self.triggers.handle(request)

    async def serve(self, stop: asyncio.Event) -> None:
        """Take requests, work items and the time, until `stop` is set."""
        server = web.Application(client_max_size=LARGEST_BODY_BYTES)
        server.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(server, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        self.engine.start(self._meet)
        # Of several hosts one runs the timers; in Azure a lock in storage says which.
        timed = self.timers.values() if topology.instance() == 1 else ()
        timers = [asyncio.create_task(timer.run()) for timer in timed]
        await web.SockSite(runner, self.listening).start()
        log.info("Host started")
        await stop.wait()
        for task in timers:
            task.cancel()
        await runner.cleanup()
        await self.engine.stop()

    def _meet(self, address: str) -> None:
        """From now on the app's durable clients find the engine at `address`."""
        hub = self.durable.hub_name
        self.app.durable_client = json.dumps(
            {
                "taskHubName": hub,
                "connectionName": "Storage",
                "rpcBaseUrl": address,
                "baseUrl": f"{self.stack.address('host')}{management.PATH}",
                "requiredQueryStringParameters": (
                    f"taskHub={hub}&connection=Storage&code={self.keys['durabletask_extension']}"
                ),
                "maxGrpcMessageSizeInBytes": LARGEST_MESSAGE_BYTES,
            }
        )

    def _control(self, request: web.Request) -> web.Response:
        if not same(request.headers.get("x-control-key", ""), self.stack.control_key):
            return web.json_response({"error": "the header x-control-key is missing or wrong"}, status=401)
        if (request.method, request.path) == ("GET", "/.control/ready"):
            if not self.engine.is_ready:
                return web.json_response({"error": "the Durable extension is not there yet"}, status=503)
            return web.json_response({"part": "host", "engine": self.engine.address})
        name = request.path.removeprefix("/.control/")
        return web.json_response({"error": f"host has no control {request.method} {name}"}, status=404)


def _engine(app: worker.App, durable: host_json.DurableTask, stack: topology.Topology, address: str) -> Engine:
    if stack.engine == topology.EXTENSION:
        return Extension(app, stack, durable.hub_name, address)
    return InMemory(app, durable.max_concurrent_activity_functions)


async def main(directory: Path) -> None:
    """Index the app in `directory` and serve it. Raises `IndexingFailed` or `HostJsonInvalid`."""
    stop = _stop_on_signal()
    settings = host_json.load(directory)
    app = await worker.index(directory)
    host = Host(app, settings, topology.load(), listening_socket())
    for function in app.functions.values():
        log.info("Found the function %s (%s)", function.name, function.kind)
    await host.serve(stop)


def _stop_on_signal() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set. Whatever the app is busy with then has little time to end."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def begin(*_: object) -> None:
        last_resort = threading.Timer(LONGEST_STOP_SECONDS, os._exit, (0,))
        last_resort.daemon = True
        last_resort.start()
        loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, begin)
    return stop


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    repository = Path(__file__).parent.parent
    try:
        asyncio.run(main(Path(os.environ.get("FUNCTIONS_APP_DIRECTORY") or repository).absolute()))
    except (worker.IndexingFailed, host_json.HostJsonInvalid) as failure:
        sys.exit(str(failure))
