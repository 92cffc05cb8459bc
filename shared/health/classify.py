"""What an observation means: a level, and the reasons for it, the weightiest first. Pure.

| code | level | when |
| --- | --- | --- |
| MirrorMissing | Unhealthy | the mirrored database is gone from the workspace |
| MirroringError | Unhealthy | Fabric reports an error of the mirror |
| MirrorPaused | Unhealthy | paused with its capacity: it does not resume by itself |
| MirrorStopped | Stopped | Stopped, Stopping or never started |
| StartIsSlow | Degraded | still Initializing or Starting after the grace time |
| StatusUnknown | Unknown | a status that this version doesn't know |
| TablesFailing | Unhealthy, Degraded | all tables fail, or some |
| NoTables | Degraded | running without a single table |
| LatencyHigh | Degraded | a table's latency is over the limit |
| SyncStalled | Degraded | changes wait, and nothing was synced for longer than the limit |
| SlotMissing | Unhealthy | running, but its slot is gone |
| SlotLost | Unhealthy | the server gave up the WAL that the slot needs |
| SlotAtRisk | Unhealthy | the next checkpoint may give it up |
| WalRetained | Unhealthy, Degraded | the slot retains WAL over the critical limit, or over the first one |
| SlotInactive | Degraded | running, but nobody reads its slot |
| PublicationInactive | Degraded | running, but its publication is not shipped |
| FabricUnknown, SourceUnknown | Unknown | that side could not be seen |

Within the grace time after its row was last changed, a mirror is not blamed for what only starting explains.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal

import msgspec

from shared.fabric.mirror import MirrorStatus, TableStatus
from shared.health.observation import FabricSide, Observation, SourceSide
from shared.platform.reasons import Reason
from shared.platform.settings import Settings
from shared.source.slots import Slot

type Level = Literal["Healthy", "Unknown", "Stopped", "Degraded", "Unhealthy"]
SEVERITY: tuple[Level, ...] = ("Healthy", "Unknown", "Stopped", "Degraded", "Unhealthy")

RUNNING = "Running"
STARTING = frozenset({"Initializing", "Starting"})
STOPPED = frozenset({"Initialized", "Stopping", "Stopped"})
AT_WORK = frozenset({"Initialized", "Snapshotting", "Replicating", "Reseeding"})
"""Statuses of a table that is fine."""
GIB = 2**30
WAITING_BYTES = 16 * 2**20
"""One WAL segment: below that, what a slot lags behind is not yet a backlog."""
NAMED = 5

type Finding = tuple[Level, Reason]


class Assessment(msgspec.Struct, frozen=True):
    """How a mirror is doing, and why, the weightiest reason first."""

    level: Level
    reasons: tuple[Reason, ...] = ()


def classify(observation: Observation, settings: Settings) -> Assessment:
    """What the observation means under these thresholds."""
    young = observation.at - observation.mirror.updated_at < timedelta(minutes=settings.health_grace_minutes)
    findings = [*_fabric(observation, settings, young), *_source(observation, settings, young)]
    findings.sort(key=lambda finding: SEVERITY.index(finding[0]), reverse=True)
    return Assessment(findings[0][0] if findings else "Healthy", tuple(reason for _, reason in findings))


def failing_tables(tables: tuple[TableStatus, ...]) -> tuple[Reason, ...]:
    """The tables that don't replicate, by name, each with what Fabric says of it."""
    failing = sorted((f"{t.schema}.{t.name}", t) for t in tables if t.status not in AT_WORK)
    return tuple(
        Reason(t.error.code if t.error else t.status, f"{name}: {t.error.message if t.error else t.status}")
        for name, t in failing
    )


def _fabric(observation: Observation, settings: Settings, young: bool) -> Iterator[Finding]:
    side = observation.fabric
    if isinstance(side, Reason):
        yield "Unknown", Reason("FabricUnknown", side.message, side.remedy)
    elif side.gone:
        yield (
            "Unhealthy",
            Reason(
                "MirrorMissing",
                f"The mirrored database {observation.mirror.item_name!r} is gone from the workspace.",
                "Let the server be looked at again (change its tag, or PUT its mirroring): it is made anew.",
            ),
        )
    elif side.status:
        yield from _status(side.status, young)
        if side.status.status == RUNNING:
            yield from _tables(side, observation, settings, young)


