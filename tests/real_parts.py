"""Says at the end of a test run which parts were real and which were stand-ins, from what the tests really started."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
STAND_INS = {
    "front_door": "the front door of Azure's host names",
    "identity": "managed identity",
    "keyvault": "Key Vault",
    "eventgrid": "Event Grid",
    "monitor": "Application Insights",
    "arm": "Azure Resource Manager",
    "fabric": "Microsoft Fabric",
    "host": "the Functions host",
}

_real: set[tuple[str, str]] = set()
_stand_ins: set[str] = set()


def used(part: str, version: str) -> None:
    """Tell that the real `part` was started in `version`, e.g. `used("PostgreSQL", "18.4")`. Call it once it runs."""
    _real.add((part, version))


def used_stack(parts: Collection[str]) -> None:
    """Tell that a test started these parts of a `local.stack.Stack`, by their names there."""
    for part in parts:
        if part == "storage":
            continue  # a proxy of ours in front of Azurite
        if part == "azurite":
            used("Azurite", _npm_version("azurite"))
        elif part == "engine":
            used("the Durable extension on Azure Storage", "3.19")
        else:
            _stand_ins.add(STAND_INS[part])
        if part == "host":
            used("azure-functions-runtime, the worker's library", importlib.metadata.version("azure-functions-runtime"))
        if part == "host" and "engine" not in parts:
            used("durabletask's in-memory backend", importlib.metadata.version("durabletask"))


def summary() -> list[str]:
    """The lines of the report: what was real, with versions, and what was a stand-in."""
    if not _real and not _stand_ins:
        return ["These tests started no part: they checked the code alone."]
    versions: dict[str, list[str]] = {}
    for part, version in sorted(_real, key=_in_order):
        versions.setdefault(part, []).append(version)
    real = "; ".join(f"{part} {', '.join(found)}" for part, found in versions.items())
    return [f"real:      {real or 'none'}", f"stand-ins: {'; '.join(sorted(_stand_ins)) or 'none'}"]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands over what it started."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["real"], output["stand_ins"] = sorted(_real), sorted(_stand_ins)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """The run as a whole used what its workers used; one that died tells nothing."""
    output = getattr(node, "workeroutput", {})
    _real.update((part, version) for part, version in output.get("real", ()))
    _stand_ins.update(output.get("stand_ins", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("which parts were real")
    for line in summary():
        terminalreporter.write_line(line)


def _in_order(part: tuple[str, str]) -> tuple[str, list[int]]:
    """By name, then by version as numbers: 9.6 before 14.23."""
    return part[0], [int(number) for number in re.findall(r"\d+", part[1])]


def _npm_version(package: str) -> str:
    version: str = json.loads((ROOT / "node_modules" / package / "package.json").read_text())["version"]
    return version
