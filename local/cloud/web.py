"""What every stand-in is made of: a table of operations behind a token check, with faults that can be ordered.

A stand-in is a `Service`: a list of `Operation`s (method, path template, name, handler) and the form of its
errors. Anything that is not in the list is answered with 501 and the name of what was asked. Every call is
recorded (never its body or headers), so that a test can count writes.

Under `/.control/` a part answers the stack's own tools, which hold the control key:

    GET    /.control/ready
    GET    /.control/calls            the calls since the last DELETE: operation, method, path, status, caller
    DELETE /.control/calls
    GET    /.control/faults           and so on, see `faults`
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import jwt
import msgspec
from aiohttp import web

from local.cloud import tokens
from local.cloud.faults import INJECTED, Faults, cut
from local.topology import LISTEN_VARIABLE, Topology

log = logging.getLogger("local")


class Refusal(Exception):
    """The service refuses a call with an HTTP status, an error code of its own, and a message."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None, **more: Any):
        super().__init__(message)
        self.status, self.code, self.message, self.headers, self.more = status, code, message, headers or {}, more


class Call(msgspec.Struct):
    """One request that passed the token check."""

    operation: str
    method: str
    url: str
    path: str
    parameters: dict[str, str]
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    claims: dict[str, Any]


class Answer(msgspec.Struct):
    """What a handler returns. `body` is sent as JSON unless it is None.

    Faults spoil it: `raw` sends the body as the text that it is, `truncate` so many bytes of it at most, and `cut` then
    closes the connection.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = {}
    raw: bool = False
    truncate: int | None = None
    cut: bool = False


class Spoiled(Exception):
    """A fault answers in the place of the service."""

    def __init__(self, answer: Answer):
        super().__init__("answered on order")
        self.answer = answer


Handler = Callable[[Call], Awaitable[Answer]]
ErrorBody = Callable[[Refusal], Any]


class Operation:
    """`name` as the service's own reference calls it, e.g. `Servers_Get`. `{x}` in the path matches one segment."""

    def __init__(self, method: str, path: str, name: str, handler: Handler):
        self.method, self.path, self.name, self.handler = method, path, name, handler
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))
        self.pattern = re.compile(pattern + r"/?", re.IGNORECASE)


