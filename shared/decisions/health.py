"""What an observation means: a level, and the reasons for it, the weightiest first. Pure.

docs/operations.md lists the codes with their levels and remedies. Within the grace time after it was last changed or
started, a mirror is not blamed for what only starting explains.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import msgspec

from shared.decisions.observation import RUNNING, FabricSide, Observation, SourceSide
from shared.fabric.facts import MirrorStatus, TableStatus
from shared.platform.brief import listed
from shared.platform.reasons import Reason
from shared.platform.settings import Settings
from shared.records.rows import Level, Remembered
from shared.source.facts import Slot
from shared.source.facts import TableStatus as SourceTable

SEVERITY: tuple[Level, ...] = ("Healthy", "Unknown", "Stopped", "Degraded", "Unhealthy")
"""The levels, the worst last."""

STARTING = frozenset({"Initializing", "Starting"})
STOPPED = frozenset({"Initialized", "Stopping", "Stopped"})
AT_WORK = frozenset({"Initialized", "Snapshotting", "Replicating", "Reseeding"})
"""Statuses of a table that is fine."""
NOTES = frozenset({"TablesNotEligible"})
"""Reasons that do not change the level."""
GIB = 2**30
MIB = 2**20
LONGEST = 300
"""Characters of what Fabric says of one table."""
MOST = 2500
"""Characters of any text of a reason: room for `NAMED` tables, and for what Fabric says of each."""
TABLE_REMEDY = (
    "The server's readiness says what a table lacks. Where Fabric does not take it up by itself, restart the mirror."
)
COPY_AGAIN = "Restart the mirror: Fabric then copies every table again."
WAIT_FIRST = f"Wait a few minutes. If it lasts: {COPY_AGAIN}"
LOOK_AGAIN = "Have the server looked at again: PUT its mirroring, or change its tag."

type Finding = tuple[Level, Reason]


class Assessment(msgspec.Struct, frozen=True):
    """How a mirror is doing, and why, the weightiest reason first."""

    level: Level
    reasons: tuple[Reason, ...] = ()


def classify(observation: Observation, settings: Settings) -> Assessment:
    """What the observation means with the thresholds of these settings."""
    young = observation.at - observation.mirror.changed_at < timedelta(minutes=settings.health.grace_minutes)
    findings = [*_fabric(observation, settings, young), *_source(observation, settings, young)]
    if not young:
        findings += _both(observation, settings)
    findings.sort(key=lambda finding: SEVERITY.index(finding[0]), reverse=True)
    return Assessment(findings[0][0] if findings else "Healthy", tuple(_cut(reason) for _, reason in findings))


def is_suspect(glance: Observation, settings: Settings) -> bool:
    """Whether a glance, which asks neither for the status nor for the tables of the database, calls for the rest."""
    slot = glance.source.slot if isinstance(glance.source, SourceSide) else None
    behind = slot is not None and slot.lag_bytes > settings.health.lag_warn_mib * MIB
    return behind or classify(glance, settings).level != "Healthy"


def with_notes(assessment: Assessment, observation: Observation, previous: Remembered | None) -> Assessment:
    """The assessment, with the notes of the previous one if this look left out the tables of the database, which the
    notes are about."""
    source = observation.source
    if previous is None or isinstance(source, Reason) or source.tables is not None:
        return assessment
    notes = tuple(reason for reason in previous.reasons if reason.code in NOTES)
    return msgspec.structs.replace(assessment, reasons=(*assessment.reasons, *notes))


def failing_tables(tables: tuple[TableStatus, ...]) -> tuple[Reason, ...]:
    """The tables that don't replicate, in order of name, each with the beginning of what Fabric says of it."""
    failing = sorted((t for t in tables if t.status not in AT_WORK), key=_name)
    return tuple(
        Reason(
            (t.error.code if t.error else t.status)[:LONGEST],
            f"{_name(t)}: {(t.error.message if t.error else t.status)[:LONGEST]}",
            TABLE_REMEDY,
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
                f"{LOOK_AGAIN} The app then makes another one.",
            ),
        )
    if isinstance(side, FabricSide) and side.status:
        yield from _status(side.status, young)
    if isinstance(side, FabricSide) and side.runs:
        yield from _tables(side.tables, observation, settings, young)


def _status(status: MirrorStatus, young: bool) -> Iterator[Finding]:
    if status.error:
        remedy = f"See the mirror's tables in the Fabric portal. Where a right was taken away: {LOOK_AGAIN}"
        yield "Unhealthy", Reason("MirroringError", f"{status.error.message} ({status.error.code})", remedy)
    elif status.status == "Paused":
        remedy = "Resume the capacity, then restart the mirror. Until then its slot retains WAL on the server."
        yield "Unhealthy", Reason("MirrorPaused", "The mirror is paused, as its capacity was.", remedy)
    elif status.status in STARTING:
        if not young:
            remedy = "A large database takes long to copy. If nothing moves, see its tables in the Fabric portal."
            yield "Degraded", Reason("StartIsSlow", f"The mirror is still {status.status}.", remedy)
    elif status.status in STOPPED:
        if not young or status.status != "Initialized":
            yield "Stopped", Reason("MirrorStopped", f"The mirror is {status.status}.", "Start it, or release it.")
    elif status.status != RUNNING:
        remedy = "See it in the Fabric portal; a later version of the app may know the status."
        yield "Unknown", Reason("StatusUnknown", f"Fabric calls the mirror {status.status!r}.", remedy)


