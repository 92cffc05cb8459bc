"""Azurite, over HTTPS and opened with identities, as a storage account is.

The app itself needs the table service alone. The Durable extension needs blobs and queues too.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from local import topology
from local.topology import EXTENSION, STORAGE_SERVICES, Topology, port_name

PROGRAMS = Path(__file__).resolve().parent.parent / "node_modules" / ".bin"


def services(stack: Topology) -> tuple[str, ...]:
    """The storage services that this stack needs."""
    return STORAGE_SERVICES if stack.engine == EXTENSION else ("table",)


def program(stack: Topology) -> Path:
    """The program that serves them: the table service is also one of its own, which starts faster."""
    return PROGRAMS / ("azurite" if stack.engine == EXTENSION else "azurite-table")


def command(stack: Topology) -> list[str]:
    """Azurite's command line. `--oauth basic` checks a token's issuer, audience and times, not its signature."""
    listening = [
        word
        for service in services(stack)
        for word in (
            f"--{service}Host", "127.0.0.1", f"--{service}Port", str(stack.ports[port_name("azurite", service)])
        )
    ]  # fmt: skip
    return [
        str(program(stack)),
        *listening,
        "--location", str(stack.file("azurite")),
        "--cert", str(stack.file("cloud.pem")),
        "--key", str(stack.file("cloud.key")),
        "--oauth", "basic",
        "--skipApiVersionCheck",
        "--disableTelemetry",
    ]  # fmt: skip


def main() -> None:
    """Become Azurite, which takes this process's place and so has its guard and its log."""
    if not shutil.which("node"):
        sys.exit("Azurite needs Node.js 20 or later, and there is no `node` on the PATH: install it.")
    stack = topology.load()
    path = program(stack)
    if not path.exists():
        sys.exit(f"Azurite is not installed ({path} is missing): run `npm ci` in {path.parents[2]}.")
    os.environ["AZURITE_ACCOUNTS"] = f"{stack.storage_account}:{stack.storage_key}"
    stack.file("azurite").mkdir(exist_ok=True)
    os.execv(path, command(stack))


if __name__ == "__main__":
    main()
