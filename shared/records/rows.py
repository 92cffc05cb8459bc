"""The rows of the four tables. `store` says which table has which, and reads and writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

from shared.desired import server_id
from shared.desired.intent import Wish
from shared.desired.server_id import ServerId
from shared.desired.takeover import Takeover
from shared.platform.reasons import Reason
from shared.platform.row import EPOCH, Row, key

LAST_TICK = 3_155_378_975_999_999_999
"""The last 100 ns of the year 9999, counted from year 1, as .NET counts."""


class _OfServer(Row, frozen=True, kw_only=True):
    """What all rows here share: servers are written as ARM resource ids."""

    texts: ClassVar[Mapping[type, Callable[[str], Any]]] = {ServerId: server_id.parse}


APPROVAL_REQUIRED = "RestartApprovalRequired"
"""Code of the reason for which a server waits until somebody decides about its restart."""
ServerPhase = Literal["New", "Preparing", "Waiting", "Mirrored", "Blocked", "Releasing", "Released", "Deleted"]
MirrorPhase = Literal["New", "Preparing", "Starting", "Restarting", "Running", "Blocked", "Releasing"]


class ServerRow(_OfServer, frozen=True, kw_only=True):
    """One flexible server."""

    id: ServerId
    phase: ServerPhase = "New"
    request: Wish | None = None
    """What somebody asked for over HTTP; None: nobody did, or it was withdrawn."""
    fingerprint: str = ""
    """Fingerprint of the intent that the last run worked for."""
    reasons: tuple[Reason, ...] = ()
    report: str = ""
    """The last readiness report, as JSON."""
    baseline_worker_processes: int | None = None
    """What max_worker_processes was before the first preparation."""
    role: str = ""
    """The PostgreSQL role that the app created on the server; empty: none."""
    run: str = ""
    """Instance id of the last run."""
    restart_refused: str = ""
    """Fingerprint of the intent for which there was no restart, and the code of the reason."""
    rotation: int = 0
    """Number of the last new password that was asked for: the time of the request, in seconds since 1970."""
    rotated: int = 0
    """Number of the last rotation that has reached the server and all connections."""
    announced: str = ""
    """What the last notice said of the server, so that it is not sent twice."""

    @property
    def keys(self) -> tuple[str, str]:
        return self.id.subscription, key(f"{self.id.resource_group}:{self.id.name}")


class MirrorRow(_OfServer, frozen=True, kw_only=True):
    """One database of a server, and its mirrored database."""

    server: ServerId
    database: str
    phase: MirrorPhase = "New"
    """Restarting: the app has stopped the mirror, in order to start it again."""
    host: str = ""
    """Domain name of the server."""
    workspace: str = ""
    workspace_name: str = ""
    item: str = ""
    """GUID of the mirrored database; empty: none was made yet."""
    item_name: str = ""
    connection: str = ""
    """GUID of the Fabric connection."""
    login: str = ""
    """Which credentials the connection was given last; see `decisions.login`."""
    superseded: tuple[str, ...] = ()
    """GUIDs of connections that `connection` takes the place of; they are removed when the mirror uses it."""
    secret: str = ""
    """Name of the Key Vault secret that Fabric logs in with."""
    takeover: Takeover | None = None
    """Former owners and privileges of the tables that were taken; None: none was."""
    reasons: tuple[Reason, ...] = ()
    everything: bool = True
    """All tables are mirrored, new ones too."""
    reseed: bool = False
    """Somebody asked to stop and start the mirror, which copies its tables again."""
    changed_at: datetime = EPOCH
    """When the app last made, changed, stopped or started the mirror, or saw that it had come up. Until the grace time
    after it, nothing is wrong with a mirror that only begins."""

    @property
    def keys(self) -> tuple[str, str]:
        return key(self.server.key), key(self.database)


class HealthRow(_OfServer, frozen=True, kw_only=True):
    """How a mirror was at `updated_at`. None: not known. `since` is when its level was first seen.

    `pending` counts the last observations, the first at `pending_since`, that had another level which does not hold
    long enough yet; `announced` is the level that was told last. `failing` names tables that don't replicate, at most
    a few of `tables_failing`; `tables_at` is when the tables were looked at, `details_at` when the status was asked for
    and the database looked at. `slot` is the replication slot's name, `storage_gib` the size of the server's storage.
    """

    workspace: str
    item: str
    server: ServerId
    database: str
    level: str
    workspace_name: str = ""
    reasons: tuple[Reason, ...] = ()
    since: datetime = EPOCH
    pending: int = 0
    pending_since: datetime | None = None
    announced: str = ""
    status: str = ""
    tables: int | None = None
    tables_replicating: int | None = None
    tables_failing: int | None = None
    failing: tuple[Reason, ...] = ()
    rows: int | None = None
    bytes: int | None = None
    last_sync_at: datetime | None = None
    latency_seconds: float | None = None
    tables_at: datetime | None = None
    details_at: datetime | None = None
    slot: str = ""
    slot_active: bool | None = None
    wal_status: str = ""
    retained_wal_bytes: int | None = None
    storage_gib: int | None = None

    @property
    def keys(self) -> tuple[str, str]:
        return key(self.workspace), key(self.item)


class HistoryRow(HealthRow, frozen=True, kw_only=True):
    """The same, kept for HISTORY_DAYS, but without the names of failing tables."""

    @property
    def keys(self) -> tuple[str, str]:
        return day(self.updated_at), f"{key(self.item)}:{inverted_ticks(self.updated_at)}"


def day(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def inverted_ticks(moment: datetime) -> str:
    """A row key that sorts later moments first."""
    ticks = (moment - datetime(1, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 10
    return f"{LAST_TICK - ticks:019}"