def _tables(
    tables: tuple[TableStatus, ...], observation: Observation, settings: Settings, young: bool
) -> Iterator[Finding]:
    failing = failing_tables(tables)
    if failing:
        message = f"{len(failing)} of {len(tables)} tables fail. {listed([reason.message for reason in failing], '; ')}"
        yield "Unhealthy" if len(failing) == len(tables) else "Degraded", Reason("TablesFailing", message, TABLE_REMEDY)
    if not tables and not young:
        remedy = "Give the database a table that can be mirrored, or release it."
        yield "Degraded", Reason("NoTables", "The mirror runs without a single table.", remedy)
    limit = timedelta(minutes=settings.health.latency_warn_minutes)
    slow = [t for t in tables if t.status in AT_WORK and (t.latency_seconds or 0) > limit.total_seconds()]
    if slow:
        worst = max(slow, key=lambda t: t.latency_seconds or 0)
        message = (
            f"{worst.schema}.{worst.name} is {worst.latency_seconds:,.0f} s behind; tables over {limit}: {len(slow)}."
        )
        remedy = (
            "A burst passes. If it lasts: is the capacity large enough, and is a long transaction open on the server?"
        )
        yield "Degraded", Reason("LatencyHigh", message, remedy)
    synced = max((t.last_sync_at for t in tables if t.last_sync_at), default=None)
    slot = observation.source.slot if isinstance(observation.source, SourceSide) else None
    if synced and slot and slot.lag_bytes > settings.health.lag_warn_mib * MIB and observation.at - synced > limit:
        message = f"{_size(slot.lag_bytes)} of WAL wait, and the last sync was at {synced:%Y-%m-%d %H:%M:%S} UTC."
        yield "Degraded", Reason("SyncStalled", message, f"If it lasts: {COPY_AGAIN}")


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
        yield "Unhealthy", Reason("SlotMissing", "The mirror's replication slot is gone from the server.", COPY_AGAIN)
    elif not side.slot.active and side.slot.wal_status != "lost":
        yield "Degraded", Reason("SlotInactive", f"Nobody reads the replication slot {side.slot.name!r}.", WAIT_FIRST)
    if side.publication and not side.publication.active:
        message = f"The publication {side.publication.name!r} is not being shipped to Fabric."
        yield "Degraded", Reason("PublicationInactive", message, WAIT_FIRST)


def _retained(slot: Slot, storage_gib: int | None, settings: Settings) -> Iterator[Finding]:
    if slot.wal_status == "lost":
        yield "Unhealthy", Reason("SlotLost", f"The server gave up WAL that the slot {slot.name!r} needs.", COPY_AGAIN)
        return
    if slot.wal_status == "unreserved":
        message = f"The next checkpoint may remove WAL that the slot {slot.name!r} needs."
        yield "Unhealthy", Reason("SlotAtRisk", message, "Let Fabric catch up, or raise max_slot_wal_keep_size.")
    retained = slot.retained_bytes / GIB
    percent = 100 * retained / storage_gib if storage_gib else 0
    limits: tuple[tuple[Level, float, float], ...] = (
        ("Unhealthy", settings.health.wal_critical_gib, settings.health.wal_critical_percent),
        ("Degraded", settings.health.wal_warn_gib, settings.health.wal_warn_percent),
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
    """What the tables of the database say, compared with those that Fabric mirrors."""
    fabric, source = observation.fabric, observation.source
    if not isinstance(fabric, FabricSide) or not fabric.runs or not fabric.tables:
        return
    if not isinstance(source, SourceSide) or source.tables is None:
        return
    in_database = {_name(table): table for table in source.tables}
    mirrored = {_name(table) for table in fabric.tables}
    concerned = [table for name, table in in_database.items() if observation.mirror.everything or name in mirrored]
    foreign = [_name(t) for t in concerned if t.status != "ERROR" and not t.reached]
    if foreign:
        message = f"Role {settings.login.role!r} has no rights of the owner of {_counted(foreign)}."
        yield "Degraded", Reason("TablesNotOwned", message, f"{LOOK_AGAIN} The role then gets them.")
    gone = sorted(mirrored - in_database.keys())
    if gone:
        remedy = "If they are gone for good, restart the mirror, or choose other tables for it."
        yield "Degraded", Reason("TablesGone", f"The database does not have any more: {_counted(gone)}.", remedy)
    unfit = [f"{_name(t)} ({', '.join(t.codes)})" for t in concerned if t.status == "ERROR"]
    if unfit:
        remedy = "Nothing, if nobody needs them in Fabric. The server's readiness says what each of them lacks."
        yield "Healthy", Reason("TablesNotEligible", f"The service does not mirror {_counted(unfit)}.", remedy)


def _cut(reason: Reason) -> Reason:
    """The reason with texts of bounded length: those of services have any."""
    return Reason(reason.code, reason.message[:MOST], reason.remedy[:MOST])


def _name(table: TableStatus | SourceTable) -> str:
    return f"{table.schema}.{table.name}"


def _counted(names: list[str]) -> str:
    return f"{len(names)} {'table' if len(names) == 1 else 'tables'}: {listed(names)}"


def _size(bytes: int) -> str:
    return f"{bytes / GIB:.1f} GiB" if bytes >= GIB else f"{bytes / MIB:.0f} MiB"
