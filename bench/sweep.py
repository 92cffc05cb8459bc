"""A health sweep of a thousand mirrors, against the time that Fabric's quota allows it.

The host, Fabric with its quota, Table Storage and one PostgreSQL server are those of the local stack. The quota is 200
calls in a few seconds instead of a minute. Every mirror was healthy before: so each takes one call; or, in the second
sweep, of fewer mirrors, two calls and a connection to its database, since their details are old.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import batched
from pathlib import Path
from typing import Any

import msgspec
from azure.data.tables import TableClient, TableServiceClient
from azure.mgmt.postgresqlflexibleservers import models
from psycopg import sql
from rich.console import Console
from rich.table import Table

from bench import _storage
from local.application import Database
from local.scenario import ADMINISTRATOR, Operator, acting_as, eventually
from local.stack import PARTS, Stack
from local.topology import APP, IN_MEMORY

MIRRORS = 1_000
IN_DETAIL = 250
CALLS = 200
"""What Fabric allows in a minute, and here in `WINDOW` seconds."""
WINDOW = 20.0
DATABASES = 10
"""Mirrored databases of one server."""
MOST_SECONDS = 1.05
MOST_MIB = 256
console = Console(highlight=False)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep took. `allowed`: the seconds that the quota allows for what it has to call; `written`: rows.

    `left_out` counts the sweeps that were due while this one was on; `levels` the mirrors that it looked at;
    `transactions` all requests to Table Storage, `writes` those that write. `storage` counts the operations of the app
    and of the task hub, where that is in storage. `mib` is the most memory that the host process ever had.
    """

    seconds: float
    allowed: float
    calls: int
    refused: int
    left_out: int
    levels: dict[str, int]
    written: int
    transactions: int
    writes: int
    storage: Counter[str]
    mib: float


def main() -> int:
    """Print what it took; the exit status is 1 where it was more than it may be."""
    console.print(f"{CALLS} calls to Fabric in {WINDOW:g} s are allowed.")
    good = True
    for mirrors, calls, title in ((MIRRORS, 1, "one call each"), (IN_DETAIL, 2, "with details: two calls each")):
        console.print(f"Sweeping {mirrors:,} mirrors, {title} …")
        measured = measure(mirrors, calls)
        _show(measured, mirrors * calls, f"{mirrors:,} mirrors, {title}")
        good &= (
            measured.refused == 0 and measured.seconds <= MOST_SECONDS * measured.allowed and measured.mib < MOST_MIB
        )
    console.print(
        f"{'[green]✓[/]' if good else '[red]✗[/]'} Without a 429, within 5 % of the quota's time, in 256 MiB."
    )
    return 0 if good else 1


def _show(found: Result, calls: int, title: str) -> None:
    table = Table("What", "measured", "of what is allowed", title=title, title_justify="left")
    table.add_row("seconds", f"{found.seconds:.1f}", f"{found.seconds / found.allowed:.3f}")
    table.add_row("calls to Fabric", str(found.calls), f"{found.calls / calls:.3f}")
    table.add_row("calls refused (429)", str(found.refused), "")
    table.add_row("transactions that write", str(found.writes), f"{100 * found.writes / found.written:.2f}")
    table.add_row("all storage transactions", str(found.transactions), "")
    table.add_row("memory of the host, MiB", f"{found.mib:.0f}", f"{found.mib / MOST_MIB:.2f}")
    console.print(table)


