"""An example fleet in Table Storage: mirrors of every kind, each with its history, and servers that need somebody.

For pictures, for tests of what people look at, and for measuring it. The rows are written as the app writes them.
"""

from __future__ import annotations

import json
import math
import random
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import batched, groupby
from typing import Any

import msgspec
from azure.data.tables import EdmType, TableServiceClient

from local.topology import WORKSPACE_IDENTITY, Topology

LAST_TICK = 3_155_378_975_999_999_999
STEP = timedelta(minutes=5)
DAY = timedelta(days=1)
BATCH = 100
GIB, MIB = 2**30, 2**20
TABLES = ("Servers", "Mirrors", "MirrorHealth", "MirrorHealthHistory")

type Entity = dict[str, Any]


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One mirror of the fleet. `usual` and `now` are latencies in seconds; `turn` is when its level began, in hours."""

    server: str
    database: str
    level: str = "Healthy"
    reasons: tuple[tuple[str, str, str], ...] = ()
    failing: tuple[tuple[str, str], ...] = ()
    status: str = "Running"
    tables: int | None = 12
    rows: int | None = 250_000
    usual: float = 4
    now: float | None = 4
    retained: int | None = 48 * MIB
    slot_active: bool | None = True
    wal_status: str = "reserved"
    turn: float = 140

    def item(self, workspace: str) -> str:
        """The id of its mirrored database in a workspace."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{workspace}/{self.server}/{self.database}"))


FLEET = (
    Example(
        server="pg-billing", database="invoices", level="Unhealthy", turn=2.4, usual=6, now=8_700, retained=27 * GIB,
        slot_active=False, wal_status="extended", tables=31, rows=48_210_334,
        reasons=(
            (
                "WalRetained", "The slot 'fabric_invoices' retains 27.0 GiB of WAL; the limit is 20 GiB.",
                "Find out why Fabric does not read it. Release a mirror that nobody needs, before the disk is full.",
            ),
            ("SlotInactive", "Nobody reads the replication slot 'fabric_invoices'.", ""),
        ),
    ),
    Example(
        server="pg-logistics", database="shipments", level="Degraded", turn=0.7, usual=5, now=11, tables=18,
        rows=9_402_118, retained=310 * MIB,
        reasons=(
            (
                "TablesFailing",
                "1 of 18 tables fail. public.parcel_events: The replica identity of the table was changed.", "",
            ),
        ),
        failing=(("ReplicaIdentityChanged", "public.parcel_events: The replica identity of the table was changed."),),
    ),
    Example(
        server="pg-catalog", database="products", level="Degraded", turn=1.1, usual=9, now=1_260, tables=44,
        rows=3_118_920, retained=6 * GIB,
        reasons=(("LatencyHigh", "public.prices is 1,260 s behind; tables over 0:15:00: 2.", ""),),
    ),
    Example(
        server="pg-archive", database="tickets_2024", level="Stopped", turn=70, status="Stopped", now=None,
        rows=812_004, slot_active=None, wal_status="", retained=None,
        reasons=(("MirrorStopped", "The mirror is Stopped.", "Start it, or release it."),),
    ),
    Example(server="pg-shop", database="shop", tables=27, rows=12_430_871, usual=3, now=3.2, retained=32 * MIB),
    Example(server="pg-shop", database="payments", tables=9, rows=5_120_400, usual=2, now=1.8, retained=32 * MIB),
    Example(server="pg-crm", database="crm", tables=63, rows=1_904_233, usual=7, now=6.4, retained=64 * MIB),
    Example(server="pg-hr", database="people", tables=15, rows=48_112, usual=11, now=12, retained=16 * MIB),
    Example(server="pg-warehouse", database="stock", tables=22, rows=20_551_690, usual=5, now=5.5, retained=96 * MIB),
)  # fmt: skip


