"""The rows of the five tables. `store` says which table has which, and reads and writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

import msgspec

from shared.desired import server_id
from shared.desired.intent import Wish
from shared.desired.server_id import ServerId
from shared.desired.takeover import Takeover
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
ServerPhase = Literal[
    "New", "Preparing", "Waiting", "Mirrored", "Blocked", "Missing", "Releasing", "Released", "Deleted"
]
MirrorPhase = Literal["New", "Preparing", "Starting", "Restarting", "Running", "Blocked", "Releasing", "Deleted"]


class RestartIntent(msgspec.Struct, frozen=True):
    """The app was about to ask for a restart of a server. It may have asked although no answer says so."""

    at: datetime
    started_at: datetime | None
    """Since when PostgreSQL had been running then; None: it did not say."""
    by: str
    """A random word: of two processes with the same intent, one asks."""
    ended: bool = False
    """The app knows how the restart ended: whoever needs a restart next needs another restart."""
    failed: bool = False
    """Azure said that the restart failed: where PostgreSQL has not been restarted since, none is under way."""


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
    """The last readiness report in short form, as JSON."""
    report_id: str = ""
    """Which report `Reports` has in full; empty: none."""
    baseline_worker_processes: int | None = None
    """What max_worker_processes was before the first preparation."""
    parameters: tuple[str, ...] = ()
    """The server parameters that the app set."""
    role: str = ""
    """The PostgreSQL role that the app created on the server; empty: none."""
    run: str = ""
    """Instance id of the last run."""
    restart_refused: str = ""
    """Fingerprint of the intent for which there was no restart, and the code of the reason."""
    restart: RestartIntent | None = None
    """The last restart that the app asked for; None: there was none."""
    rotation: int = 0
    """Number of the last new password that was asked for: the time of the request, in seconds since 1970."""
    rotated: int = 0
    """Number of the last rotation that has reached the server and all connections."""
    announced: str = ""
    """What the last notice said of the server, so that it is not sent twice."""
    left: tuple[Reason, ...] = ()
    """What the releases of databases could not give back, for the end of the server's."""
    created_at: datetime | None = None
    """When Azure created the server; None: the app does not know."""
    missing_since: datetime | None = None
    """When the first of the looks was, up to the last one, at which Azure did not find the server; None: it did."""
    missing_code: str = ""
    """The code that Azure answered at these looks."""
    deletion_told: bool = False
    """An event, or a person, said that the server was deleted, and the server was not seen since."""

    @property
    def keys(self) -> tuple[str, str]:
        return self.id.subscription, key(f"{self.id.resource_group}:{self.id.name}")


class MirrorRow(_OfServer, frozen=True, kw_only=True):
    """One database of a server, and its mirrored database."""

    remedy_when_too_large: ClassVar[str] = "Choose fewer tables of this database, so that the record takes less space."

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
    """What the app did for the fabric role in the database, and what undoes it; None: nothing."""
    rights: Literal["", "membership", "ownership"] = ""
    """How the fabric role has its rights on the tables; empty: it has none yet."""
    rights_why: str = ""
    """Why in this way, in a sentence."""
    word: Literal["unasked", "content", "insists", "silent"] = "unasked"
    """What the service said of the role's membership in the tables' owners when the app last asked."""
    prerequisites: tuple[Reason, ...] = ()
    """What the service itself had against a mirror when the app last asked, by the service's codes."""
    reasons: tuple[Reason, ...] = ()
    everything: bool = True
    """All tables are mirrored, new ones too."""
    reseed: bool = False
    """Somebody asked to stop and start the mirror, which copies its tables again."""
    changed_at: datetime = EPOCH
    """When the app last made, changed, stopped or started the mirror, or saw that it had come up. Within the grace time
    after that, a mirror that is still starting counts as healthy."""

    @property
    def keys(self) -> tuple[str, str]:
        return key(self.server.key), key(self.database)

    def asked_to_copy_again(self, item: str) -> MirrorRow:
        """The row after somebody asked to copy the tables of the mirrored database `item` again. By now the database
        may have another mirrored database, or none: then the row stays as it is."""
        return msgspec.structs.replace(self, reseed=True) if self.item == item else self


class ReportRow(_OfServer, frozen=True, kw_only=True):
    """A part of the last readiness report of a server, which may be larger than a row."""

    server: ServerId
    report_id: str
    """Differs from that of every other report of the server."""
    part: int
    parts: int
    text: str

    @property
    def keys(self) -> tuple[str, str]:
        return key(self.server.key), f"{key(self.report_id)}:{self.part:04}"


class LastLook(_OfServer, frozen=True, kw_only=True):
    """When a mirror was looked at last, and what counted then. A sweep is planned by these columns."""

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


def history_of(row: HealthRow) -> HistoryRow:
    """The observation as the history has it."""
    return HistoryRow(**msgspec.structs.asdict(row) | {"failing": ()})


def day(moment: datetime) -> str:
    """The day of a moment in UTC, as the history is partitioned."""
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def inverted_ticks(moment: datetime) -> str:
    """A row key that sorts later moments first."""
    ticks = (moment - datetime(1, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 10
    return f"{LAST_TICK - ticks:019}"
