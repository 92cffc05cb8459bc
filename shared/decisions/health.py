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
| WalRetained | Unhealthy, Degraded | the slot retains WAL over a limit (GiB, or % of the storage), critical or first |
| SlotInactive | Degraded | running, but nobody reads its slot |
| PublicationInactive | Degraded | running, but its publication is not shipped |
| TablesNotOwned | Degraded | tables that the fabric role does not own, so that PostgreSQL does not publish them |
| TablesGone | Degraded | tables that Fabric mirrors, and that the database does not have any more |
| TablesNotEligible | Healthy | a note: tables that the service does not mirror, by its own rules |
| FabricUnknown, SourceUnknown | Unknown | that side, or a part of it, could not be seen |

Within the grace time after it was last changed or started, a mirror is not blamed for what only starting explains.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal

import msgspec

from shared.decisions.observation import RUNNING, FabricSide, Observation, SourceSide
from shared.fabric.mirror import MirrorStatus, TableStatus
from shared.platform.reasons import Reason
from shared.platform.settings import Settings
from shared.source.facts import TableStatus as SourceTable
from shared.source.slots import Slot

type Level = Literal["Healthy", "Unknown", "Stopped", "Degraded", "Unhealthy"]
SEVERITY: tuple[Level, ...] = ("Healthy", "Unknown", "Stopped", "Degraded", "Unhealthy")

STARTING = frozenset({"Initializing", "Starting"})
STOPPED = frozenset({"Initialized", "Stopping", "Stopped"})
AT_WORK = frozenset({"Initialized", "Snapshotting", "Replicating", "Reseeding"})
"""Statuses of a table that is fine."""
NOTES = frozenset({"TablesNotEligible"})
"""Reasons that go with any level."""
ENDANGERING = frozenset({"WalRetained", "SlotAtRisk", "SlotLost"})
"""Reasons that have to do with the server's disk, and with what its slot may lose: too urgent to be told only once."""
GIB = 2**30
MIB = 2**20
NAMED = 5
LONGEST = 300
"""Characters of what Fabric says of one table."""
MOST = 2500
"""Characters of any text of a reason: room for `NAMED` tables, and for what is said of each."""

type Finding = tuple[Level, Reason]


class Assessment(msgspec.Struct, frozen=True):
    """How a mirror is doing, and why, the weightiest reason first."""

    level: Level
    reasons: tuple[Reason, ...] = ()


def classify(observation: Observation, settings: Settings) -> Assessment:
    """What the observation means under these thresholds."""
    young = observation.at - observation.mirror.changed_at < timedelta(minutes=settings.health_grace_minutes)
    findings = [*_fabric(observation, settings, young), *_source(observation, settings, young)]
    if not young:
        findings += _both(observation, settings)
    findings.sort(key=lambda finding: SEVERITY.index(finding[0]), reverse=True)
    return Assessment(findings[0][0] if findings else "Healthy", tuple(_cut(reason) for _, reason in findings))


def with_notes(seen: Assessment, observation: Observation, before: tuple[Reason, ...]) -> Assessment:
    """What is seen, and the notes from before where this look left out what they are about: the database's tables."""
    source = observation.source
    if isinstance(source, Reason) or source.tables is not None:
        return seen
    notes = tuple(reason for reason in before if reason.code in NOTES)
    return msgspec.structs.replace(seen, reasons=(*seen.reasons, *notes))


def failing_tables(tables: tuple[TableStatus, ...]) -> tuple[Reason, ...]:
    """The tables that don't replicate, by name, each with the beginning of what Fabric says of it."""
    failing = sorted((t for t in tables if t.status not in AT_WORK), key=_name)
    return tuple(
        Reason(
            (t.error.code if t.error else t.status)[:LONGEST],
            f"{_name(t)}: {(t.error.message if t.error else t.status)[:LONGEST]}",
        )
        for t in failing
    )


def _fabric(observation: Observation, settings: Settings, young: bool) -> Iterator[Finding]:
    side = observation.fabric
    unseen = side if isinstance(side, Reason) else side.unseen
    if unseen:
        yield "Unknown", Reason("FabricUnknown", unseen.message, unseen.remedy)
    if isinstance(side, FabricSide) and side.gone:
        yield (
            "Unhealthy",
            Reason(
                "MirrorMissing",
                f"The mirrored database {observation.mirror.item_name!r} is gone from the workspace.",
                "Let the server be looked at again (change its tag, or PUT its mirroring): it is made anew.",
            ),
        )
    if isinstance(side, FabricSide) and side.status:
        yield from _status(side.status, young)
    if isinstance(side, FabricSide) and side.runs:
        yield from _tables(side.tables, observation, settings, young)


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


def _tables(
    tables: tuple[TableStatus, ...], observation: Observation, settings: Settings, young: bool
) -> Iterator[Finding]:
    failing = failing_tables(tables)
    if failing:
        message = (
            f"{len(failing)} of {len(tables)} tables fail. {_listed([reason.message for reason in failing], '; ')}"
        )
        yield "Unhealthy" if len(failing) == len(tables) else "Degraded", Reason("TablesFailing", message)
    if not tables and not young:
        remedy = "Give the database a table that can be mirrored, or release it."
        yield "Degraded", Reason("NoTables", "The mirror runs without a single table.", remedy)
    limit = timedelta(minutes=settings.latency_warn_minutes)
    slow = [t for t in tables if t.status in AT_WORK and (t.latency_seconds or 0) > limit.total_seconds()]
    if slow:
        worst = max(slow, key=lambda t: t.latency_seconds or 0)
        message = (
            f"{worst.schema}.{worst.name} is {worst.latency_seconds:,.0f} s behind; tables over {limit}: {len(slow)}."
        )
        yield "Degraded", Reason("LatencyHigh", message)
    synced = max((t.last_sync_at for t in tables if t.last_sync_at), default=None)
    slot = observation.source.slot if isinstance(observation.source, SourceSide) else None
    if synced and slot and slot.lag_bytes > settings.lag_warn_mib * MIB and observation.at - synced > limit:
        message = f"{_size(slot.lag_bytes)} of WAL wait, and the last sync was at {synced:%Y-%m-%d %H:%M:%S} UTC."
        yield "Degraded", Reason("SyncStalled", message)


