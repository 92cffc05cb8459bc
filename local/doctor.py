"""Checks a developer's machine: what the local stack needs, what is there, and what to do about the rest.

    python -m local.doctor

Exit status 0: the stack can run here; 1: something is missing.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Console

from local import lock
from local.postgres_installation import VERSIONS, PostgresFailed, installation

ROOT = Path(__file__).resolve().parent.parent
PYTHON = (3, 13)
NODE = 20
FREE_GIB = 3
PORT = 5432
SERVERS = 4


class Finding(msgspec.Struct, frozen=True):
    """The result of one check. `remedy` says what to do where the result is not good."""

    good: bool
    subject: str
    found: str
    remedy: str = ""


def look(root: Path) -> Iterator[Finding]:
    """Look at everything that the stack of the repository in `root` needs."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding(
        sys.version_info[:2] == PYTHON, "Python", version, f"Install Python {PYTHON[0]}.{PYTHON[1]} with venv."
    )
    yield node()
    for tool, why in (
        ("npm", "installs Azurite and PostgreSQL"),
        ("make", "runs everything"),
        ("git", "lists the files"),
    ):
        path = shutil.which(tool)
        yield Finding(path is not None, tool, path or "not found", f"Install {tool}: it {why}.")
    azurite = root / "node_modules" / "azurite" / "package.json"
    yield Finding(azurite.exists(), "Azurite", "installed" if azurite.exists() else "not installed", "Run make setup.")
    if azurite.exists():
        yield from postgresql()
    yield addresses(SERVERS, PORT)
    yield disk(root)
    holder = lock.holder(root / ".local")
    yield Finding(True, "Running stack", f"process {holder}; make stop ends it" if holder else "none")


def node() -> Finding:
    """Node.js, new enough for Azurite."""
    remedy = f"Install Node.js {NODE} or later."
    try:
        done = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return Finding(False, "Node.js", "not found", remedy)
    version = done.stdout.strip()
    major = version.removeprefix("v").partition(".")[0]
    return Finding(major.isdecimal() and int(major) >= NODE, "Node.js", version, remedy)


def postgresql() -> Iterator[Finding]:
    """Each version, by running its binaries: the first time this prepares them."""
    for version in VERSIONS:
        try:
            here = installation(version)
            done = subprocess.run(
                [here.postgres, "--version"],
                env=here.environment(),
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
            yield Finding(True, f"PostgreSQL {version}", done.stdout.strip())
        except (PostgresFailed, OSError, subprocess.SubprocessError) as error:
            remedy = "Run make setup; 14 is there for Linux on x64 alone, and only its own tests need it."
            yield Finding(version == "14", f"PostgreSQL {version}", str(error).splitlines()[0], remedy)


def addresses(count: int, port: int) -> Finding:
    """Each server listens at the same port of a loopback address of its own, the first free ones from 127.0.0.2 on."""
    subject = "Loopback addresses"
    free = [address for address in (f"127.0.0.{last}" for last in range(2, 255)) if _bindable(address, port)]
    if len(free) >= count:
        return Finding(True, subject, f"{len(free)} are free at port {port}, from {free[0]} on")
    remedy = (
        "On macOS add them: sudo ifconfig lo0 alias 127.0.0.2 (and so on). Else a PostgreSQL of your own listens on "
        "all addresses: let it listen on 127.0.0.1 alone."
    )
    return Finding(False, subject, f"{len(free)} are free at port {port}, {count} are needed", remedy)


def _bindable(address: str, port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def disk(root: Path) -> Finding:
    """Space for what is installed, and for the servers' data."""
    free = shutil.disk_usage(root).free / 2**30
    return Finding(free >= FREE_GIB, "Free disk", f"{free:.1f} GiB", f"Make room: {FREE_GIB} GiB are needed.")


def main() -> int:
    """Print every finding. The exit status is 1 where something is missing."""
    console = Console(highlight=False)
    findings = list(look(ROOT))
    for finding in findings:
        mark = "[green]✓[/]" if finding.good else "[red]✗[/]"
        console.print(f"{mark} {finding.subject}:", end=" ")
        console.print(finding.found, markup=False, soft_wrap=True)
        if not finding.good:
            console.print(f"    {finding.remedy}", markup=False, soft_wrap=True)
    missing = sum(not finding.good for finding in findings)
    console.print(f"Missing: {missing}." if missing else "The stack can run here: make demo.")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
