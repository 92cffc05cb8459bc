"""Runs the Durable extension of Azure Functions, a program of its own, for the functions of the local host.

    python -m local.engine

It waits until the host has said which functions there are, starts the program, and says in the stack's folder where the
extension's gRPC endpoint is: at another port each time. It ends with the program. `local/durable_host` tells where the
program comes from.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from local import topology
from local.guard import end_with_parent

ROOT = Path(__file__).resolve().parent.parent
PROGRAM_VARIABLE = "DURABLE_HOST"
PROGRAM = "durable-host"
HOST_SETTING, JOBS_SETTING = "AzureFunctionsJobHost__", "AzureWebJobs__"
"""An app setting that replaces a value of host.json begins with the former. The extension reads the latter."""

QUICK_START = {"DOTNET_TieredPGO": "0", "DOTNET_TC_CallCounting": "0", "DOTNET_gcConcurrent": "0"}
"""For a program that runs for minutes: .NET compiles nothing a second time, which took more than half of its CPU."""


def program() -> str | None:
    """The path of the program: what DURABLE_HOST names, or `durable-host` on the PATH. None: there is none."""
    return shutil.which(os.environ.get(PROGRAM_VARIABLE) or PROGRAM)


def environment(given: Mapping[str, str], instance: int) -> dict[str, str]:
    """The program's environment: the app's settings, in the names that the extension knows, and a name for this one of
    the hosts that share a task hub."""
    renamed = {
        JOBS_SETTING + name.removeprefix(HOST_SETTING): value
        for name, value in given.items()
        if name.startswith(HOST_SETTING)
    }
    name = {"WEBSITE_CURRENT_STAMPNAME": "local", "RoleInstanceId": f"host-{instance}"}
    return {**QUICK_START, **given, **renamed, **name}


def main() -> int:
    path = program()
    if path is None:
        sys.exit(
            f"The Durable extension is not here: {PROGRAM_VARIABLE} names no program, and there is no {PROGRAM} on the "
            "PATH. local/durable_host/README.md tells how it is built; --engine in-memory needs no program."
        )
    stack, instance = topology.load(), topology.instance()
    functions = stack.functions_file(instance)
    while not functions.exists():
        time.sleep(0.05)
    app = Path(os.environ.get("FUNCTIONS_APP_DIRECTORY") or ROOT)
    worker = json.loads(functions.read_bytes())["worker"]
    with subprocess.Popen(
        [path, str(app / "host.json"), str(functions), worker],
        stdout=subprocess.PIPE, text=True, env=environment(os.environ, instance),
        preexec_fn=lambda: end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - this process has no threads
    ) as process:  # fmt: skip
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda given, _: process.send_signal(given))
        assert process.stdout
        address = ""
        for line in process.stdout:
            print(line, end="", flush=True)
            word, _, rest = line.strip().partition(" ")
            if word == "endpoint":
                address = rest
            elif word == "started":
                there = {"address": address.removeprefix("http://").strip("/"), "process": process.pid}
                topology.write_whole(stack.engine_file(instance), there)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