def measure(mirrors: int = MIRRORS, calls: int = 1, window: float = WINDOW, engine: str = IN_MEMORY) -> Result:
    """Start a stack, fill it, and let the app sweep once. `calls`: 1 for a glance at each mirror, 2 for its details."""
    settings = {
        "FABRIC_CALLS_PER_MINUTE": str(round(60 * CALLS / window)),
        "FABRIC_WINDOW_SECONDS": str(window),
        "HEALTH_SCHEDULE": "0 0 0 1 1 *",  # only the sweep that is fired here
        "HEALTH_GRACE_MINUTES": "100000",  # the seeded mirrors have no slot: they are taken to be starting
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        with Stack(Path(folder), PARTS, settings, engine) as stack, acting_as(stack, "operator"):
            operator = Operator(stack)
            _fill(operator, mirrors, datetime.now(UTC) - timedelta(hours=calls - 1))
            stack.control("fabric", "PUT", "quota", {"calls": CALLS, "seconds": window})
            try:
                return _sweep(operator, mirrors * calls * window / CALLS)
            finally:
                operator.close()


def _sweep(operator: Operator, allowed: float) -> Result:
    log = operator.topology.log("azurite")
    quiet = len(log.read_bytes())
    _storage.taken(operator.stack)
    begun, wall = datetime.now(UTC), time.monotonic()
    operator.fire("record_mirror_health")
    time.sleep(allowed / 10)
    operator.fire("record_mirror_health")  # the next one is due while this one is on
    eventually(
        lambda: operator.durable("instances/sweep_health").status, lambda status: status == 200, 3 * allowed + 30
    )
    seconds, storage = time.monotonic() - wall, _storage.taken(operator.stack)
    requests = re.findall(r'"([A-Z]+ /\S+) HTTP', log.read_bytes()[quiet:].decode())
    rows = [row for row in operator.rows("MirrorHealth") if row["updated_at"] >= begun]
    app = operator.topology.principals[APP].object_id
    quota = operator.control("fabric", "quota")["callers"][app]
    return Result(
        seconds=seconds,
        allowed=allowed,
        calls=quota["taken"],
        refused=quota["refused"],
        left_out=operator.topology.log("host").read_text().count("this one is left out"),
        levels=_count([row["level"] for row in rows]),
        written=len(rows) + len(operator.rows("MirrorHealthHistory")),
        transactions=len(requests),
        writes=sum("$batch" in request for request in requests),
        storage=storage,
        mib=_peak_mib(operator.stack.processes["host"].pid),
    )


def _fill(operator: Operator, mirrors: int, details_at: datetime) -> None:
    """Fill the stack: one PostgreSQL that a hundred servers share, mirrored databases, and rows that say: healthy."""
    names = [f"db{number}" for number in range(DATABASES)]
    server = operator.create_server("pg-many", 18)
    app = operator.topology.principals[APP]
    administrator = models.AdministratorMicrosoftEntraAdd({
        "properties": {
            "principalName": app.name, "principalType": "ServicePrincipal", "tenantId": operator.topology.tenant,
        },
    })  # fmt: skip
    operator.management.administrators_microsoft_entra.begin_create_or_update(
        operator.topology.resource_group, server.name, app.object_id, administrator
    ).result()
    with Database(server.address, "postgres", operator.topology.authority).connect(
        ADMINISTRATOR, server.password
    ) as connection:
        for name in names:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    others = [_server(number) for number in range(-(-mirrors // len(names)))]
    operator.stack.control("arm", "POST", "seed", {"server": server.name, "names": others})
    items = operator.stack.control("fabric", "POST", "seed", {"mirrors": mirrors, "tables": 3})
    assert isinstance(items, list)
    _write_rows(operator, server.address, names, items, details_at)


def _write_rows(operator: Operator, host: str, names: list[str], items: list[str], details_at: datetime) -> None:
    from shared.desired.server_id import ServerId
    from shared.platform.table import encode
    from shared.records.rows import HealthRow, MirrorRow

    stack, now = operator.topology, datetime.now(UTC)
    entities: dict[str, list[dict[str, Any]]] = {"Mirrors": [], "MirrorHealth": []}
    for number, item in enumerate(items):
        place: dict[str, Any] = {
            "server": ServerId(stack.subscription, stack.resource_group, _server(number // len(names))),
            "database": names[number % len(names)], "workspace": stack.workspace, "item": item, "updated_at": now,
        }  # fmt: skip
        entities["Mirrors"].append(encode(MirrorRow(**place, host=host, phase="Running", changed_at=now)))
        seen: dict[str, Any] = {
            "level": "Healthy",
            "announced": "Healthy",
            "status": "Running",
            "since": now,
            "details_at": details_at,
        }
        entities["MirrorHealth"].append(encode(HealthRow(**place, **seen)))
    with TableServiceClient(stack.table_endpoint, credential=operator.credential) as service:
        for table, found in entities.items():
            with service.create_table_if_not_exists(table) as client:
                _insert(client, found)


def _server(number: int) -> str:
    return f"pg-{number:04}"


def _insert(client: TableClient, entities: list[dict[str, Any]]) -> None:
    partitions: dict[str, list[dict[str, Any]]] = {}
    for entity in entities:
        partitions.setdefault(entity["PartitionKey"], []).append(entity)
    for found in partitions.values():
        for batch in batched(found, 100, strict=False):
            client.submit_transaction([("upsert", entity) for entity in batch])


def _count(words: list[str]) -> dict[str, int]:
    return {word: words.count(word) for word in sorted(set(words))}


def _peak_mib(guard: int) -> float:
    """The most memory that the process under a guard ever had."""
    samples = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:  # it ended meanwhile
            continue
        if re.search(rf"^PPid:\s+{guard}$", text, re.MULTILINE):
            samples.append(int(re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)[1]) / 1024)  # type: ignore[index]
    return max(samples, default=float("nan"))


if __name__ == "__main__":
    sys.exit(main())
