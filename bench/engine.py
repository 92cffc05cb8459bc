"""The real Durable extension beside the in-memory engine: a preparation, a sweep of a thousand mirrors, the time from
an event to its first activity, and what is asked of storage.

The waits of the stand-ins are part of both. Storage operations are counted by the proxy in front of Azurite, the app's
own tables and the task hub's apart; an idle hour is a minute of watching. Without the program there is nothing to
measure, which this says.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter
from itertools import batched
from pathlib import Path
from typing import Any

import msgspec
import requests
from rich.console import Console
from rich.table import Table

from bench import _storage, sweep
from local import engine
from local.scenario import Operator, acting_as, eventually
from local.stack import Stack
from local.topology import APP, ENGINES, EXTENSION

SECONDS = 180
IDLE_SECONDS = 60
SWEEP_WINDOW = 10.0
MOST_TIMES = 4.0
"""The extension's time for a preparation by that of the in-memory engine."""
MOST_SWEEP_TIMES = 1.2
"""Likewise for a sweep, whose time is Fabric's quota."""
MOST_IDLE_AN_HOUR = 6_000
ALONE, PAUSE_SECONDS = 8, 6
"""Events that come one by one, after a pause in which the queues' readers become slow."""
CROWD, CROWD_SECONDS = 500, 600
"""Events about as many servers, all at once."""
TAGS_WRITE = "Microsoft.Resources/tags/write"
console = Console(highlight=False)


class Delays(msgspec.Struct, frozen=True):
    """Seconds from an event to the first activity of the run that it asked for."""

    p50: float
    p99: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """`seconds` of a preparation. Storage operations of a `preparation` and of an `idle` hour, by whose they are.

    `alone` are the delays of single events, `crowd` those of many at once.
    """

    seconds: float
    preparation: Counter[str]
    idle: Counter[str]
    alone: Delays
    crowd: Delays
    sweep: sweep.Result


def measure(name: str) -> Result:
    """Let one server be prepared on this engine, let the stack be, send it events, and let another one sweep."""
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        Path(made).chmod(0o755)
        settings = {"HEALTH_SCHEDULE": "0 0 0 1 1 *", "POLL_SECONDS": "0.3"}
        with Stack(Path(made) / "stack", settings=settings, engine=name) as stack, acting_as(stack, "operator"):
            operator = Operator(stack)
            server = operator.create_server("pg-bench", 17, "shop")
            operator.install(server, "shop")
            operator.quiet(server)
            _storage.taken(stack)
            begun = time.monotonic()
            operator.call("PUT", operator.door(server))
            eventually(
                lambda: operator.mirroring(server),
                lambda seen: seen.get("phase") == "Mirrored" and not seen["running"],
                SECONDS,
            )
            seconds = time.monotonic() - begun
            operator.quiet(server)
            preparation = _storage.taken(stack)
            if name == EXTENSION:
                time.sleep(IDLE_SECONDS)
            idle = Counter({whose: count * 3600 // IDLE_SECONDS for whose, count in _storage.taken(stack).items()})
            alone, crowd = _events(operator, server.name)
            operator.close()
    swept = sweep.measure(window=SWEEP_WINDOW, engine=name)
    return Result(seconds=seconds, preparation=preparation, idle=idle, alone=alone, crowd=crowd, sweep=swept)


def _events(operator: Operator, server: str) -> tuple[Delays, Delays]:
    """The delays of single events and of a crowd. The servers exist in Resource Manager alone, and have no tags."""
    names = [f"pg-event-{number:03}" for number in range(ALONE + CROWD)]
    operator.stack.control("arm", "POST", "seed", {"server": server, "names": names})
    sent: dict[str, float] = {}
    for name in names[:ALONE]:
        time.sleep(PAUSE_SECONDS)
        sent |= _send(operator, [name])
        _until_looked_at(operator, [name], SECONDS)
    alone = _delays(operator, sent)
    crowd: dict[str, float] = {}
    for some in batched(names[ALONE:], 50, strict=False):
        crowd |= _send(operator, list(some))
    _until_looked_at(operator, list(crowd), CROWD_SECONDS)
    return alone, _delays(operator, crowd)


def _send(operator: Operator, servers: list[str]) -> dict[str, float]:
    """Deliver an event about each of the servers, as Event Grid does; when that was, in seconds since 1970."""
    begun, stack = time.time(), operator.topology
    group = f"/subscriptions/{stack.subscription}/resourceGroups/{stack.resource_group}"
    events = [_event(f"{group}/providers/Microsoft.DBforPostgreSQL/flexibleServers/{name}") for name in servers]
    answer = requests.post(
        stack.webhook("server_changed"), json=events, headers={"aeg-event-type": "Notification"}, timeout=SECONDS
    )
    answer.raise_for_status()
    return dict.fromkeys(servers, begun)


def _event(server: str) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()), "topic": "/subscriptions", "subject": server, "dataVersion": "2",
        "metadataVersion": "1", "eventType": "Microsoft.Resources.ResourceWriteSuccess",
        "eventTime": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime())}Z",
        "data": {"operationName": TAGS_WRITE, "resourceProvider": "Microsoft.Resources", "resourceUri": server},
    }  # fmt: skip