class Fleet:
    """Writes examples into a running stack. It needs the environment of `operator` (see `local.scenario`)."""

    def __init__(self, topology: Topology, credential: Any):
        self.topology = topology
        self.service = TableServiceClient(topology.table_endpoint, credential=credential)
        for table in TABLES:
            self.service.create_table_if_not_exists(table)

    def close(self) -> None:
        self.service.close()

    def mirrors(self, examples: Iterable[Example], history: timedelta = DAY, workspace: str = "") -> None:
        """Write each with its history. Where no workspace is named, they are in the stack's own."""
        now, place = datetime.now(UTC), workspace or self.topology.workspace
        latest, older = [], []
        for example in examples:
            moments = [now - STEP * n for n in range(int(history / STEP) + 1)]
            observations = [self._observation(example, place, at, now) for at in moments]
            latest.append(observations[0] | {"PartitionKey": place, "RowKey": example.item(place)})
            older += [one | _place(example.item(place), one["updated_at"]) for one in observations]
        self.put("MirrorHealth", latest)
        self.put("MirrorHealthHistory", older)

    def server(self, name: str, phase: str, *reasons: tuple[str, str, str], run: str = "", age: float = 0) -> None:
        """Write a server's row. `age`: hours since it was written."""
        written = datetime.now(UTC) - timedelta(hours=age)
        row = {
            "PartitionKey": self.topology.subscription, "RowKey": f"{self.topology.resource_group}:{name}",
            "id": self.resource_id(name), "phase": phase, "reasons": _reasons(reasons), "run": run,
            "updated_at": written,
        }  # fmt: skip
        self.put("Servers", [row])

    def put(self, table: str, rows: Iterable[Entity]) -> None:
        """Write rows over those that are there."""
        ordered = sorted(rows, key=lambda row: row["PartitionKey"])
        with self.service.get_table_client(table) as client:
            for _, partition in groupby(ordered, key=lambda row: row["PartitionKey"]):
                for batch in batched(partition, BATCH, strict=False):
                    client.submit_transaction([("upsert", row, {"mode": "replace"}) for row in batch])

    def resource_id(self, server: str) -> str:
        group = f"/subscriptions/{self.topology.subscription}/resourceGroups/{self.topology.resource_group}"
        return f"{group}/providers/Microsoft.DBforPostgreSQL/flexibleServers/{server}"

    def _name(self, workspace: str) -> str:
        return WORKSPACE_IDENTITY if workspace == self.topology.workspace else f"Workspace {workspace[:4]}"

    def _observation(self, example: Example, workspace: str, at: datetime, now: datetime) -> Entity:
        hours = (now - at) / timedelta(hours=1)
        bad = example.level != "Healthy" and hours <= example.turn
        noise = random.Random(f"{example.server}{example.database}{hours:.2f}").uniform(0.6, 1.5)  # noqa: S311 - a picture
        latency: float | None = example.usual * noise * (1 + 0.4 * math.sin(hours / 3.8))
        retained = example.retained
        if bad and hours:
            share = 1 - hours / example.turn
            latency = None if example.now is None else example.usual + (example.now - example.usual) * share
            retained = None if retained is None else int(48 * MIB + (retained - 48 * MIB) * share)
        elif not hours:
            latency = example.now
        elif retained is not None:
            retained = int(min(retained, 96 * MIB) * noise)
        failing = len(example.failing) if bad else 0
        numbers = {
            "tables": example.tables,
            "tables_replicating": None if example.tables is None else example.tables - failing,
            "tables_failing": failing,
            "rows": None if example.rows is None else int(example.rows * (1 - 0.0004 * hours)),
            "bytes": None if example.rows is None else example.rows * 180,
            "retained_wal_bytes": retained,
        }
        values = {
            "workspace": workspace, "workspace_name": self._name(workspace), "item": example.item(workspace),
            "server": self.resource_id(example.server),
            "database": example.database, "level": example.level if bad or not hours else "Healthy",
            "reasons": _reasons(example.reasons if bad or not hours else ()), "updated_at": at,
            "since": now - timedelta(hours=example.turn), "status": example.status if bad or not hours else "Running",
            "failing": _reasons((*failure, "") for failure in (example.failing if bad else ())),
            "latency_seconds": latency, "last_sync_at": None if latency is None else at - timedelta(seconds=latency),
            "tables_at": at, "slot": f"fabric_{example.database}", "slot_active": example.slot_active,
            "wal_status": example.wal_status,
            **{name: (value, EdmType.INT64) for name, value in numbers.items() if value is not None},
        }  # fmt: skip
        return {name: value for name, value in values.items() if value is not None}


def many(count: int) -> Iterator[Example]:
    """A large fleet: five databases a server, one in nine not healthy."""
    for number in range(count):
        bad = number % 9 == 0
        yield Example(
            server=f"pg-{number // 5:04}", database=f"db_{number:05}", level="Degraded" if bad else "Healthy",
            reasons=(("LatencyHigh", "public.orders is 1,200 s behind; tables over 0:15:00: 1.", ""),) if bad else (),
        )  # fmt: skip


def _reasons(reasons: Iterable[tuple[str, str, str]]) -> str:
    return json.dumps([{"code": code, "message": message, "remedy": remedy} for code, message, remedy in reasons])


def _place(item: str, at: datetime) -> dict[str, str]:
    """The keys of an observation in the history, which is kept by day, newest first."""
    since = (at - datetime(1, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 10
    return {"PartitionKey": f"{at:%Y-%m-%d}", "RowKey": f"{item}:{LAST_TICK - since:019}"}
