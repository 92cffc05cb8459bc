"""A proxy in front of Azurite's services: it counts what is asked of storage, and lets things go wrong there.

Whoever uses the storage account comes through here, with TLS and tokens as they are. Under `/.control/`, at the port of
the table service, it answers the stack's own tools, which hold the control key:

    GET    /.control/ready
    GET    /.control/calls     how often each was asked since the last DELETE, e.g. {"queue GET hub-control-00": 3}
    DELETE /.control/calls
    GET    /.control/faults    POST: order a `Fault`      DELETE: forget all
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import ssl
from collections import Counter
from typing import Literal

import aiohttp
import msgspec
from aiohttp import web

from local import topology
from local.cloud.web import tls
from local.functions_host.keys import same
from local.topology import LISTEN_VARIABLE, STORAGE_SERVICES, Topology, port_name

log = logging.getLogger("local")

CONTROL = "/.control/"
LARGEST_BODY_BYTES = 256 * 2**20
# What belongs to one connection is not handed on.
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
BUSY = (
    '<?xml version="1.0"?><Error><Code>ServerBusy</Code><Message>Ordered through the fault control.</Message></Error>'
)


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """What goes wrong, for the next `times` requests that it fits, or until it is forgotten.

    `refuse` answers 503 and hands nothing on; `cut` hands the request on and closes the connection instead of
    answering; `delay` waits for `seconds` first; `duplicate` puts a message into a queue twice; `hasten` lets a message
    that somebody took be visible again after `seconds` at most, which is when a dead host's work goes on. `path` is a
    regular expression, looked for in the path.
    """

    kind: Literal["refuse", "cut", "delay", "duplicate", "hasten"]
    service: Literal["table", "blob", "queue", "*"] = "*"
    path: str = ""
    method: str = ""
    times: int | None = None
    seconds: float = 0

    def fits(self, service: str, request: web.Request) -> bool:
        return (
            self.service in ("*", service)
            and self.method in ("", request.method)
            and (self.kind != "duplicate" or _is_about_messages("POST", service, request))
            and (self.kind != "hasten" or _is_about_messages("GET", service, request))
            and re.search(self.path, request.path) is not None
        )


class Proxy:
    """The three services of one storage account."""

    def __init__(self, stack: Topology):
        self.stack = stack
        self.faults: list[Fault] = []
        self.calls: Counter[str] = Counter()

    async def serve(self, stop: asyncio.Event) -> None:
        """Hand requests on until `stop` is set."""
        trust = ssl.create_default_context(cafile=str(self.stack.authority))
        connector = aiohttp.TCPConnector(limit=0, ssl=trust)
        unlimited = aiohttp.ClientTimeout(total=None)
        sockets = [socket.socket(fileno=int(number)) for number in os.environ[LISTEN_VARIABLE].split(",")]
        runners = []
        async with aiohttp.ClientSession(connector=connector, timeout=unlimited, auto_decompress=False) as self.client:
            for service, listening in zip(STORAGE_SERVICES, sockets, strict=True):
                app = web.Application(client_max_size=LARGEST_BODY_BYTES)
                app["service"] = service
                app.router.add_route("*", "/{path:.*}", self._handle)
                runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
                await runner.setup()
                runners.append(runner)
                await web.SockSite(runner, listening, ssl_context=tls(self.stack)).start()
            log.info("storage is ready")
            await stop.wait()
            for runner in runners:
                await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        service = str(request.app["service"])
        if request.path.startswith(CONTROL):
            return await self._control(request)
        body = await request.read()
        self.calls[f"{service} {request.method} {_resource(request.path, body)}"] += 1
        fault = self._take(service, request)
        kind = fault.kind if fault else ""
        if fault and kind == "delay":
            await asyncio.sleep(fault.seconds)
        if kind == "refuse":
            return web.Response(status=503, text=BUSY, headers={"x-ms-error-code": "ServerBusy"})
        try:
            target = _hastened(request.raw_path, fault.seconds) if fault and kind == "hasten" else request.raw_path
            answer = await self._forward(service, request, target, body)
            if kind == "duplicate":
                await self._forward(service, request, target, body)
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=f"Azurite's {service} service does not answer: {error}")
        if kind == "cut" and request.transport:
            request.transport.abort()
        return answer

    async def _forward(self, service: str, request: web.Request, target: str, body: bytes) -> web.Response:
        port = self.stack.ports[port_name("azurite", service)]
        async with self.client.request(
            request.method,
            f"https://127.0.0.1:{port}{target}",
            data=body or None,
            headers=[(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP],
            allow_redirects=False,
            skip_auto_headers=("Content-Type", "User-Agent", "Accept", "Accept-Encoding"),
        ) as answer:
            content = await answer.read()
            response = web.Response(status=answer.status, body=content or None)
            response.headers.clear()
            for name, value in answer.headers.items():
                if name.lower() not in HOP_BY_HOP and (name.lower() != "content-length" or request.method == "HEAD"):
                    response.headers.add(name, value)
            return response

    def _take(self, service: str, request: web.Request) -> Fault | None:
        fault = next((fault for fault in self.faults if fault.fits(service, request)), None)
        if fault and fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.faults.remove(fault)
        return fault

    async def _control(self, request: web.Request) -> web.Response:
        if not same(request.headers.get("x-control-key", ""), self.stack.control_key):
            return web.json_response({"error": "the header x-control-key is missing or wrong"}, status=401)
        match request.method, request.path.removeprefix(CONTROL):
            case "GET", "ready":
                return web.json_response({"part": "storage"})
            case "GET", "calls":
                return web.json_response(self.calls)
            case "DELETE", "calls":
                self.calls.clear()
                return web.json_response({})
            case "GET", "faults":
                return web.json_response(msgspec.to_builtins(self.faults))
            case "POST", "faults":
                return await self._order(request)
            case "DELETE", "faults":
                self.faults.clear()
                return web.json_response([])
        return web.json_response({"error": f"storage has no control {request.method} {request.path}"}, status=404)

    async def _order(self, request: web.Request) -> web.Response:
        try:
            fault = msgspec.json.decode(await request.read(), type=Fault)
            re.compile(fault.path)
        except (msgspec.ValidationError, msgspec.DecodeError, re.error) as error:
            return web.json_response({"error": f"not a fault of storage: {error}"}, status=400)
        self.faults.append(fault)
        return web.json_response(msgspec.to_builtins(fault), status=201)


def _is_about_messages(method: str, service: str, request: web.Request) -> bool:
    return service == "queue" and request.method == method and request.path.endswith("/messages")


def _hastened(target: str, seconds: float) -> str:
    """The path and query of a look into a queue, with a shorter time for which its messages are invisible."""
    return re.sub(
        r"(?<=visibilitytimeout=)\d+",
        lambda asked: str(min(int(asked[0]), round(seconds))),
        target,
        flags=re.IGNORECASE,
    )


def _resource(path: str, body: bytes) -> str:
    """The table, the container or the queue that a request is about: the first name below the account. A transaction
    names its table inside."""
    account, _, rest = path.strip("/").partition("/")
    name = re.split(r"[/(]", rest, maxsplit=1)[0]
    inside = re.search(rb"/" + account.encode() + rb"/(\w+)", body) if name == "$batch" else None
    return inside[1].decode() if inside else name


async def main() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await Proxy(topology.load()).serve(stop)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(main())