def _looked_at(operator: Operator) -> dict[str, float]:
    """When the app first asked Resource Manager for each server: its first activity begins with that."""
    first: dict[str, float] = {}
    for call in operator.control("arm", "calls"):
        if call["caller"] == operator.topology.principals[APP].object_id:
            name = call["path"].partition("/flexibleServers/")[2].partition("/")[0]
            first.setdefault(name, call["time"])
    return first


def _until_looked_at(operator: Operator, servers: list[str], seconds: float) -> None:
    eventually(lambda: set(servers) - _looked_at(operator).keys(), lambda others: not others, seconds)


def _delays(operator: Operator, sent: dict[str, float]) -> Delays:
    looked_at = _looked_at(operator)
    seconds = [looked_at[name] - begun for name, begun in sent.items()]
    percentiles = statistics.quantiles(seconds, n=100, method="inclusive")
    return Delays(percentiles[49], percentiles[98])


def main() -> int:
    """The exit status is 0 where it stayed within the budget."""
    if engine.program() is None:
        console.print(f"There is no {engine.PROGRAM} here: the engines are not compared.")
        return 0
    results = {name: measure(name) for name in ENGINES}
    in_memory, extension = (results[name] for name in ENGINES)
    table = Table("What", *ENGINES, title="Engines", title_justify="left")
    for title, value in (
        ("preparation, s", lambda result: f"{result.seconds:.1f}"),
        (f"sweep of {sweep.MIRRORS:,}, s", lambda result: f"{result.sweep.seconds:.1f}"),
        ("event to first activity, p50 and p99, s", lambda result: f"{result.alone.p50:.2f}, {result.alone.p99:.2f}"),
        (f"with {CROWD} servers at once", lambda result: f"{result.crowd.p50:.1f}, {result.crowd.p99:.1f}"),
        ("storage operations, hub and app: preparation", lambda result: _both(result.preparation)),
        (f"sweep of {sweep.MIRRORS:,}", lambda result: _both(result.sweep.storage)),
        ("an hour idle", lambda result: _both(result.idle)),
    ):
        table.add_row(title, *map(value, results.values()))
    console.print(table)
    times, sweeps = extension.seconds / in_memory.seconds, extension.sweep.seconds / in_memory.sweep.seconds
    console.print(
        f"The extension takes {times:.1f} times as long for a preparation (at most {MOST_TIMES:g} is meant) and "
        f"{sweeps:.2f} times for a sweep (at most {MOST_SWEEP_TIMES:g})."
    )
    good = times <= MOST_TIMES and sweeps <= MOST_SWEEP_TIMES and extension.idle.total() <= MOST_IDLE_AN_HOUR
    return 0 if good else 1


def _both(operations: Counter[str]) -> str:
    return f"{operations['hub']:,}, {operations['app']:,}"


if __name__ == "__main__":
    sys.exit(main())
