"""Azurite's table service, over HTTPS and opened with identities, as Table Storage is. The app needs no other."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from local import topology
from local.topology import Topology

PROGRAM = Path(__file__).resolve().parent.parent / "node_modules" / ".bin" / "azurite-table"


def command(stack: Topology) -> list[str]:
    """Azurite's command line. `--oauth basic` checks a token's issuer, audience and times, not its signature."""
    return [
        str(PROGRAM),
        "--tableHost", "127.0.0.1",
        "--tablePort", str(stack.ports["azurite"]),
        "--location", str(stack.file("azurite")),
        "--cert", str(stack.file("cloud.pem")),
        "--key", str(stack.file("cloud.key")),
        "--oauth", "basic",
        "--skipApiVersionCheck",
        "--disableTelemetry",
    ]  # fmt: skip


def main() -> None:
    """Become Azurite: it takes this process's place, so that the guard and the log are its own."""
    if not shutil.which("node"):
        sys.exit("Azurite needs Node.js 20 or later, and there is no `node` on the PATH: install it.")
    if not PROGRAM.exists():
        sys.exit(f"Azurite is not installed ({PROGRAM} is missing): run `npm ci` in {PROGRAM.parents[2]}.")
    stack = topology.load()
    os.environ["AZURITE_ACCOUNTS"] = f"{stack.storage_account}:{stack.storage_key}"
    stack.file("azurite").mkdir(exist_ok=True)
    os.execv(PROGRAM, command(stack))


if __name__ == "__main__":
    main()
