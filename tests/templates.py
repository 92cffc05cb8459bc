"""The Bicep templates as the compiler reads them: what it compiled, and which resources a deployment would make.

`infra/templates.py` writes both into tests/snapshots. A value that only the deployment knows is there as an expression
in brackets: `[reference(…).principalId]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from infra.templates import SNAPSHOTS

NAMES = sorted(path.name.removesuffix(".snapshot.json") for path in SNAPSHOTS.glob("*.snapshot.json"))
ENVIRONMENTS = [name for name in NAMES if name != "subscribed"]
"""The snapshots of main.bicep; the other one is of events.bicep."""


def compiled(name: str) -> dict[str, Any]:
    """The JSON of main or events, with its modules within."""
    return json.loads((SNAPSHOTS / f"{name}.json").read_text())


def snapshot(name: str) -> dict[str, Any]:
    return json.loads((SNAPSHOTS / f"{name}.snapshot.json").read_text())


def resources(name: str, type: str = "") -> list[dict[str, Any]]:
    """The resources of a snapshot, of one type if that is given."""
    return [one for one in snapshot(name)["predictedResources"] if not type or one["type"] == type]


def only(name: str, type: str) -> dict[str, Any]:
    [found] = resources(name, type)
    return found


def templates(name: str) -> Iterator[dict[str, Any]]:
    """The template and those of its modules, at any depth, with their resources by symbol."""
    waiting = [compiled(name)]
    while waiting:
        template = waiting.pop()
        if isinstance(template["resources"], list):  # without symbolic names: the compiler needs none there
            template["resources"] = {str(index): one for index, one in enumerate(template["resources"])}
        yield template
        nested = (one.get("properties") for one in template["resources"].values())
        waiting += [one["template"] for one in nested if isinstance(one, dict) and "template" in one]


def parameters(name: str) -> dict[str, dict[str, Any]]:
    return compiled(name)["parameters"]


def app_settings(name: str = "defaults") -> dict[str, str]:
    """The app's settings of a snapshot, with their values as they are written.

    They are one expression in the snapshot where the Durable Task Scheduler's endpoint decides over them.
    """
    [found] = [one for one in resources(name, "Microsoft.Web/sites/config") if one["name"].endswith("/appsettings")]
    written = found["properties"]
    return written if isinstance(written, dict) else dict(re.findall(r"'(\w+)', (?='?([^']*))", written))
