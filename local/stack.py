"""Brings the parts of the stack up together, and down again in reverse. Each is a process of its own under a guard."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
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
from local.topology import (
    APP,
    INGESTION,
    LISTEN_VARIABLE,
    SERVICE_PRINCIPAL,
    TOPOLOGY_VARIABLE,
    TRUST_VARIABLES,
    WORKSPACE_IDENTITY,
    Principal,
    Topology,
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
PART_FOLDERS = ("azurite", "logs", "servers")
PRINCIPALS = (APP, "operator", "azure", SERVICE_PRINCIPAL, WORKSPACE_IDENTITY)
START_SECONDS = 60.0
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
    are app settings beside, or instead of, those that the stack gives the app. `folder` holds one stack at a
    time; what an earlier one left in it is removed.
    """

    def __init__(self, folder: Path, parts: Iterable[str] = PARTS, settings: Mapping[str, str] | None = None):
        self.parts = [part for part in PARTS if part in set(parts)]
        self.folder = folder.absolute()
        self.settings = dict(settings or {})
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Stack:
        with contextlib.ExitStack() as undo:
            undo.enter_context(lock.hold(self.folder))
            _forget_last(self.folder)
            (self.folder / "logs").mkdir(exist_ok=True)
            certificates.create(self.folder, f"*.{LOCATION}-1.eventgrid.azure.net", INGESTION.format(location=LOCATION))
            # Azurite binds its port itself. To hold the port for it, ours doesn't listen and allows reuse.
            azurite = {"azurite": undo.enter_context(_bind(listen=False))} if "azurite" in self.parts else {}
            with contextlib.ExitStack() as handed_over:
                bound = {part: handed_over.enter_context(_bind()) for part in self.parts if part != "azurite"}
                ports = {part: sock.getsockname()[1] for part, sock in (bound | azurite).items()}
                self.topology = make_topology(self.folder, {part: ports[part] for part in self.parts})
                self.topology.save()
                undo.callback(self._take_down)
                for part in self.parts:
                    self._spawn(part, bound.get(part))
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

    def _take_down(self) -> None:
        """Close the guards' standard inputs: each then ends its command."""
        for process in reversed(self.processes.values()):
            if process.stdin:
                process.stdin.close()
        for process in reversed(self.processes.values()):
            process.wait()

    def _spawn(self, part: str, listening: socket.socket | None) -> None:
        environment = clean(os.environ) | {
            TOPOLOGY_VARIABLE: str(self.topology.file("topology.json")),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        if listening:
            environment[LISTEN_VARIABLE] = str(listening.fileno())
        if part == "host":
            environment |= self.topology.app_settings() | self.settings
        with self.topology.log(part).open("ab") as log:
            self.processes[part] = subprocess.Popen(
                [sys.executable, "-m", "local.guard", "--", sys.executable, "-m", MODULES[part]],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment,
                pass_fds=[listening.fileno()] if listening else [], start_new_session=True, cwd=ROOT,
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
        try:
            self.control(part, "GET", "ready")
        except urllib.error.HTTPError:
            return part == "azurite"  # it knows no control, but it answers
        except OSError:
            return False
        return True

    def _subscribe(self) -> None:
        wanted = SERVER_CHANGED | {"endpoint": self.topology.webhook("server_changed")}
        try:
            self.control("eventgrid", "PUT", "subscriptions/server-changed", wanted)
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


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without proxies, credentials and trust of its own: the stack gives these itself."""
    return {
        name: value
        for name, value in environment.items()
        if name.upper() not in FOREIGN and not name.upper().startswith(FOREIGN_PREFIXES)
    }


def _forget_last(folder: Path) -> None:
    """Remove what an earlier stack left: its identities are gone, so its data would be of no use."""
    if (folder / "topology.json").exists():
        for name in PART_FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        for path in (folder / stack_file.NAME, folder / "topology.json"):
            path.unlink(missing_ok=True)


def _bind(listen: bool = True) -> socket.socket:
    bound = socket.socket()
    if listen:
        bound.bind(("127.0.0.1", 0))
        bound.listen(128)
    else:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
    return bound


def _principal(name: str) -> Principal:
    return Principal(name, str(uuid.uuid4()), str(uuid.uuid4()), secrets.token_urlsafe(32))


def make_topology(folder: Path, ports: dict[str, int]) -> Topology:
    """A new stack: identities, keys and ids of its own, and the ports given, by part."""
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
    )
