"""The HTTPS proxy that stands before the stack: it serves the host names of the stack, and refuses all others.

A client asks `CONNECT management.azure.com:443` and talks TLS with the stand-in through it; so programs find
the stack by `HTTPS_PROXY` alone, and nothing leaves the machine. On the same port, `/control/{part}/{rest}`
forwards to the part's `/.control/{rest}`: one address for everything that can be ordered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import ssl
from urllib.parse import urlsplit

import aiohttp
import h11

from local import topology
from local.cloud import web
from local.topology import INGESTION, Topology

log = logging.getLogger("local.front_door")

HEAD_SECONDS = 10.0
CONNECT_SECONDS = 5.0
HALF_CLOSED_SECONDS = 30.0
CONTROL_SECONDS = 60.0
LINGER_SECONDS = 2.0
CHUNK = 64 * 1024


class NotServed(Exception):
    """The front door doesn't do what was asked: an HTTP status, and why."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


class Incoming:
    """One HTTP/1.1 request as it arrives. h11 parses it, so that it is refused as any good server refuses it."""

    def __init__(self, reader: asyncio.StreamReader):
        self.reader = reader
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=CHUNK)
        self.method, self.target = "", ""
        self.headers: dict[str, str] = {}
        """Names in lower case."""

    async def head(self) -> None:
        """Read the request line and the headers. Raises `NotServed`, and `ConnectionError` where the client left."""
        event = await self._next()
        if not isinstance(event, h11.Request):
            raise ConnectionError("The client left.")
        self.method, self.target = event.method.decode(), event.target.decode()
        self.headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}

    async def body(self) -> bytes:
        """Read the rest of the request. Raises as `head`."""
        parts: list[bytes] = []
        while not isinstance(event := await self._next(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise ConnectionError("The client left.")
            parts.append(bytes(event.data))
        return b"".join(parts)

    @property
    def beyond(self) -> bytes:
        """What the client has sent already behind the request."""
        return self._http.trailing_data[0]

    async def _next(self) -> object:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self.reader.read(CHUNK))
        except h11.RemoteProtocolError as error:
            raise NotServed(error.error_status_hint, f"not an HTTP/1.1 request: {error}") from None
        return event


class FrontDoor:
    """The front door of one stack; `client` carries control requests to its parts."""

    def __init__(self, stack: Topology, client: aiohttp.ClientSession):
        self.stack, self.client = stack, client
        self.part_of = {
            "management.azure.com": "arm",
            "api.fabric.microsoft.com": "fabric",
            f"{stack.vault}.vault.azure.net": "keyvault",
            INGESTION.format(location=stack.location): "monitor",
        }
        self.topics = f".{stack.location}-1.eventgrid.azure.net"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: a tunnel, or one control request."""
        request = Incoming(reader)
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                await request.head()
            if request.method == "CONNECT":
                await self._tunnel(request, writer)
            else:
                await _answer(reader, writer, *await self._control(request))
        except NotServed as refusal:
            log.info("refused: %s", refusal.reason)
            # In the status line too: of a refused CONNECT, most clients show nothing else.
            await _answer(reader, writer, refusal.status, _error(refusal.reason), refusal.reason)
        except (ConnectionError, TimeoutError):
            pass  # the client left, or never said what it wants
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _tunnel(self, request: Incoming, writer: asyncio.StreamWriter) -> None:
        part = self._route(request.target)
        async with asyncio.timeout(HEAD_SECONDS):
            await request.body()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                there = await asyncio.open_connection("127.0.0.1", self.stack.ports[part], limit=CHUNK)
        except (OSError, TimeoutError) as error:
            raise NotServed(502, f"{part}, which serves {request.target} here, does not answer: {error}") from None
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        there[1].write(request.beyond)
        ways = [asyncio.create_task(_carry(request.reader, there[1])), asyncio.create_task(_carry(there[0], writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(ways, timeout=HALF_CLOSED_SECONDS)
        finally:
            for way in ways:
                way.cancel()
            there[1].close()

    def _route(self, target: str) -> str:
        host, _, port = target.rpartition(":")
        host = host.lower()
        part = "eventgrid" if host.endswith(self.topics) else self.part_of.get(host)
        if part is None or port != "443":
            raise NotServed(502, f"{target} is not part of the local stack")
        if part not in self.stack.ports:
            raise NotServed(502, f"{target} is not part of the local stack: {part}, which serves it, was not started")
        return part

    async def _control(self, request: Incoming) -> tuple[int, bytes]:
        try:
            url = urlsplit(request.target)
        except ValueError as error:
            raise NotServed(400, f"not an address: {error}") from None
        if url.netloc:
            raise NotServed(502, f"{url.netloc} is not part of the local stack")
        if request.method == "GET" and url.path == "/.control/ready":
            if request.headers.get("x-control-key") != self.stack.control_key:
                raise NotServed(401, "the header x-control-key is missing or wrong")
            return 200, json.dumps({"part": "front_door"}).encode()
        prefix, _, rest = url.path.removeprefix("/control/").partition("/")
        if not url.path.startswith("/control/") or not rest:
            raise NotServed(404, f"nothing is at {url.path}: control is at /control/{{part}}/{{name}}")
        if prefix not in self.stack.ports or prefix == "front_door":
            running = ", ".join(part for part in self.stack.ports if part != "front_door")
            raise NotServed(404, f"no part {prefix!r} is running here, only: {running}")
        return await self._forward(request, prefix, f"/.control/{rest}" + (f"?{url.query}" if url.query else ""))

    async def _forward(self, request: Incoming, part: str, path: str) -> tuple[int, bytes]:
        async with asyncio.timeout(CONTROL_SECONDS):
            body = await request.body()
        passed_on = ("x-control-key", "content-type")
        headers: dict[str, str] = {name: request.headers[name] for name in passed_on if name in request.headers}
        url = self.stack.address(part) + path
        try:
            async with self.client.request(request.method, url, data=body, headers=headers) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotServed(502, f"{part} does not answer: {error or type(error).__name__}") from None


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy until the source ends, then end the sink's sending side (a half-close goes through)."""
    with contextlib.suppress(ConnectionError):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


def _error(reason: str) -> bytes:
    return json.dumps({"error": reason}).encode()


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int, body: bytes, reason: str = ""
) -> None:
    """Answer, then read what the client still sends: closing on unread data would take the answer from it."""
    head = (
        f"HTTP/1.1 {status} {' '.join(reason.split())}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    writer.write(head.encode("latin-1", "replace") + body)
    with contextlib.suppress(ConnectionError, TimeoutError):
        writer.write_eof()
        async with asyncio.timeout(LINGER_SECONDS):
            while await reader.read(CHUNK):
                pass


async def main() -> None:
    """Serve until asked to stop."""
    stack = topology.load()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(stack.authority)))
    timeout = aiohttp.ClientTimeout(total=CONTROL_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
        server = await asyncio.start_server(FrontDoor(stack, client).accept, sock=web.listening_socket(), limit=CHUNK)
        log.info("front_door is ready")
        await stop.wait()
        server.close()
        server.abort_clients()


if __name__ == "__main__":
    web.run(main())
