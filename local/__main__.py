"""The stack's commands: `python -m local start | stop | demo`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from local import lock, stack_file
from local.stack import ROOT, Stack, StartFailed
from local.topology import CHARACTERS, ENGINES, IN_MEMORY, MEMBERSHIP

STOP_SECONDS = 30.0
console = Console(highlight=False)


def main() -> int:
    """Run one command; the exit status is 0 if it did what it says."""
    parser = argparse.ArgumentParser(prog="python -m local", description="Azure on one machine, for development.")
    parser.add_argument("command", choices=("start", "stop", "demo"))
    parser.add_argument("--folder", type=Path, default=ROOT / ".local", help="where the stack's files are (.local)")
    parser.add_argument("--engine", choices=ENGINES, default=IN_MEMORY, help="what runs the orchestrations (in-memory)")
    help = "what `start` lets azure_cdc ask of a role, on servers without the tag local-azure-cdc (membership)"
    parser.add_argument("--azure-cdc", choices=CHARACTERS, default=MEMBERSHIP, help=help)
    chosen = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        if chosen.command == "demo":
            from local import demo

            return demo.main(chosen.folder, chosen.engine)
        if chosen.command == "stop":
            return stop(chosen.folder)
        return start(chosen.folder, chosen.engine, chosen.azure_cdc)
    except (StartFailed, lock.Taken) as error:
        console.print(f"[red]Not started.[/] {error}", soft_wrap=True, markup=True)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 0 if chosen.command == "start" else 130


def start(folder: Path, engine: str, azure_cdc: str) -> int:
    """Run the stack in the foreground until it is interrupted, or until a part of it ends by itself."""
    console.print("Starting the stack …")
    begun = time.monotonic()
    with Stack(folder, engine=engine, azure_cdc=azure_cdc) as stack:
        written = stack_file.write(stack.topology)
        _introduce(stack, written, time.monotonic() - begun)
        try:
            while not stack.ended():
                time.sleep(0.5)
        finally:
            written.unlink(missing_ok=True)
            console.print("Stopping …")
        for part in stack.ended():
            console.print(f"[red]{part} ended by itself.[/] Its log ends with:")
            console.print(stack.tail(part), markup=False, soft_wrap=True)
    return 1


def stop(folder: Path) -> int:
    """Stop the stack that runs in `folder`, from another terminal."""
    process = lock.holder(folder)
    if process is None:
        console.print(f"No stack is running in {folder}.", soft_wrap=True)
        return 0
    os.kill(process, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while lock.holder(folder) == process:
        if time.monotonic() > end:
            console.print(f"Process {process} did not stop within {STOP_SECONDS:g} s.")
            return 1
        time.sleep(0.1)
    console.print("Stopped.")
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _introduce(stack: Stack, written: Path, seconds: float) -> None:
    topology = stack.topology
    app, key = topology.address("host"), topology.host_keys["default"]
    addresses = Table(title=f"The stack is up, in {seconds:.1f} s", title_justify="left", box=None, show_header=False)
    for name, value in {
        "function app": app,
        "its page": f"{app}/api/dashboard?code={key}",
        "its host key": key,
        "its master key": topology.host_keys["_master"],
        "Table Storage": topology.table_endpoint,
        "Key Vault": topology.vault_url,
        "HTTPS proxy": topology.address("front_door"),
        "fault control": f"{topology.address('front_door')}/control/{{part}}/faults",
        "its x-control-key": topology.control_key,
        "all of it, for tools": str(written),
        "logs": str(topology.path / "logs"),
    }.items():
        addresses.add_row(name, value, style="bold" if name == "function app" else "")
    console.print(addresses, soft_wrap=True)
    server = f"{app}/api/servers/{topology.subscription}/{topology.resource_group}/my-server"
    note = "my-server: create it with any Azure SDK and the environment in stack.json"
    console.print(f"\nTo try ({note}):", soft_wrap=True)
    for line in (
        f"curl {app}/api/live",
        f"curl -H 'x-functions-key: {key}' {server}/readiness",
        f"curl -H 'x-functions-key: {key}' {app}/api/mirrors",
    ):
        console.print(f"  {line}", soft_wrap=True, markup=False)
    console.print("\nCtrl-C stops it.")


if __name__ == "__main__":
    sys.exit(main())
