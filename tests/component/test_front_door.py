"""The front door: which names it opens, what it says of the others, and the way to the parts' control."""

import asyncio
import contextlib
import json
import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from local.cloud.front_door import FrontDoor
from local.stack import Stack, clean, make_topology


@pytest.fixture(scope="module")
def stack(stack_factory: Callable[..., Stack]) -> Stack:
    return stack_factory("front_door", "identity", "keyvault")


async def ask(stack: Stack, request: bytes, end: bool = False) -> bytes:
    """What the front door answers to raw bytes, until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.topology.ports["front_door"])
    writer.write(request)
    if end:
        writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


def control(stack: Stack, method: str, path: str, body: object = None, key: str | None = None) -> tuple[int, object]:
    request = urllib.request.Request(
        f"{stack.topology.address('front_door')}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"x-control-key": stack.topology.control_key if key is None else key},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read())


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("example.com:443", "example.com:443 is not part of the local stack"),
        ("other.vault.azure.net:443", "other.vault.azure.net:443 is not part of the local stack"),
        ("management.azure.com.example.com:443", "is not part of the local stack"),
        ("management.azure.com:80", "management.azure.com:80 is not part of the local stack"),
        ("management.azure.com:443", "arm, which serves it, was not started"),
    ],
)
async def test_what_is_not_served_is_refused_by_name(stack: Stack, target: str, why: str) -> None:
    head, _, body = (await ask(stack, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())).partition(
        b"\r\n\r\n"
    )
    assert head.startswith(b"HTTP/1.1 502 ")
    assert why in head.splitlines()[0].decode()
    assert why in json.loads(body)["error"]


async def test_a_plain_proxy_request_is_refused_too(stack: Stack) -> None:
    answer = await ask(stack, b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 502 example.com is not part of the local stack\r\n")


async def test_names_are_opened_in_any_letter_case_and_their_certificate_is_good(stack: Stack) -> None:
    port, name = stack.topology.ports["front_door"], f"{stack.topology.vault}.vault.azure.net"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"CONNECT {name.upper()}:443 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    await writer.start_tls(ssl.create_default_context(cafile=str(stack.topology.authority)), server_hostname=name)
    writer.write(f"GET /secrets HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b'resource="https://vault.azure.net"' in answer
    writer.close()


def test_a_foreign_tool_reaches_the_stack_by_its_environment(stack: Stack) -> None:
    environment = clean(os.environ) | stack.topology.environment("operator")

    def curl(url: str) -> subprocess.CompletedProcess[str]:
        command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)

    inside = curl(stack.topology.vault_url)
    assert inside.stdout == "401", inside.stderr
    outside = curl("https://example.com/")
    assert outside.returncode != 0
    assert "502" in outside.stderr


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\na header\r\n\r\n",
        b"POST /control/keyvault/faults HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["nonsense", "TLS", "no Host", "length", "two lengths", "header", "chunk", "NUL"],
)
async def test_what_is_not_http_is_answered_with_400(stack: Stack, sent: bytes) -> None:
    answer = await ask(stack, sent)
    assert answer.startswith(b"HTTP/1.1 400 not an HTTP/1.1 request")


async def test_what_is_no_address_is_refused(stack: Stack) -> None:
    answer = await ask(stack, b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 not an address")


async def test_a_body_in_chunks_reaches_the_part(stack: Stack) -> None:
    ordered = json.dumps({"operation": "GetSecrets", "status": 503}).encode()
    request = (
        f"POST /control/keyvault/faults HTTP/1.1\r\nHost: x\r\nx-control-key: {stack.topology.control_key}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(ordered), ordered)
    assert (await ask(stack, request)).startswith(b"HTTP/1.1 201 ")
    assert control(stack, "DELETE", "/control/keyvault/faults") == (200, [])


async def test_what_is_sent_behind_a_connect_at_once_goes_into_the_tunnel(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        writer.close()

    behind = await asyncio.start_server(echo, "127.0.0.1", 0)
    early = b"early"
    async with behind, door_before(tmp_path, behind.sockets[0].getsockname()[1], early) as (reader, _):
        await reader.readuntil(b"\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 10) == early


async def test_headers_without_end_are_refused(stack: Stack) -> None:
    assert (await ask(stack, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"x: y\r\n" * 40_000)).startswith(b"HTTP/1.1 431 ")


@contextlib.asynccontextmanager
async def door_before(
    folder: Path, arm: int, early: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a front door in this process, whose ARM listens on the port `arm`. `early`: sent at once."""
    async with aiohttp.ClientSession() as session:
        door = FrontDoor(make_topology(folder, {"arm": arm}), session)
        async with await asyncio.start_server(door.accept, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"CONNECT management.azure.com:443 HTTP/1.1\r\nHost: x\r\n\r\n" + early)
            yield reader, writer
            writer.close()


async def test_what_is_sent_before_a_half_close_is_answered(tmp_path: Path) -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.read())
        writer.close()

    behind = await asyncio.start_server(answer_at_the_end, "127.0.0.1", 0)
    async with behind, door_before(tmp_path, behind.sockets[0].getsockname()[1]) as (reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"x" * 300_000)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 10) == b"got " + b"x" * 300_000


async def test_a_part_that_is_down_is_named(tmp_path: Path) -> None:
    async with door_before(tmp_path, arm=9) as (reader, _):
        answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.startswith(b"HTTP/1.1 502 arm, which serves management.azure.com:443 here, does not answer")


def test_a_client_that_leaves_takes_the_tunnel_with_it(stack: Stack) -> None:
    fds = Path(f"/proc/{_pid(stack, 'front_door')}/fd")
    before = len(list(fds.iterdir()))
    name = f"{stack.topology.vault}.vault.azure.net"
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", stack.topology.ports["front_door"]), 5) as client:
            client.sendall(f"CONNECT {name}:443 HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
    end = time.monotonic() + 5
    while len(list(fds.iterdir())) > before and time.monotonic() < end:
        time.sleep(0.05)
    assert len(list(fds.iterdir())) <= before


def test_control_reaches_a_part_with_body_and_query(stack: Stack) -> None:
    ordered = {"operation": "GetSecrets", "status": 503, "times": 2}
    status, fault = control(stack, "POST", "/control/keyvault/faults?x=y", ordered)
    assert status == 201
    assert isinstance(fault, dict)
    assert fault["times"] == 2
    status, faults = control(stack, "GET", "/control/keyvault/faults")
    assert (status, faults) == (200, [fault])
    assert control(stack, "DELETE", "/control/keyvault/faults") == (200, [])


def test_control_asks_for_its_key(stack: Stack) -> None:
    for path in ("/control/keyvault/calls", "/.control/ready"):
        status, body = control(stack, "GET", path, key="wrong")
        assert (status, body) == (401, {"error": "the header x-control-key is missing or wrong"})


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/control/arm/faults", "no part 'arm' is running here, only: identity, keyvault"),
        ("/control/keyvault", "control is at /control/{part}/{name}"),
        ("/elsewhere", "nothing is at /elsewhere"),
        ("/control/keyvault/nothing", "keyvault has no control GET nothing"),
    ],
)
def test_control_names_what_there_is(stack: Stack, path: str, why: str) -> None:
    status, body = control(stack, "GET", path)
    assert status == 404
    assert isinstance(body, dict)
    assert why in body["error"]


def _pid(stack: Stack, part: str) -> int:
    """The part's own process: the child of its guard."""
    guard = stack.processes[part].pid
    return int(Path(f"/proc/{guard}/task/{guard}/children").read_text().split()[0])
