"""Brings the parts of the stack up together, and down again in reverse. Each is a process of its own under a guard."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from local import certificates, lock, stack_file
from local.functions_host import crashes
from local.topology import (
    APP,
    CHARACTERS,
    ENGINES,
    EXTENSION,
    IN_MEMORY,
    INGESTION,
    INSTANCE_VARIABLE,
    LISTEN_VARIABLE,
    MEMBERSHIP,
    SERVICE_PRINCIPAL,
    STORAGE_SERVICES,
    TOPOLOGY_VARIABLE,
    TRUST_VARIABLES,
    WORKSPACE_IDENTITY,
    Principal,
    Topology,
    port_name,
    write_whole,
)

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    "front_door": "local.cloud.front_door",
    "identity": "local.cloud.identity",
    "azurite": "local.azurite",
    "keyvault": "local.cloud.keyvault",
    "eventgrid": "local.cloud.eventgrid",
    "monitor": "local.cloud.monitor",
    "arm": "local.cloud.arm",
    "fabric": "local.cloud.fabric",
    "host": "local.host",
}
PARTS = tuple(MODULES)
"""What a stack consists of, with either engine."""
EXTENSION_MODULES = {"storage": "local.storage", "engine": "local.engine"}
"""What the Durable extension needs besides."""
EXTENSION_NEEDS = ("identity", "azurite", *EXTENSION_MODULES)
PART_FOLDERS = ("azurite", "logs", "servers")
PRINCIPALS = (APP, "operator", "azure", SERVICE_PRINCIPAL, WORKSPACE_IDENTITY)
START_SECONDS = 60.0
FREE_SECONDS = 10.0
LOCATION = "westeurope"
# What the app asks Event Grid for in Azure: changes of flexible servers and of their tags.
SERVER_CHANGED = {
    "schema": "EventGridSchema",
    "source": "system",
    "includedEventTypes": [f"Microsoft.Resources.Resource{what}Success" for what in ("Write", "Action", "Delete")],
    "operationNames": [
        "Microsoft.DBforPostgreSQL/flexibleServers/write",
        "Microsoft.DBforPostgreSQL/flexibleServers/delete",
        "Microsoft.DBforPostgreSQL/flexibleServers/start/action",
        "Microsoft.DBforPostgreSQL/flexibleServers/restart/action",
        "Microsoft.Resources/tags/write",
        "Microsoft.Resources/tags/delete",
    ],
}
# Variables of the caller that would lead a part, or an SDK in it, out of the stack.
FOREIGN_PREFIXES = ("AZURE_", "IDENTITY_", "MSI_", "PG")
FOREIGN = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_DIR", *TRUST_VARIABLES}


class StartFailed(Exception):
    """The stack did not come up; the message says which part, and what its log ends with."""


class Stack:
    """A running stack, or some of its parts (component tests start only what they test).

    Use as a context manager: leaving it takes every part down, as does an exception while starting. `settings`
    are app settings besides, or instead of, those that the stack gives the app. `folder` holds one stack at a
    time; what an earlier one left in it is removed. `engine` is one of `topology.ENGINES`, and
    `azure_cdc` one of `topology.CHARACTERS`.
    """

    def __init__(
        self,
        folder: Path,
        parts: Iterable[str] = PARTS,
        settings: Mapping[str, str] | None = None,
        engine: str = IN_MEMORY,
        azure_cdc: str = MEMBERSHIP,
    ):
        if engine not in ENGINES:
            raise StartFailed(f"The engine is '{engine}', expected one of {', '.join(ENGINES)}.")
        if azure_cdc not in CHARACTERS:
            raise StartFailed(f"The azure_cdc is '{azure_cdc}', expected one of {', '.join(CHARACTERS)}.")
        self.azure_cdc = azure_cdc
        self.engine = engine if "host" in set(parts) else IN_MEMORY
        needed = {*parts, *(EXTENSION_NEEDS if self.engine == EXTENSION else ())}
        self.parts = [part for part in (*MODULES, *EXTENSION_MODULES) if part in needed]
        self.folder = folder.absolute()
        self.settings = dict(settings or {})
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.dying: tuple[str, ...] = ()

    def __enter__(self) -> Stack:
        with contextlib.ExitStack() as undo:
            undo.enter_context(lock.hold(self.folder))
            _forget_last(self.folder)
            (self.folder / "logs").mkdir(exist_ok=True)
            certificates.create(self.folder, f"*.{LOCATION}-1.eventgrid.azure.net", INGESTION.format(location=LOCATION))
            with contextlib.ExitStack() as handed_over:
                names = {part: self._port_names(part) for part in self.parts}
                # Azurite binds its ports itself. To hold them for it, ours don't listen and allow reuse.
                bound = {
                    name: undo.enter_context(_bind(listen=False))
                    if part == "azurite"
                    else handed_over.enter_context(_bind())
                    for part in self.parts
                    for name in names[part]
                }
                ports = {name: sock.getsockname()[1] for name, sock in bound.items()}
                self.topology = make_topology(self.folder, ports, self.engine, self.azure_cdc)
                self.topology.save()
                undo.callback(self._take_down)
                for part in self.parts:
                    self._spawn(part, [] if part == "azurite" else [bound[name] for name in names[part]])
            for part in self.parts:
                self._wait_until_ready(part)
            if {"host", "eventgrid"} <= set(self.parts):
                self._subscribe()
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def ended(self) -> list[str]:
        """The parts whose processes have ended, though they should run."""
        return [part for part, process in self.processes.items() if process.poll() is not None]

    def tail(self, part: str, lines: int = 25) -> str:
        """The end of a part's log."""
        text = self.topology.log(part).read_text(errors="replace").splitlines()
        return "\n".join(text[-lines:])

    def kill(self, *parts: str) -> None:
        """End parts at once (SIGKILL), as a crash of their machine would. What they listen on is closed."""
        processes = [self.processes.pop(part) for part in parts]
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
        for process in processes:
            process.wait()
        if "engine" in parts:
            self.topology.engine_file(1).unlink(missing_ok=True)

    def crash(self, function: str, when: str, host: bool = False) -> None:
        """Order that the host's process dies at a point of a function (see `functions_host/crashes.py`)."""
        self.dying = ("host", "engine") if host else ("host",)
        write_whole(self.topology.file(crashes.NAME), {"function": function, "when": when, "host": host})

    def await_crash(self, seconds: float = START_SECONDS) -> tuple[str, ...]:
        """Wait until the crash that was ordered has happened. The parts that died, which `start_again` starts."""
        end = time.monotonic() + seconds
        while any(self.processes[part].poll() is None for part in self.dying):
            if time.monotonic() > end:
                raise TimeoutError(f"The host still runs after {seconds:g} s: {self.tail('host')}")
            time.sleep(0.02)
        for part in self.dying:
            del self.processes[part]
        return self.dying

    def start_again(self, *parts: str, settings: Mapping[str, str] | None = None) -> None:
        """Start parts that were killed, on the ports and with the files that they had. Returns when they are ready.

        `settings` replaces app settings from now on.
        """
        self.settings |= settings or {}
        for part in parts:
            with contextlib.ExitStack() as handed_over:
                ports = [self.topology.ports[name] for name in self._port_names(part)]
                self._spawn(part, [handed_over.enter_context(_bind_again(port)) for port in ports])
        for part in parts:
            self._wait_until_ready(part)

    def start_second_host(self) -> None:
        """Start one more host with its engine on the same task hub: the parts `host_2` and `engine_2`. Requests, events
        and timers stay with the first one."""
        with _bind() as listening:
            self._spawn("host_2", [listening])
        self._spawn("engine_2", [])
        end = time.monotonic() + START_SECONDS
        while not self.topology.engine_file(2).exists():
            if self.ended() or time.monotonic() > end:
                raise StartFailed(f"the second host is not ready:\n{self.tail('host_2')}\n{self.tail('engine_2')}")
            time.sleep(0.05)

    def _port_names(self, part: str) -> list[str]:
        if part == "engine":
            return []
        if self.engine == EXTENSION and part in ("azurite", "storage"):
            return [port_name(part, service) for service in STORAGE_SERVICES]
        return [part]

    def _take_down(self) -> None:
        """Close the guards' standard inputs: each then ends its command."""
        for process in reversed(self.processes.values()):
            if process.stdin:
                process.stdin.close()
        for process in reversed(self.processes.values()):
            process.wait()

    def _spawn(self, part: str, listening: list[socket.socket]) -> None:
        kind, _, number = part.partition("_") if part.startswith(("host_", "engine_")) else (part, "", "")
        environment = clean(os.environ) | {
            TOPOLOGY_VARIABLE: str(self.topology.file("topology.json")),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        descriptors = [sock.fileno() for sock in listening]
        if listening:
            environment[LISTEN_VARIABLE] = ",".join(map(str, descriptors))
        if kind in ("host", "engine"):
            environment |= self.topology.app_settings() | self.settings | {INSTANCE_VARIABLE: number or "1"}
            file = self.topology.functions_file if kind == "host" else self.topology.engine_file
            file(int(number or 1)).unlink(missing_ok=True)
        guard = [sys.executable, "-m", "local.guard", *_gracelessly(kind), "--"]
        with self.topology.log(part).open("ab") as log:
            self.processes[part] = subprocess.Popen(
                [*guard, sys.executable, "-m", (MODULES | EXTENSION_MODULES)[kind]],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment,
                pass_fds=descriptors, start_new_session=True, cwd=ROOT,
            )  # fmt: skip

    def _wait_until_ready(self, part: str) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.processes[part].poll() is not None:
                raise StartFailed(f"{part} ended while starting:\n{self.tail(part)}")
            if self._is_ready(part):
                return
            time.sleep(0.05)
        raise StartFailed(f"{part} was not ready after {START_SECONDS:g} s:\n{self.tail(part)}")

    def _is_ready(self, part: str) -> bool:
        if part == "engine":
            return self._is_engine_met()
        try:
            self.control(part, "GET", "ready")
        except urllib.error.HTTPError:
            return part == "azurite"  # it knows no control, but it answers
        except OSError:
            return False
        return True

    def _is_engine_met(self) -> bool:
        """Whether the extension is up, and the host knows where. A host that is not up will read it."""
        file = self.topology.engine_file(1)
        if not file.exists() or "host" not in self.processes:
            return file.exists()
        try:
            ready = self.control("host", "GET", "ready")
        except OSError:
            return False
        return isinstance(ready, dict) and ready["engine"] == json.loads(file.read_bytes())["address"]

    def _subscribe(self) -> None:
        subscription = SERVER_CHANGED | {"endpoint": self.topology.webhook("server_changed")}
        try:
            self.control("eventgrid", "PUT", "subscriptions/server-changed", subscription)
        except urllib.error.HTTPError as error:
            raise StartFailed(f"The event subscription was not created: {error.read().decode()}") from None

    def control(self, part: str, method: str, name: str, body: object = None) -> object:
        """Call a part's own control, e.g. `control("arm", "POST", "faults", {…})`; the JSON that it answers.

        Raises `urllib.error.HTTPError` where the part refuses, and `OSError` where it doesn't answer.
        """
        request = urllib.request.Request(
            f"{self.topology.address(part)}/.control/{name}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"x-control-key": self.topology.control_key, "content-type": "application/json"},
        )
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self.topology.authority))),
        )
        with opener.open(request, timeout=10) as answer:
            return json.loads(answer.read() or "null")


