"""Brings the parts of the stack up, in order, and down again, in reverse. Each is a process of its own under a guard."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable
from pathlib import Path

from local import certificates
from local.topology import LISTEN_VARIABLE, TOPOLOGY_VARIABLE, Principal, Topology

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    "front_door": "local.cloud.front_door",
    "identity": "local.cloud.identity",
    "azurite": "local.azurite",
    "keyvault": "local.cloud.keyvault",
    "eventgrid": "local.cloud.eventgrid",
    "arm": "local.cloud.arm",
    "fabric": "local.cloud.fabric",
    "host": "local.host",
}
PARTS = tuple(MODULES)
START_SECONDS = 60.0


class StartFailed(Exception):
    """A part did not come up; the message says which, and what its log ends with."""


class Stack:
    """A running stack, or some of its parts (component tests start only what they test).

    Use as a context manager: leaving it takes every part down, as does an exception while starting.
    """

    def __init__(self, folder: Path, parts: Iterable[str] = PARTS):
        self.parts = [part for part in PARTS if part in set(parts)]
        self.folder = folder.absolute()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Stack:
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        certificates.create(self.folder)
        sockets = {part: _bind() for part in self.parts}
        self.topology = _topology(self.folder, {part: s.getsockname()[1] for part, s in sockets.items()})
        self.topology.save()
        try:
            for part in self.parts:
                self._spawn(part, sockets[part])
            for part in self.parts:
                self._wait_until_ready(part)
        except BaseException:
            self.__exit__()
            raise
        finally:
            for listening in sockets.values():
                listening.close()
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes.values()):
            if process.stdin:
                process.stdin.close()
        for process in reversed(self.processes.values()):
            process.wait()

    def _spawn(self, part: str, listening: socket.socket) -> None:
        environment = {
            **os.environ,
            TOPOLOGY_VARIABLE: str(self.topology.file("topology.json")),
            LISTEN_VARIABLE: str(listening.fileno()),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        with self.topology.log(part).open("ab") as log:
            self.processes[part] = subprocess.Popen(
                [sys.executable, "-m", "local.guard", "--", sys.executable, "-m", MODULES[part]],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment,
                pass_fds=[listening.fileno()], start_new_session=True, cwd=ROOT,
            )  # fmt: skip

    def _wait_until_ready(self, part: str) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.processes[part].poll() is not None:
                raise StartFailed(f"{part} ended while starting:\n{self._tail(part)}")
            if self._is_ready(part):
                return
            time.sleep(0.05)
        raise StartFailed(f"{part} was not ready after {START_SECONDS:g} s:\n{self._tail(part)}")

    def _is_ready(self, part: str) -> bool:
        url = f"{self.topology.address(part)}/.control/ready"
        request = urllib.request.Request(url, headers={"x-control-key": self.topology.control_key})
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self.topology.authority))),
        )
        try:
            opener.open(request, timeout=5).close()
        except urllib.error.HTTPError:
            return part == "azurite"  # it knows no control, but it answers
        except OSError:
            return False
        return True

    def _tail(self, part: str, lines: int = 25) -> str:
        text = self.topology.log(part).read_text(errors="replace").splitlines()
        return "\n".join(text[-lines:])


def _bind() -> socket.socket:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    return listening


def _principal(name: str) -> Principal:
    return Principal(name, str(uuid.uuid4()), str(uuid.uuid4()), secrets.token_urlsafe(32))


def _topology(folder: Path, ports: dict[str, int]) -> Topology:
    keys = ("default", "_master", "eventgrid_extension", "durabletask_extension")
    return Topology(
        folder=str(folder),
        tenant=str(uuid.uuid4()),
        subscription=str(uuid.uuid4()),
        resource_group="rg-mirrors",
        location="westeurope",
        capacity=str(uuid.uuid4()),
        workspace=str(uuid.uuid4()),
        vault="kv-mirrors",
        storage_account="mirrors",
        storage_key=base64.b64encode(secrets.token_bytes(32)).decode(),
        control_key=secrets.token_urlsafe(32),
        host_keys={name: secrets.token_urlsafe(32) for name in keys},
        principals={name: _principal(name) for name in ("id-fabric-mirror", "operator", "azure")},
        ports=ports,
    )


def show(topology: Topology) -> str:
    """For a person: which part listens where."""
    return json.dumps(topology.ports, indent=2)
