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
import sys
import threading
from pathlib import Path

from aiohttp import web

from local import topology
from local.cloud.web import listening_socket
from local.functions_host import event_grid, host_json, management, worker
from local.functions_host.admin import PREFIX as ADMIN
from local.functions_host.admin import Admin
from local.functions_host.backend import Backend
from local.functions_host.durable import Dispatcher
from local.functions_host.http_triggers import HttpTriggers
from local.functions_host.keys import Keys, same
from local.functions_host.timers import Timer

log = logging.getLogger("Host")

LONGEST_STOP_SECONDS = 1.5
LARGEST_BODY_BYTES = 100 * 2**20
QUIET = ("azure.functions", "azure.durable_functions", "durabletask", "grpc")


class Host:
    """An indexed app with everything that calls its functions."""

    def __init__(self, app: worker.App, settings: host_json.HostJson, stack: topology.Topology):
        durable = settings.extensions.durable_task
        keys = Keys(stack.host_keys)
        self.backend = Backend()
        self.control_key = stack.control_key
        self.dispatcher = Dispatcher(app, self.backend, durable.max_concurrent_activity_functions)
        self.timers = {f.name: Timer(app, f) for f in app.triggered_by("timerTrigger")}
        self.triggers = HttpTriggers(app, keys, settings.extensions.http.route_prefix)
        self.event_grid = event_grid.EventGridWebhook(app, keys)
        self.management = management.Management(self.backend, keys)
        self.admin = Admin(app, keys, self.timers)
        app.durable_client = json.dumps(
            {
                "taskHubName": durable.hub_name,
                "connectionName": "Storage",
                "rpcBaseUrl": self.backend.start(),
                "baseUrl": f"http://127.0.0.1:{stack.ports['host']}{management.PATH}",
                "requiredQueryStringParameters": (
                    f"taskHub={durable.hub_name}&connection=Storage&code={keys['durabletask_extension']}"
                ),
                "maxGrpcMessageSizeInBytes": 2**31 - 1,
            }
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Every request enters here."""
        path = request.path
        if path.startswith("/.control/"):
            return self._control(request)
        if path.startswith(ADMIN):
            return await self.admin.handle(request)
        if path.rstrip("/") == event_grid.PATH:
            return await self.event_grid.handle(request)
        if path == management.PATH or path.startswith(management.PATH + "/"):
            return await self.management.handle(request)
        return await self.triggers.handle(request)

    async def serve(self, stop: asyncio.Event) -> None:
        """Take requests, work items and the time, until `stop` is set."""
        server = web.Application(client_max_size=LARGEST_BODY_BYTES)
        server.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(server, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        self.dispatcher.start()
        timers = [asyncio.create_task(timer.run()) for timer in self.timers.values()]
        await web.SockSite(runner, listening_socket()).start()
        log.info("Host started")
        await stop.wait()
        for task in timers:
            task.cancel()
        await runner.cleanup()
        self.backend.stop(grace=0)

    def _control(self, request: web.Request) -> web.Response:
        if not same(request.headers.get("x-control-key", ""), self.control_key):
            return web.json_response({"error": "the header x-control-key is missing or wrong"}, status=401)
        if (request.method, request.path) == ("GET", "/.control/ready"):
            return web.json_response({"part": "host"})
        name = request.path.removeprefix("/.control/")
        return web.json_response({"error": f"host has no control {request.method} {name}"}, status=404)


async def main(directory: Path) -> None:
    """Index the app in `directory` and serve it. Raises `IndexingFailed` or `HostJsonInvalid`."""
    stop = _stop_on_signal()
    settings = host_json.load(directory)
    app = await worker.index(directory)
    host = Host(app, settings, topology.load())
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
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    repository = Path(__file__).parent.parent
    try:
        asyncio.run(main(Path(os.environ.get("FUNCTIONS_APP_DIRECTORY") or repository).absolute()))
    except (worker.IndexingFailed, host_json.HostJsonInvalid) as failure:
        sys.exit(str(failure))