class Service:
    """One stand-in. `audiences`: the token audiences it accepts; empty: no token is asked for (say why)."""

    def __init__(
        self,
        part: str,
        topology: Topology,
        operations: Sequence[Operation],
        audiences: tuple[str, ...],
        error_body: ErrorBody,
        challenge: str = "Bearer",
    ):
        self.part, self.topology, self.operations = part, topology, list(operations)
        self.audiences, self.error_body, self.challenge = audiences, error_body, challenge
        self.faults = Faults(part, [operation.name for operation in self.operations])
        self.calls: list[dict[str, Any]] = []
        self.controls: dict[tuple[str, str], Callable[[web.Request], Awaitable[web.Response]]] = {
            ("GET", "ready"): self._ready,
            ("GET", "calls"): self._get_calls,
            ("DELETE", "calls"): self._forget_calls,
            ("GET", "faults"): self.faults.list,
            ("POST", "faults"): self.faults.order,
            ("DELETE", "faults"): self.faults.forget,
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Every request enters here."""
        if request.path.startswith("/.control/"):
            return await self._control(request)
        operation, parameters = self._find(request)
        name = operation.name if operation else f"{request.method} {request.path}"
        caller = ""
        try:
            claims = self._authenticate(request)
            caller = claims.get("oid", "")
            await self._maybe_fail(request, name)
            if operation is None:
                raise Refusal(501, "NotImplemented", f"The stand-in for {self.part} does not implement {name}.")
            call = Call(
                operation=name, method=request.method, url=str(request.url), path=request.path,
                parameters=parameters, query=dict(request.query), headers=dict(request.headers),
                body=await self._body(request), claims=claims,
            )  # fmt: skip
            answer = await self._maybe_fail(request, name, await operation.handler(call))
        except Spoiled as spoiled:
            answer = spoiled.answer
        except Refusal as refusal:
            answer = Answer(refusal.status, self.error_body(refusal), refusal.headers)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("%s failed", name)
            failure = Refusal(500, "InternalServerError", f"The stand-in for {self.part} failed; see its log.")
            answer = Answer(500, self.error_body(failure))
        self.calls.append(
            {"operation": name, "method": request.method, "path": request.path, "status": answer.status,
             "caller": caller, "time": time.time()}
        )  # fmt: skip
        log.info("%s %s → %s (%s, caller %s)", request.method, request.path, answer.status, name, caller or "-")
        return await _send(request, answer)

    def fails_next(self, call: Call) -> str:
        """The code with which the long-running operation that this call starts was ordered to end as failed; empty: it
        was not."""
        fault = self.faults.take("operation", call.operation, call.path, json.dumps(call.body))
        return (fault.code or INJECTED) if fault else ""

    def _find(self, request: web.Request) -> tuple[Operation | None, dict[str, str]]:
        for operation in self.operations:
            match = operation.pattern.fullmatch(request.path) if operation.method == request.method else None
            if match:
                return operation, match.groupdict()
        return None, {}

    def _authenticate(self, request: web.Request) -> dict[str, Any]:
        if not self.audiences:
            return {}
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        challenge = {"WWW-Authenticate": self.challenge}
        if scheme.lower() != "bearer" or not token:
            raise Refusal(401, "AuthenticationFailed", "A bearer token is required.", challenge)
        try:
            return tokens.verify(self.topology, token, self.audiences)
        except jwt.InvalidTokenError as error:
            raise Refusal(401, "InvalidAuthenticationToken", f"The token was refused: {error}.", challenge) from None

    async def _body(self, request: web.Request) -> Any:
        text = await request.text()
        if not text:
            return None
        try:
            return json.loads(text)
        except ValueError as error:
            raise Refusal(400, "InvalidRequestContent", f"The body is not JSON: {error}.") from None

    async def _maybe_fail(self, request: web.Request, operation: str, answer: Answer | None = None) -> Answer:
        """What a fault makes of a call before its work (`answer` is None: it goes on), or of its answer."""
        content = (await request.read()).decode(errors="replace")
        fault = self.faults.take("after" if answer else "before", operation, request.path, content)
        going_on = answer or Answer()
        if fault is None:
            return going_on
        await asyncio.sleep(fault.delay)
        if fault.truncate is not None:
            return msgspec.structs.replace(going_on, truncate=fault.truncate, cut=fault.drop)
        if fault.drop:
            if request.transport:
                request.transport.abort()
            raise ConnectionResetError("dropped on order")
        headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
        if fault.raw is not None:
            raise Spoiled(
                Answer(fault.status or 200, fault.raw, headers | {"Content-Type": fault.content_type}, raw=True)
            )
        if fault.status:
            raise Refusal(fault.status, fault.code or INJECTED, fault.message, headers)
        return going_on

    async def _control(self, request: web.Request) -> web.Response:
        if request.headers.get("x-control-key") != self.topology.control_key:
            return web.json_response({"error": "the header x-control-key is missing or wrong"}, status=401)
        name = request.path.removeprefix("/.control/")
        for (method, prefix), handler in self.controls.items():
            if method == request.method and (name == prefix or name.startswith(prefix + "/")):
                return await handler(request)
        return web.json_response({"error": f"{self.part} has no control {request.method} {name}"}, status=404)

    async def _ready(self, _: web.Request) -> web.Response:
        return web.json_response({"part": self.part})

    async def _get_calls(self, _: web.Request) -> web.Response:
        return web.json_response(self.calls)

    async def _forget_calls(self, _: web.Request) -> web.Response:
        self.calls.clear()
        return web.json_response([])


async def _send(request: web.Request, answer: Answer) -> web.StreamResponse:
    if answer.body is None:
        return web.Response(status=answer.status, headers=answer.headers)
    content = (answer.body if answer.raw else json.dumps(answer.body)).encode()
    if answer.cut:
        return await cut(request, answer.status, content, answer.truncate or 0)
    headers = {"Content-Type": "application/json; charset=utf-8"} | answer.headers
    return web.Response(status=answer.status, headers=headers, body=content[: answer.truncate])


def listening_socket() -> socket.socket:
    """The socket that the supervisor bound for this part."""
    return socket.socket(fileno=int(os.environ[LISTEN_VARIABLE]))


def tls(topology: Topology) -> ssl.SSLContext:
    """The server side of TLS, with the certificate that carries all the stack's host names."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(topology.file("cloud.pem"), topology.file("cloud.key"))
    return context


async def serve(
    service: Service,
    background: Callable[[], contextlib.AbstractAsyncContextManager[Any]] = contextlib.nullcontext,
    secure: bool = True,
) -> None:
    """Serve until asked to stop (SIGTERM or SIGINT). `background` is entered before and left after.

    `secure=False`: plain HTTP, as the managed identity endpoint is in Azure.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = web.Application(client_max_size=16 * 2**20)
    app.router.add_route("*", "/{path:.*}", service.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    async with background():
        await runner.setup()
        await web.SockSite(runner, listening_socket(), ssl_context=tls(service.topology) if secure else None).start()
        log.info("%s is ready", service.part)
        await stop.wait()
        await runner.cleanup()


def run(main: Awaitable[None]) -> None:
    """The entry of every part: logging to standard error (its log file), then `main`.

    Nothing is left to do after it, so the process does not stay to tidy up its modules.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(main)  # type: ignore[arg-type]
    logging.shutdown()
    os._exit(0)
