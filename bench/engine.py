"""A preparation on the real Durable extension beside one on the in-memory engine, and what it asks of storage.

The waits of the stand-ins are part of both. Storage operations are counted by the proxy in front of Azurite, the app's
own tables and the task hub's apart; an idle hour is a minute of watching. Without the program there is nothing to
measure, which this says.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from local import engine
from local.scenario import Operator, acting_as, eventually
from local.stack import Stack
from local.topology import ENGINES, EXTENSION

SECONDS = 180
IDLE_SECONDS = 60
MOST_TIMES = 4.0
"""The extension's time by that of the in-memory engine."""
MOST_IDLE_AN_HOUR = 6_000
HUB = "fabricmirror"
"""With it the names of the task hub's tables, containers and queues begin, in whatever letter case."""
console = Console(highlight=False)


class Result(msgspec.Struct, frozen=True):
    """`seconds` of a preparation. Storage operations of a `preparation` and of an `idle` hour, by whose they are."""

    seconds: float
    preparation: Counter[str]
    idle: Counter[str]


def measure(name: str) -> Result:
    """Prepare one server on this engine, and then let the stack be."""
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        Path(made).chmod(0o755)
        settings = {"HEALTH_SCHEDULE": "0 0 0 1 1 *", "POLL_SECONDS": "0.3"}
        with Stack(Path(made) / "stack", settings=settings, engine=name) as stack, acting_as(stack, "operator"):
            operator = Operator(stack)
            server = operator.create_server("pg-bench", 17, "shop")
            operator.install(server, "shop")
            operator.quiet(server)
            _calls(stack)
            begun = time.monotonic()
            operator.call("PUT", operator.door(server))
            eventually(
                lambda: operator.mirroring(server),
                lambda seen: seen.get("phase") == "Mirrored" and not seen["running"],
                SECONDS,
            )
            seconds = time.monotonic() - begun
            operator.quiet(server)
            preparation = _calls(stack)
            if name == EXTENSION:
                time.sleep(IDLE_SECONDS)
            idle = Counter({whose: count * 3600 // IDLE_SECONDS for whose, count in _calls(stack).items()})
            operator.close()
    return Result(seconds, preparation, idle)


def _calls(stack: Stack) -> Counter[str]:
    """The storage operations since the last time, by whose they are: the app's or the task hub's."""
    counted: Counter[str] = Counter()
    if stack.engine == EXTENSION:
        calls = stack.control("storage", "GET", "calls")
        stack.control("storage", "DELETE", "calls")
        assert isinstance(calls, dict)
        for call, count in calls.items():
            counted["hub" if call.rpartition(" ")[2].lower().startswith(HUB) else "app"] += count
    return counted


def main() -> int:
    """The exit status is 0 where it stayed within the budget."""
    if engine.program() is None:
        console.print(f"There is no {engine.PROGRAM} here: the engines are not compared.")
        return 0
    results = {name: measure(name) for name in ENGINES}
    table = Table("Engine", "Preparation", "Storage: hub", "app", "Idle hour: hub", "app", title="Engines")
    for name, result in results.items():
        counts = (result.preparation["hub"], result.preparation["app"], result.idle["hub"], result.idle["app"])
        table.add_row(name, f"{result.seconds:.1f} s", *map(str, counts))
    console.print(table)
    in_memory, extension = (results[name] for name in ENGINES)
    times = extension.seconds / in_memory.seconds
    console.print(f"The extension takes {times:.1f} times as long; at most {MOST_TIMES:g} is meant.")
    return 0 if times <= MOST_TIMES and extension.idle.total() <= MOST_IDLE_AN_HOUR else 1


if __name__ == "__main__":
    sys.exit(main())
