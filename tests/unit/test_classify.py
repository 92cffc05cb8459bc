"""What observations mean: each rule at its threshold, and that the weightiest decides."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from shared.decisions.health import GIB, SEVERITY, Assessment, classify, is_suspect
from shared.decisions.observation import FabricSide, Observation, SourceSide, earlier_slot, pick
from shared.decisions.record import MOST_FAILING, judge
from shared.decisions.standing import BEING_MADE
from shared.desired.server_id import ServerId
from shared.fabric.facts import MirrorStatus, TableStatus
from shared.platform.reasons import Reason
from shared.records.columns import Watched
from shared.records.rows import HealthRow
from shared.source.facts import Slot, TrackedPublication
from shared.source.facts import TableStatus as SourceTable
from tests.unit.facts import settings
from tests.unit.test_documents import OPERATIONS, quoted, rows, section

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GUID = "11111111-1111-1111-1111-111111111111"
THRESHOLDS = {
    "HEALTH_GRACE_MINUTES": "15", "LATENCY_WARN_MINUTES": "15", "WAL_WARN_GIB": "5", "WAL_CRITICAL_GIB": "20",
}  # fmt: skip
SETTINGS = settings(**THRESHOLDS)
MIRROR = Watched(
    server=ServerId(GUID, "rg", "pg-1"), database="shop", workspace="w", item="i", item_name="pg-1-shop",
    changed_at=NOW - timedelta(hours=1),
)  # fmt: skip
SLOT = Slot(name="s", active=True, wal_status="reserved", retained_bytes=0, lag_bytes=0)
CHOSEN = msgspec.structs.replace(MIRROR, everything=False)
PUBLICATION = TrackedPublication(
    name="s", owner="fabric_user", destination_path="https://onelake/w/i/", active=True,
)  # fmt: skip
TABLE = TableStatus(
    schema="public", name="orders", status="Replicating", rows=7, bytes=70, last_sync_at=NOW, latency_seconds=2
)
OWNED = SourceTable(
    schema="public", name="orders", status="OK", codes=("HAS_PRIMARY_KEY",), message="", owner="app", reached=True,
)  # fmt: skip
DOWN = Reason("Unavailable", "down", "wait")
FAILED = TableStatus(schema="public", name="bad", status="Failed", error=Reason("X", "no key"))


def look(
    status: str = "Running",
    *tables: TableStatus,
    error: Reason | None = None,
    slot: Slot | None = SLOT,
    publication: TrackedPublication | None = PUBLICATION,
    **more: Any,
) -> Observation:
    seen: dict[str, Any] = {
        "mirror": MIRROR,
        "at": NOW,
        "fabric": FabricSide(MirrorStatus(status, error), tables or (TABLE,)),
        "source": SourceSide(slot, publication),
    }
    return Observation(**seen | more)


def slot(**changes: Any) -> Slot:
    return msgspec.structs.replace(SLOT, **changes)


def table(**changes: Any) -> TableStatus:
    return msgspec.structs.replace(TABLE, **changes)


def owned(**changes: Any) -> SourceTable:
    return msgspec.structs.replace(OWNED, **changes)


def in_database(*tables: SourceTable) -> SourceSide:
    return SourceSide(SLOT, PUBLICATION, tables)


YOUNG = msgspec.structs.replace(MIRROR, changed_at=NOW - timedelta(minutes=14))


def kept_of(observation: Observation, previous: HealthRow | None = None) -> HealthRow:
    return judge(observation, previous, settings(**THRESHOLDS, HEALTH_CONFIRMATIONS="1"))


def codes(observation: Observation) -> tuple[str, list[str]]:
    assessment = classify(observation, SETTINGS)
    return assessment.level, [reason.code for reason in assessment.reasons]


def test_how_much_has_to_wait_before_a_sync_is_stalled_is_a_setting() -> None:
    seen = look("Running", table(last_sync_at=NOW - timedelta(minutes=16)), slot=slot(lag_bytes=20 * 2**20))
    patient = settings(**THRESHOLDS, LAG_WARN_MIB="20")
    assert (classify(seen, SETTINGS).level, classify(seen, patient).level) == ("Degraded", "Healthy")


def test_a_mirror_that_replicates_is_healthy() -> None:
    assert classify(look(), SETTINGS) == Assessment("Healthy")


AT_GRACE = msgspec.structs.replace(MIRROR, changed_at=NOW - timedelta(minutes=15))
RULES: list[tuple[Observation, str, str]] = [
    (look(fabric=FabricSide(gone=True)), "Unhealthy", "MirrorMissing"),
    (look(error=Reason("InternalError", "Internal error")), "Unhealthy", "MirroringError"),
    (look("Stopped", error=Reason("E", "why")), "Unhealthy", "MirroringError"),
    (look("Paused"), "Unhealthy", "MirrorPaused"),
    (look("Stopped"), "Stopped", "MirrorStopped"),
    (look("Stopping"), "Stopped", "MirrorStopped"),
    (look("Initialized"), "Stopped", "MirrorStopped"),
    (look("Starting"), "Degraded", "StartIsSlow"),
    (look("Initializing"), "Degraded", "StartIsSlow"),
    (look("Hibernating"), "Unknown", "StatusUnknown"),
    (look("Running", TABLE, FAILED), "Degraded", "TablesFailing"),
    (look("Running", FAILED), "Unhealthy", "TablesFailing"),
    (look("Running", table(status="Stopped"), TABLE), "Degraded", "TablesFailing"),
    (look(fabric=FabricSide(MirrorStatus("Running"))), "Degraded", "NoTables"),
    (look("Running", table(latency_seconds=901)), "Degraded", "LatencyHigh"),
    (
        look("Running", table(last_sync_at=NOW - timedelta(minutes=16)), slot=slot(lag_bytes=2**24 + 1)),
        "Degraded",
        "SyncStalled",
    ),
    (look(slot=None), "Unhealthy", "SlotMissing"),
    (look(slot=slot(wal_status="lost", active=False)), "Unhealthy", "SlotLost"),
    (look(slot=slot(wal_status="unreserved")), "Unhealthy", "SlotAtRisk"),
    (look(slot=slot(retained_bytes=5 * GIB)), "Degraded", "WalRetained"),
    (look(slot=slot(retained_bytes=20 * GIB)), "Unhealthy", "WalRetained"),
    (look(slot=slot(active=False)), "Degraded", "SlotInactive"),
    (look(source=SourceSide(slot(retained_bytes=3 * GIB), storage_gib=30)), "Degraded", "WalRetained"),
    (look(source=SourceSide(slot(retained_bytes=3 * GIB), storage_gib=10)), "Unhealthy", "WalRetained"),
    (look(source=in_database(owned(reached=False))), "Degraded", "TablesNotOwned"),
    (look(source=in_database(OWNED, owned(name="new", reached=False))), "Degraded", "TablesNotOwned"),
    (look(source=in_database(owned(reached=False)), mirror=CHOSEN), "Degraded", "TablesNotOwned"),
    (look(source=in_database()), "Degraded", "TablesGone"),
    (look(source=in_database(OWNED, owned(name="v", status="ERROR"))), "Healthy", "TablesNotEligible"),
    (look(source=in_database(OWNED, owned(name="v", status="ERROR", reached=False))), "Healthy", "TablesNotEligible"),
    (look("Running", TABLE, msgspec.structs.replace(FAILED, latency_seconds=9999)), "Degraded", "TablesFailing"),
    (look(slot=None, mirror=AT_GRACE), "Unhealthy", "SlotMissing"),
    (look("Stopped", source=in_database(OWNED, owned(reached=False))), "Stopped", "MirrorStopped"),
    (
        look(fabric=FabricSide(MirrorStatus("Running")), source=in_database(OWNED, owned(reached=False))),
        "Degraded",
        "NoTables",
    ),
    (
        look(publication=msgspec.structs.replace(PUBLICATION, active=False)),
        "Degraded",
        "PublicationInactive",
    ),
    (look(fabric=Reason("Unavailable", "Fabric is out of reach")), "Unknown", "FabricUnknown"),
    (look(source=Reason("Unavailable", "PostgreSQL is out of reach")), "Unknown", "SourceUnknown"),
    (look(fabric=FabricSide(None, (TABLE,), unseen=DOWN)), "Unknown", "FabricUnknown"),
    (look(source=SourceSide(SLOT, unseen=DOWN)), "Unknown", "SourceUnknown"),
]


@pytest.mark.parametrize(("observation", "level", "code"), RULES)
def test_each_rule(observation: Observation, level: str, code: str) -> None:
    assert codes(observation) == (level, [code])
    (reason,) = classify(observation, SETTINGS).reasons
    assert reason.message


def test_the_documented_levels_of_each_reason_are_those_of_the_rules() -> None:
    levels: dict[str, set[str]] = {BEING_MADE.code: {"Unknown"}}
    for _, level, code in RULES:
        levels.setdefault(code, set()).add(level)
    documented = {
        code: set(cells[1].split(" or "))
        for cells in rows(section(OPERATIONS, "Health"))
        for code in quoted(cells[0])
        if code not in SEVERITY
    }
    assert documented == levels


def test_a_glance_that_shows_nothing_wrong_is_enough() -> None:
    glance = look(fabric=FabricSide(None, (TABLE,)), source=SourceSide(slot(lag_bytes=2**24)))
    assert not is_suspect(glance, SETTINGS)
    assert is_suspect(msgspec.structs.replace(glance, source=SourceSide(slot(lag_bytes=2**24 + 1))), SETTINGS)
    assert is_suspect(msgspec.structs.replace(glance, fabric=FabricSide(None, (FAILED,))), SETTINGS)
    assert is_suspect(msgspec.structs.replace(glance, source=DOWN), SETTINGS)


@pytest.mark.parametrize(
    "observation",
    [
        look("Running", table(status="Snapshotting"), table(status="Reseeding"), table(status="Initialized")),
        look("Running", table(latency_seconds=900)),
        look("Running", table(latency_seconds=None, last_sync_at=None)),
        look("Running", table(last_sync_at=NOW - timedelta(days=9))),  # nobody writes: nothing waits
        look("Running", slot=slot(lag_bytes=2**40)),  # it was synced just now
        look(slot=slot(retained_bytes=5 * GIB - 1)),
        look(slot=slot(wal_status="extended")),
        look(publication=None),
        look(fabric=FabricSide(None, (TABLE,))),  # its status was not asked for: nothing spoke against it
        look(source=in_database(OWNED)),
        look(source=in_database(OWNED, owned(name="other", reached=False)), mirror=CHOSEN),  # it is not chosen
        look(source=SourceSide(slot(retained_bytes=GIB), storage_gib=11)),
        look("Running", table(last_sync_at=NOW - timedelta(minutes=15)), slot=slot(lag_bytes=2**40)),
        look("Running", table(last_sync_at=NOW - timedelta(hours=1)), TABLE, slot=slot(lag_bytes=2**40)),
    ],
)
def test_what_is_still_fine(observation: Observation) -> None:
    assert codes(observation) == ("Healthy", [])


@pytest.mark.parametrize(
    "observation",
    [
        look("Initializing", mirror=YOUNG),
        look("Initialized", mirror=YOUNG),
        look("Starting", mirror=YOUNG),
        look("Starting", mirror=YOUNG, slot=None, publication=None),
        look(mirror=YOUNG, slot=None),
        look(mirror=YOUNG, slot=slot(active=False)),
        look(mirror=YOUNG, fabric=FabricSide(MirrorStatus("Running"))),
        look(mirror=YOUNG, source=SourceSide(SLOT, PUBLICATION, ())),
    ],
)
def test_a_mirror_that_just_started_is_not_blamed_for_starting(observation: Observation) -> None:
    assert codes(observation) == ("Healthy", [])


@pytest.mark.parametrize(
    ("observation", "level"),
    [
        (look("Stopped", mirror=YOUNG), "Stopped"),
        (look("Running", FAILED, mirror=YOUNG), "Unhealthy"),
        (look(mirror=YOUNG, slot=slot(retained_bytes=20 * GIB)), "Unhealthy"),
    ],
)
def test_but_for_everything_else_it_is(observation: Observation, level: str) -> None:
    assert codes(observation)[0] == level


def test_what_the_database_tells_says_which_tables_and_what_to_do() -> None:
    strangers = [owned(name=f"t{n}", reached=False) for n in range(7)]
    unfit = owned(name="parts", status="ERROR", codes=("NOT_REGULAR_TABLE",))
    reasons = classify(look(source=in_database(OWNED, *strangers, unfit)), SETTINGS).reasons
    assert [reason.message for reason in reasons] == [
        (
            "Role 'fabric_user' has no rights of the owner of 7 tables: "
            "public.t0, public.t1, public.t2, public.t3, public.t4 and 2 more."
        ),
        "The service does not mirror 1 table: public.parts (NOT_REGULAR_TABLE).",
    ]
    assert "gets them" in reasons[0].remedy
    (gone,) = classify(look(source=in_database()), SETTINGS).reasons
    assert gone.message == "The database does not have any more: 1 table: public.orders."


def test_the_slowest_table_is_named() -> None:
    seen = look("Running", table(name="a", latency_seconds=1000), table(name="b", latency_seconds=2000), TABLE)
    assert classify(seen, SETTINGS).reasons[0].message == "public.b is 2,000 s behind; tables over 0:15:00: 2."


@pytest.mark.parametrize(("bytes", "size"), [(GIB, "1.0 GiB"), (GIB - 2**20, "1023 MiB")])
def test_sizes_are_readable(bytes: int, size: str) -> None:
    side = SourceSide(slot(retained_bytes=bytes), storage_gib=2)
    assert (
        f"retains {size} of WAL, 50 % of the server's storage"
        in classify(look(source=side), SETTINGS).reasons[0].message
    )


def test_what_fabric_says_of_a_table_is_cut() -> None:
    seen = look("Running", TABLE, msgspec.structs.replace(FAILED, error=Reason("X", "e" * 5000)))
    assert len(classify(seen, SETTINGS).reasons[0].message) < 400
    assert len(kept_of(seen).failing[0].message) < 400


def test_what_services_say_is_cut_so_that_it_fits_into_a_row() -> None:
    long = Reason("E" * 5000, "m" * 50_000, "r" * 50_000)
    for seen in (
        look(error=long),
        look("S" * 5000),
        look(fabric=long, source=long),
        look(source=in_database(owned(status="ERROR", codes=("C" * 50_000,)))),
        look("Running", msgspec.structs.replace(FAILED, error=long)),
    ):
        kept = kept_of(seen)
        assert kept.reasons
        for reason in (*kept.reasons, *kept.failing):
            assert len(reason.code) + len(reason.message) + len(reason.remedy) < 6000, reason.code


def test_a_slot_is_known_until_its_mirror_is_started_anew() -> None:
    before = kept_of(look())
    assert earlier_slot(MIRROR, None) == ""
    assert earlier_slot(MIRROR, before) == "s"
    assert earlier_slot(msgspec.structs.replace(MIRROR, changed_at=before.updated_at), before) == "s"
    restarted = msgspec.structs.replace(MIRROR, changed_at=NOW + timedelta(minutes=1))
    assert earlier_slot(restarted, before) == ""
    gone = look(at=NOW + timedelta(minutes=5), slot=None)
    assert kept_of(gone, before).slot == "s"
    assert kept_of(msgspec.structs.replace(gone, mirror=restarted), before).slot == ""


def test_what_a_glance_does_not_ask_for_stays_as_it_was() -> None:
    first = kept_of(look(source=SourceSide(slot(retained_bytes=5), PUBLICATION, (OWNED,), 128)))
    assert (first.status, first.details_at, first.slot, first.storage_gib) == ("Running", NOW, "s", 128)
    later = NOW + timedelta(minutes=5)
    glance = look(at=later, fabric=FabricSide(None, (table(rows=9),)), source=SourceSide(SLOT, storage_gib=128))
    second = kept_of(glance, first)
    assert (second.status, second.details_at, second.rows, second.tables_at) == ("Running", NOW, 9, later)
    away = kept_of(look(at=later, fabric=Reason("U", "down"), source=Reason("U", "down")), first)
    assert (away.level, away.status, away.rows, away.tables_at) == ("Unknown", "", None, None)
    assert (away.slot_active, away.retained_wal_bytes, away.updated_at) == (None, None, later)
    assert (away.details_at, away.slot, away.storage_gib) == (NOW, "s", 128)  # the next look needs them


def test_a_stopped_mirror_that_fills_the_disk_is_unhealthy() -> None:
    seen = look("Stopped", slot=slot(active=False, retained_bytes=30 * GIB))
    assert codes(seen) == ("Unhealthy", ["WalRetained", "MirrorStopped"])
    assert "retains 30.0 GiB of WAL; the limit is 20 GiB or 30 %." in classify(seen, SETTINGS).reasons[0].message


def test_the_weightiest_reason_comes_first() -> None:
    seen = look("Running", TABLE, FAILED, slot=slot(wal_status="unreserved", retained_bytes=6 * GIB))
    assert codes(seen) == ("Unhealthy", ["SlotAtRisk", "TablesFailing", "WalRetained"])


def test_one_side_unknown_does_not_hide_the_other() -> None:
    seen = look("Running", FAILED, source=Reason("Unavailable", "down"))
    assert codes(seen) == ("Unhealthy", ["TablesFailing", "SourceUnknown"])
    seen = look(fabric=Reason("Unavailable", "down"), slot=slot(retained_bytes=20 * GIB))
    assert codes(seen) == ("Unhealthy", ["WalRetained", "FabricUnknown"])


def test_a_part_that_is_not_seen_does_not_hide_what_is() -> None:
    seen = look(source=SourceSide(slot(retained_bytes=20 * GIB, active=False), unseen=DOWN))
    assert codes(seen) == ("Unhealthy", ["WalRetained", "SlotInactive", "SourceUnknown"])
    assert classify(seen, SETTINGS).reasons[-1] == Reason("SourceUnknown", "down", "wait")
    kept = kept_of(seen)
    assert (kept.slot, kept.slot_active, kept.retained_wal_bytes) == ("s", False, 20 * GIB)
    seen = look(fabric=FabricSide(None, (TABLE, FAILED), unseen=DOWN), slot=slot(active=False))
    assert codes(seen) == ("Degraded", ["TablesFailing", "SlotInactive", "FabricUnknown"])
    kept = kept_of(seen, kept_of(look(at=NOW - timedelta(minutes=5))))
    assert (kept.tables, kept.status, kept.details_at) == (2, "Running", NOW - timedelta(minutes=5))


def test_a_mirror_whose_status_is_not_seen_may_well_be_stopped() -> None:
    stopped = FabricSide(None, (table(status="Stopped"), table(status="Stopped")), unseen=DOWN)
    assert codes(look(fabric=stopped, slot=None)) == ("Unknown", ["FabricUnknown"])


def test_failing_tables_are_named_counted_and_capped() -> None:
    many = [msgspec.structs.replace(FAILED, name=f"t{n:02}") for n in range(30)]
    seen = look("Running", TABLE, *many)
    (reason,) = classify(seen, SETTINGS).reasons
    assert reason.message.startswith("30 of 31 tables fail. public.t00: no key; public.t01: no key")
    assert reason.message.endswith("; and 25 more")
    kept = kept_of(seen)
    assert (kept.tables, kept.tables_replicating, kept.tables_failing) == (31, 1, 30)
    assert len(kept.failing) == MOST_FAILING


def test_every_level_has_its_place() -> None:
    assert set(SEVERITY) == {"Healthy", "Unknown", "Stopped", "Degraded", "Unhealthy"}


def test_what_is_kept_of_an_observation() -> None:
    seen = look("Running", TABLE, table(name="lines", rows=3, bytes=30, latency_seconds=9), slot=slot(retained_bytes=5))
    kept = kept_of(seen)
    assert (kept.level, kept.since, kept.status) == ("Healthy", NOW, "Running")
    assert (kept.rows, kept.bytes, kept.latency_seconds, kept.last_sync_at) == (10, 100, 9, NOW)
    assert (kept.slot_active, kept.wal_status, kept.retained_wal_bytes) == (True, "reserved", 5)
    later = msgspec.structs.replace(seen, at=NOW + timedelta(minutes=5))
    assert kept_of(later, kept).since == NOW
    assert kept_of(msgspec.structs.replace(later, source=SourceSide(slot(active=False))), kept).since == later.at


def test_unknown_sides_leave_their_figures_open() -> None:
    seen = look(fabric=Reason("U", "down"), source=Reason("U", "down"))
    kept = kept_of(seen)
    assert (kept.tables, kept.rows, kept.latency_seconds, kept.slot_active, kept.retained_wal_bytes) == (None,) * 5
    assert kept.level == "Unknown"


def test_the_slot_bears_the_name_of_the_items_publication() -> None:
    others = msgspec.structs.replace(PUBLICATION, name="o", destination_path="https://onelake/w/other/")
    slots = (slot(name="o"), SLOT)
    assert pick("I", slots, (others, PUBLICATION)) == SourceSide(SLOT, PUBLICATION)
    assert pick("i", (slot(name="o"),), (others, PUBLICATION)) == SourceSide(None, PUBLICATION)
    assert pick("i", slots, (others,)) == SourceSide(None, None)
    assert pick("i", (SLOT,), ()) == SourceSide(SLOT, None)
    assert pick("i", slots, (), earlier="s") == SourceSide(SLOT, None)
    assert pick("i", (SLOT,), (), earlier="gone") == SourceSide(None, None)