def _source(observation: Observation, settings: Settings, young: bool) -> Iterator[Finding]:
    side, fabric = observation.source, observation.fabric
    unseen = side if isinstance(side, Reason) else side.unseen
    if unseen:
        yield "Unknown", Reason("SourceUnknown", unseen.message, unseen.remedy)
    if isinstance(side, Reason):
        return
    if side.slot:
        yield from _retained(side.slot, side.storage_gib, settings)
    if not (isinstance(fabric, FabricSide) and fabric.runs) or young:
        return
    if side.slot is None:
        remedy = "Restart the mirror; that seeds its tables anew."
        yield "Unhealthy", Reason("SlotMissing", "The mirror's replication slot is gone from the server.", remedy)
    elif not side.slot.active and side.slot.wal_status != "lost":
        yield "Degraded", Reason("SlotInactive", f"Nobody reads the replication slot {side.slot.name!r}.")
    if side.publication and not side.publication.active:
        message = f"The publication {side.publication.name!r} is not being shipped to Fabric."
        yield "Degraded", Reason("PublicationInactive", message)


def _retained(slot: Slot, storage_gib: int | None, settings: Settings) -> Iterator[Finding]:
    if slot.wal_status == "lost":
        remedy = "Restart the mirror; that seeds its tables anew."
        yield "Unhealthy", Reason("SlotLost", f"The server gave up WAL that the slot {slot.name!r} needs.", remedy)
        return
    if slot.wal_status == "unreserved":
        message = f"The next checkpoint may remove WAL that the slot {slot.name!r} needs."
        yield "Unhealthy", Reason("SlotAtRisk", message, "Let Fabric catch up, or raise max_slot_wal_keep_size.")
    retained = slot.retained_bytes / GIB
    percent = 100 * retained / storage_gib if storage_gib else 0
    limits: tuple[tuple[Level, float, float], ...] = (
        ("Unhealthy", settings.wal_critical_gib, settings.wal_critical_percent),
        ("Degraded", settings.wal_warn_gib, settings.wal_warn_percent),
    )
    for level, most_gib, most_percent in limits:
        if retained >= most_gib or percent >= most_percent:
            share = f", {percent:.0f} % of the server's storage" if storage_gib else ""
            message = (
                f"The slot {slot.name!r} retains {_size(slot.retained_bytes)} of WAL{share}; "
                f"the limit is {most_gib:g} GiB or {most_percent:g} %."
            )
            remedy = (
                "Find out why Fabric does not read it. Release a mirror that nobody needs, before the disk is full."
            )
            yield level, Reason("WalRetained", message, remedy)
            return


def _both(observation: Observation, settings: Settings) -> Iterator[Finding]:
    """What the tables of the database tell beside those that Fabric mirrors."""
    fabric, source = observation.fabric, observation.source
    if not isinstance(fabric, FabricSide) or not fabric.runs or not fabric.tables:
        return
    if not isinstance(source, SourceSide) or source.tables is None:
        return
    there = {_name(table): table for table in source.tables}
    mirrored = {_name(table) for table in fabric.tables}
    wanted = [table for name, table in there.items() if observation.mirror.everything or name in mirrored]
    foreign = [_name(t) for t in wanted if t.status != "ERROR" and t.owner != settings.fabric_role]
    if foreign:
        message = f"Role {settings.fabric_role!r} does not own {_counted(foreign)}."
        remedy = "Let the server be looked at again (PUT its mirroring, or change its tag): it takes them."
        yield "Degraded", Reason("TablesNotOwned", message, remedy)
    gone = sorted(mirrored - there.keys())
    if gone:
        remedy = "Restart the mirror if they are gone for good, or choose its tables anew."
        yield "Degraded", Reason("TablesGone", f"The database does not have any more: {_counted(gone)}.", remedy)
    unfit = [f"{_name(t)} ({', '.join(t.codes)})" for t in wanted if t.status == "ERROR"]
    if unfit:
        yield "Healthy", Reason("TablesNotEligible", f"The service does not mirror {_counted(unfit)}.")


def _cut(reason: Reason) -> Reason:
    """What services say may be of any length, and a row is not."""
    return Reason(reason.code, reason.message[:MOST], reason.remedy[:MOST])


def _name(table: TableStatus | SourceTable) -> str:
    return f"{table.schema}.{table.name}"


def _counted(names: list[str]) -> str:
    return f"{len(names)} {'table' if len(names) == 1 else 'tables'}: {_listed(names, ', ')}"


def _listed(texts: list[str], separator: str) -> str:
    more = f"{separator}and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return separator.join(texts[:NAMED]) + more


def _size(bytes: int) -> str:
    return f"{bytes / GIB:.1f} GiB" if bytes >= GIB else f"{bytes / MIB:.0f} MiB"
