"""The page of 5,000 mirrors, against reading their rows alone with Azure's own client.

A look reads a few columns of every mirror, then in full the 25 that are shown, with their latencies of 24 hours; a
look again reads only the first of these, as long as no sweep has written since. The tables are in Azurite.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from local import example
from local.scenario import acting_as
from local.stack import Stack

MIRRORS = 5_000
TIMES = 7
BUDGET_MS, BUDGET_OF_PEER = 300.0, 0.5
console = Console(highlight=False)


def main() -> int:
    """Print the times; the exit status is 1 where a look at the page takes the app longer than its budget."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        with Stack(Path(folder), ["front_door", "identity", "azurite"]) as stack:
            console.print(f"Writing {MIRRORS:,} mirrors …")
            _fill(stack)
            os.environ |= stack.topology.app_settings()
            return asyncio.run(_measure())


def _fill(stack: Stack) -> None:
    from azure.identity import ManagedIdentityCredential

    with acting_as(stack, "operator"):
        credential = ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"])
        fleet = example.Fleet(stack.topology, credential)
        everything = list(example.many(MIRRORS))
        fleet.mirrors(everything, timedelta(0))
        shown = [one for one in everything if one.level != "Healthy"][:25]
        fleet.mirrors(shown)
        for server in sorted({one.server for one in everything}):
            fleet.server(server, "Mirrored")
        fleet.close()


async def _measure() -> int:
    from shared.dashboard import links, overview, page
    from shared.platform import clients
    from shared.platform.table import View
    from shared.records.rows import HealthRow

    at = links.of("https://app/api/dashboard", {}, 0)

    async def rows_alone() -> None:
        async for _ in clients.tables().get_table_client("MirrorHealth").list_entities():
            pass

    async def rows_decoded() -> None:
        async for _ in View("MirrorHealth", HealthRow).query():
            pass

    async def first_look() -> None:
        overview._remembered.clear()
        page.overview(await overview.look({}), {}, at, "https://app/api/")

    async def look_again() -> None:
        page.overview(await overview.look({}), {}, at, "https://app/api/")

    view = await overview.look({})

    async def rendering() -> None:
        page.overview(view, {}, at, "https://app/api/")

    measured = {
        "every row, by Azure's client alone (the peer)": await _time(rows_alone),
        "every row, decoded": await _time(rows_decoded),
        "the page, first look after a sweep": await _time(first_look),
        "the page, look again": await _time(look_again),
        "of that, rendering": await _time(rendering),
    }
    await clients.close()
    peer = next(iter(measured.values()))
    heads = "What", "ms", "of the peer", "ms of CPU", "of the peer"
    table = Table(*heads, title=f"The page of {MIRRORS:,} mirrors, medians", title_justify="left")
    for name, (wall, cpu) in measured.items():
        table.add_row(name, f"{wall:.0f}", f"{wall / peer[0]:.2f}", f"{cpu:.0f}", f"{cpu / peer[1]:.2f}")
    console.print(table)
    rendered, again = measured["of that, rendering"][0], measured["the page, look again"][1] / peer[1]
    good = rendered < BUDGET_MS and again < BUDGET_OF_PEER
    console.print(
        f"{'[green]✓[/]' if good else '[red]✗[/]'} Rendering takes {rendered:.0f} of {BUDGET_MS:.0f} ms; "
        f"a look takes {again:.2f} of the peer's CPU, where {BUDGET_OF_PEER} is the budget."
    )
    return 0 if good else 1


async def _time(work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """The medians of some runs in milliseconds, by the clock and of this process's CPU; one before them warms up."""
    await work()
    clock, cpu = [], []
    for _ in range(TIMES):
        begun, spent = time.perf_counter(), time.process_time()
        await work()
        clock.append(1000 * (time.perf_counter() - begun))
        cpu.append(1000 * (time.process_time() - spent))
    return statistics.median(clock), statistics.median(cpu)


if __name__ == "__main__":
    sys.exit(main())