def _gracelessly(part: str) -> list[str]:
    """How the guard ends a part. The Durable extension is killed: it would try to hand its work over to nobody."""
    return ["--signal", "SIGKILL"] if part == "engine" else []


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without proxies, credentials and trust of its own: the stack gives these itself."""
    return {
        name: value
        for name, value in environment.items()
        if name.upper() not in FOREIGN and not name.upper().startswith(FOREIGN_PREFIXES)
    }


def _forget_last(folder: Path) -> None:
    """Remove the files of an earlier stack, which are of no use without its identities."""
    if (folder / "topology.json").exists():
        for name in PART_FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        for path in (folder / stack_file.NAME, folder / "topology.json", *folder.glob("engine-*.json")):
            path.unlink(missing_ok=True)


def _bind(port: int = 0, listen: bool = True) -> socket.socket:
    """A socket on a port of 127.0.0.1; 0: a free one. It allows reuse, so that a part can be started again on the port
    that it had; a free port is chosen before that, so that it is nobody else's."""
    bound = socket.socket()
    if port or not listen:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listen:
        bound.listen(128)
    return bound


def _bind_again(port: int) -> socket.socket:
    """A socket on a port whose last owner was killed: the kernel closes it only when all its processes are gone."""
    end = time.monotonic() + FREE_SECONDS
    while True:
        try:
            return _bind(port)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _principal(name: str) -> Principal:
    return Principal(name, str(uuid.uuid4()), str(uuid.uuid4()), secrets.token_urlsafe(32))


def make_topology(
    folder: Path, ports: dict[str, int], engine: str = IN_MEMORY, azure_cdc: str = MEMBERSHIP
) -> Topology:
    """A new stack: identities, keys and ids of its own, the ports given, by part, one of `topology.ENGINES`, and one of
    `topology.CHARACTERS`."""
    keys = ("default", "_master", "eventgrid_extension", "durabletask_extension")
    return Topology(
        folder=str(folder),
        tenant=str(uuid.uuid4()),
        subscription=str(uuid.uuid4()),
        resource_group="rg-mirrors",
        location=LOCATION,
        capacity=str(uuid.uuid4()),
        workspace=str(uuid.uuid4()),
        vault="kv-mirrors",
        storage_account="mirrors",
        storage_key=base64.b64encode(secrets.token_bytes(32)).decode(),
        instrumentation_key=str(uuid.uuid4()),
        control_key=secrets.token_urlsafe(32),
        host_keys={name: secrets.token_urlsafe(32) for name in keys},
        principals={name: _principal(name) for name in PRINCIPALS},
        ports=ports,
        engine=engine,
        worker_key=secrets.token_urlsafe(32),
        azure_cdc=azure_cdc,
    )