def _status(status: MirrorStatus, young: bool) -> Iterator[Finding]:
    if status.error:
        yield "Unhealthy", Reason("MirroringError", f"{status.error.message} ({status.error.code})")
    elif status.status == "Paused":
        remedy = "Resume the capacity, then restart the mirror. Until then its slot retains WAL on the server."
        yield "Unhealthy", Reason("MirrorPaused", "The mirror is paused, as its capacity was.", remedy)
    elif status.status in STARTING:
        if not young:
            yield "Degraded", Reason("StartIsSlow", f"The mirror is still {status.status}.")
    elif status.status in STOPPED:
        if not young or status.status != "Initialized":
            yield "Stopped", Reason("MirrorStopped", f"The mirror is {status.status}.", "Start it, or release it.")
    elif status.status != RUNNING:
        yield "Unknown", Reason("StatusUnknown", f"Fabric calls the mirror {status.status!r}.")


def _tables(side: FabricSide, observation: Observation, settings: Settings, young: bool) -> Iterator[Finding]:
    failing = failing_tables(side.tables)
    if failing:
        more = f"; and {len(failing) - NAMED} more" if len(failing) > NAMED else ""
        message = f"{len(failing)} of {len(side.tables)} tables fail. "
        message += "; ".join(reason.message for reason in failing[:NAMED]) + more
        yield "Unhealthy" if len(failing) == len(side.tables) else "Degraded", Reason("TablesFailing", message)
    if not side.tables and not young:
        remedy = "Give the database a table that can be mirrored, or release it."
        yield "Degraded", Reason("NoTables", "The mirror runs without a single table.", remedy)
    limit = timedelta(minutes=settings.latency_warn_minutes)
    slow = [t for t in side.tables if t.status in AT_WORK and (t.latency_seconds or 0) > limit.total_seconds()]
    if slow:
        worst = max(slow, key=lambda t: t.latency_seconds or 0)
        message = (
            f"{worst.schema}.{worst.name} is {worst.latency_seconds:,.0f} s behind; tables over {limit}: {len(slow)}."
        )
        yield "Degraded", Reason("LatencyHigh", message)
    synced = max((t.last_sync_at for t in side.tables if t.last_sync_at), default=None)
    slot = observation.source.slot if isinstance(observation.source, SourceSide) else None
    if synced and slot and slot.lag_bytes > WAITING_BYTES and observation.at - synced > limit:
        message = f"{_size(slot.lag_bytes)} of WAL wait, and the last sync was at {synced:%Y-%m-%d %H:%M:%S} UTC."
        yield "Degraded", Reason("SyncStalled", message)


def _source(observation: Observation, settings: Settings, young: bool) -> Iterator[Finding]:
    side, fabric = observation.source, observation.fabric
    if isinstance(side, Reason):
        yield "Unknown", Reason("SourceUnknown", side.message, side.remedy)
        return
    if side.slot:
        yield from _retained(side.slot, settings)
    if not (isinstance(fabric, FabricSide) and fabric.status and fabric.status.status == RUNNING) or young:
        return
    if side.slot is None:
        remedy = "Restart the mirror; that seeds its tables anew."
        yield "Unhealthy", Reason("SlotMissing", "The mirror's replication slot is gone from the server.", remedy)
    elif not side.slot.active and side.slot.wal_status != "lost":
        yield "Degraded", Reason("SlotInactive", f"Nobody reads the replication slot {side.slot.name!r}.")
    if side.publication and not side.publication.active:
        message = f"The publication {side.publication.name!r} is not being shipped to Fabric."
        yield "Degraded", Reason("PublicationInactive", message)


def _retained(slot: Slot, settings: Settings) -> Iterator[Finding]:
    if slot.wal_status == "lost":
        remedy = "Restart the mirror; that seeds its tables anew."
        yield "Unhealthy", Reason("SlotLost", f"The server gave up WAL that the slot {slot.name!r} needs.", remedy)
        return
    if slot.wal_status == "unreserved":
        message = f"The next checkpoint may remove WAL that the slot {slot.name!r} needs."
        yield "Unhealthy", Reason("SlotAtRisk", message, "Let Fabric catch up, or raise max_slot_wal_keep_size.")
    retained = slot.retained_bytes / GIB
    if retained >= settings.wal_warn_gib:
        critical = retained >= settings.wal_critical_gib
        limit = settings.wal_critical_gib if critical else settings.wal_warn_gib
        message = f"The slot {slot.name!r} retains {_size(slot.retained_bytes)} of WAL; the limit is {limit:g} GiB."
        remedy = "Find out why Fabric does not read it. Release a mirror that nobody needs, before the disk is full."
        yield "Unhealthy" if critical else "Degraded", Reason("WalRetained", message, remedy)


def _size(bytes: int) -> str:
    return f"{bytes / GIB:.1f} GiB" if bytes >= GIB else f"{bytes / 2**20:.0f} MiB"
