"""The rows of the four tables. `store` says which table has which, and reads and writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

from shared.desired import server_id
from shared.desired.server_id import ServerId
from shared.platform.reasons import Reason
from shared.platform.row import EPOCH, Row, key

Level = Literal["Healthy", "Unknown", "Stopped", "Degraded", "Unhealthy"]
NEW: Level = "Healthy"
"""The level of a mirror before the first look at it: the notice that its server is prepared says so."""
LAST_TICK = 3_155_378_975_999_999_999
"""The last 100 ns of the year 9999, counted from year 1, as .NET counts."""


class _OfServer(Row, frozen=True, kw_only=True):
    """What all rows here share: servers are written as ARM resource ids."""

    texts: ClassVar[Mapping[type, Callable[[str], Any]]] = {ServerId: server_id.parse}


APPROVAL_REQUIRED = "RestartApprovalRequired"
"""Code of the reason for which a server waits until somebody decides about its restart."""


class ServerRow(_OfServer, frozen=True, kw_only=True):
    """One flexible server. `request` is the wish that came over HTTP, `report` the last readiness report (both JSON).

    `baseline_worker_processes` is what the server had before the first preparation; `role` the PostgreSQL role that
    we created there; `run` the orchestration instance of the last run; `restart_refused` the fingerprint of the wish
    for which there was no restart, and the code of the reason; `rotation` numbers the last new password that was asked
    for, by the time (seconds since 1970), and `rotated` the last one that is everywhere, in the connections too.
    """

    id: ServerId
    phase: str = "New"
    request: str = ""
    fingerprint: str = ""
    reasons: tuple[Reason, ...] = ()
    report: str = ""
    baseline_worker_processes: int | None = None
    role: str = ""
    run: str = ""
    restart_refused: str = ""
    rotation: int = 0
    rotated: int = 0
    announced: str = ""

    @property
    def keys(self) -> tuple[str, str]:
        return self.id.subscription, key(f"{self.id.resource_group}:{self.id.name}")


class MirrorRow(_OfServer, frozen=True, kw_only=True):
    """One database of a server and its mirrored database.

    `host` is the server's domain name, `item` and `item_name` the mirrored database's id and display name, `connection`
    the Fabric connection's id, `login` tells which credentials it was given last, `superseded` are connections that it
    takes the place of; `secret` is the name in Key Vault of what Fabric logs in with, `takeover` the former owners and
    privileges of its tables (JSON), `everything` that all of its tables are mirrored, new ones too; `reseed` that the
    mirror is to be stopped and started, which seeds its tables anew (`phase` is Restarting in between); `changed_at` is
    when it was last made, led elsewhere, stopped or started by us or found to have come up: until the grace time after
    it, nothing is wrong with what only begins.
    """

    server: ServerId
    database: str
    phase: str = "New"
    host: str = ""
    workspace: str = ""
    workspace_name: str = ""
    item: str = ""
    item_name: str = ""
    connection: str = ""
    login: str = ""
    superseded: tuple[str, ...] = ()
    secret: str = ""
    takeover: str = ""
    reasons: tuple[Reason, ...] = ()
    everything: bool = True
    reseed: bool = False
    changed_at: datetime = EPOCH

    @property
    def keys(self) -> tuple[str, str]:
        return key(self.server.key), key(self.database)


class LastLook(_OfServer, frozen=True, kw_only=True):
    """When a mirror was looked at last, and what counted then: a sweep is planned by these columns."""

    workspace: str
    item: str
    server: ServerId
    database: str
    level: Level
    pending: int = 0
    """Looks in a row, up to the last one, that showed another level, which has not held long enough yet."""
    details_at: datetime | None = None
    """When the app last asked for the status and looked at the database; None: never."""


class Remembered(LastLook, frozen=True, kw_only=True):
    """What the next look is judged with."""

    reasons: tuple[Reason, ...] = ()
    since: datetime = EPOCH
    """When the level was first seen."""
    pending_since: datetime | None = None
    """When the first of the `pending` looks was."""
    announced: Level = NEW
    """The level that the last notice told."""
    status: str = ""
    """Fabric's word for the mirror; empty: not known."""
    slot: str = ""
    """Name of the replication slot; empty: not known."""
    storage_gib: int | None = None
    """Size of the server's storage."""


class HealthRow(Remembered, frozen=True, kw_only=True):
    """How a mirror was at `updated_at`. None: not known."""

    workspace_name: str = ""
    tables: int | None = None
    tables_replicating: int | None = None
    tables_failing: int | None = None
    failing: tuple[Reason, ...] = ()
    """Some of the tables that fail, by name; `tables_failing` counts all of them."""
    rows: int | None = None
    bytes: int | None = None
    last_sync_at: datetime | None = None
    latency_seconds: float | None = None
    tables_at: datetime | None = None
    """When the app looked at the tables in Fabric."""
    slot_active: bool | None = None
    wal_status: str = ""
    retained_wal_bytes: int | None = None

    @property
    def keys(self) -> tuple[str, str]:
        return key(self.workspace), key(self.item)


class HistoryRow(HealthRow, frozen=True, kw_only=True):
    """The same, which stays for HISTORY_DAYS, but without the names of failing tables."""

    @property
    def keys(self) -> tuple[str, str]:
        return day(self.updated_at), f"{key(self.item)}:{inverted_ticks(self.updated_at)}"


def day(moment: datetime) -> str:
    """The day of a moment in UTC, as the history is partitioned."""
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def inverted_ticks(moment: datetime) -> str:
    """A row key that sorts later moments first."""
    ticks = (moment - datetime(1, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 10
    return f"{LAST_TICK - ticks:019}"
