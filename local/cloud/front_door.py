"""The HTTPS proxy that stands before the stack: it knows the host names that are served here, and refuses all others.

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
import msgspec

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


class Head(msgspec.Struct, frozen=True):
    """The request line and headers (names in lower case) of one request."""

    method: str
    target: str
    headers: dict[str, str]


class NotServed(Exception):
    """The front door doesn't do what was asked: an HTTP status, and why."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


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
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = _parse(await reader.readuntil(b"\r\n\r\n"))
            if head.method == "CONNECT":
                await self._tunnel(head, reader, writer)
            else:
                await _answer(reader, writer, *await self._control(head, reader))
        except NotServed as refusal:
            log.info("refused: %s", refusal.reason)
            # In the status line too: of a refused CONNECT, most clients show nothing else.
            await _answer(reader, writer, refusal.status, _error(refusal.reason), refusal.reason)
        except asyncio.LimitOverrunError:
            await _answer(reader, writer, 431, _error("the request's headers are larger than 64 KiB"))
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client left, or never said what it wants
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _tunnel(self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        part = self._route(head.target)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                there = await asyncio.open_connection("127.0.0.1", self.stack.ports[part], limit=CHUNK)
        except (OSError, TimeoutError) as error:
            raise NotServed(502, f"{part}, which serves {head.target} here, does not answer: {error}") from None
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        ways = [asyncio.create_task(_carry(reader, there[1])), asyncio.create_task(_carry(there[0], writer))]
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

    async def _control(self, head: Head, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        url = urlsplit(head.target)
        if url.netloc:
            raise NotServed(502, f"{url.netloc} is not part of the local stack")
        if head.method == "GET" and url.path == "/.control/ready":
            if head.headers.get("x-control-key") != self.stack.control_key:
                raise NotServed(401, "the header x-control-key is missing or wrong")
            return 200, json.dumps({"part": "front_door"}).encode()
        prefix, _, rest = url.path.removeprefix("/control/").partition("/")
        if not url.path.startswith("/control/") or not rest:
            raise NotServed(404, f"nothing is at {url.path}: control is at /control/{{part}}/{{name}}")
        if prefix not in self.stack.ports or prefix == "front_door":
            known = ", ".join(part for part in self.stack.ports if part != "front_door")
            raise NotServed(404, f"no part {prefix!r} is running here, only: {known}")
        return await self._forward(head, prefix, f"/.control/{rest}" + (f"?{url.query}" if url.query else ""), reader)

    async def _forward(self, head: Head, part: str, path: str, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        if "transfer-encoding" in head.headers:
            raise NotServed(411, "send the body with a Content-Length")
        async with asyncio.timeout(CONTROL_SECONDS):
            body = await reader.readexactly(int(head.headers.get("content-length", "0")))
        kept: dict[str, str] = {
            name: head.headers[name] for name in ("x-control-key", "content-type") if name in head.headers
        }
        url = self.stack.address(part) + path
        try:
            async with self.client.request(head.method, url, data=body, headers=kept) as got:
                return got.status, await got.read()
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


def _parse(raw: bytes) -> Head:
    first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    words = first.split(" ")
    length = ""
    if len(words) == 3 and words[2].startswith("HTTP/1."):
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "0")
        if length.isdecimal():
            return Head(words[0].upper(), words[1], headers)
    raise NotServed(400, f"not an HTTP/1.1 request: {first!r}" + (f", Content-Length {length!r}" if length else ""))


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
