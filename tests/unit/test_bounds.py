"""Nothing grows beyond what holds it: rows, answers of activities, notices, however many tables there are.

Each test fills its record with 5,000 tables whose names have 63 bytes, several reasons each.
"""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions import bodies, messages
from functions.corridor import Value
from shared.decisions import announce, outcome, progress, run
from shared.decisions.answers import Prepare, Refuse
from shared.decisions.observation import FabricSide, Observation, SourceSide
from shared.decisions.progress import LONGEST
from shared.decisions.readiness import Report
from shared.decisions.readiness.report import MOST_BYTES as MOST_OF_REPORT
from shared.decisions.record import judge, notice
from shared.decisions.sweep import plan
from shared.desired.intent import Wish, read_body
from shared.desired.server_id import ServerId
from shared.desired.takeover import FormerOwner, Grant, NotTakeable, Relation, Takeover
from shared.fabric.facts import MirrorStatus
from shared.fabric.facts import TableStatus as FabricTable
from shared.platform import brief, reasons
from shared.platform.errors import Blocked
from shared.platform.reasons import MORE, MOST_BYTES, Reason
from shared.platform.table import ENTITY_BYTES, PIECE, PIECES, decode, encode
from shared.records import store, topic
from shared.records.columns import Watched
from shared.records.notices import MOST_MIRRORS, Notice
from shared.records.rows import HealthRow, MirrorRow, ServerRow
from shared.source.facts import Missing, Slot, TableReport, TableStatus
from shared.steps import holdings
from tests.unit import facts
from tests.unit.facts import SERVER, SUBSCRIPTION, settings
from tests.unit.prepared import inside, intent, report
from tests.unit.test_observation import NOW

TABLES = 5000
NAME = "表" * 19
"""Three bytes of UTF-8 a character."""
CODES = ("UNSUPPORTED_DATA_TYPE", "NUMERIC_WITHOUT_PRECISION", "NO_INDEX_FULL_IDENTITY", "ROW_SECURITY")
GRPC_BYTES = 4 * 2**20
"""`maxGrpcMessageSizeInBytes` of the Durable extension."""
NOTICE_BYTES = 64 * 1024


def named(number: int) -> str:
    name = f"{NAME}{number:06}"
    assert len(name.encode()) == 63
    return name


def tables(status: str) -> TableReport:
    """Each table with its owner and several codes, whose columns the message names."""
    columns = ", ".join(named(column) for column in range(10))
    return TableReport(
        tuple(
            TableStatus(
                schema=named(0), name=named(number), status=status, codes=CODES[number % 3 :], owner=named(number),
                message=f"Columns {columns} are left out: their type can't be mirrored.",
            )
            for number in range(TABLES)
        ),
        TABLES,
    )  # fmt: skip


@pytest.fixture(scope="module")
def warned() -> Report:
    return report(databases=(inside(tables=tables("WARNING")),))


@pytest.fixture(scope="module")
def refused() -> Report:
    """As many tables that can't be taken, of as many owners, and as many grants that the app may not give."""
    not_takeable = tuple(
        NotTakeable(named(0), named(number), named(number), f'GRANT "{named(number)}" TO "app";', (named(number),))
        for number in range(TABLES)
    )
    missing = tuple(
        Missing(f"USAGE ON SCHEMA {named(number)}", f'GRANT "{named(number)}" TO "app";', (named(number),))
        for number in range(TABLES)
    )
    return report(databases=(inside(not_takeable=not_takeable, missing=missing),))


def utf16(row: Any) -> int:
    return sum(len(value.encode("utf-16-le")) for value in encode(row).values() if isinstance(value, str))


def decision(found: Report) -> Prepare | Refuse:
    return run.after_report(facts.server(), intent(), None, (), found, False, settings())


def longest_wish() -> Wish:
    """The largest body that a door takes, of characters that take most in a row."""
    tables, body = list[dict[str, str]](), b""
    while len(body) < bodies.MOST_BYTES - 3000:
        tables += [
            {"database": named(1), "schema": named(len(tables)), "table": named(len(tables) + n)} for n in range(10)
        ]
        body = json.dumps({"tables": tables}, ensure_ascii=False, separators=(",", ":")).encode()
    wish = read_body(body)
    assert len(wish.tables) >= 1000
    return wish


def server_row(found: Report, ended: outcome.Outcome) -> ServerRow:
    return ServerRow(
        id=SERVER, request=longest_wish(), report=msgspec.json.encode(found.short).decode(), report_id="f" * 16,
        reasons=ended.reasons, announced="x" * 2000,
    )  # fmt: skip


def test_mere_warnings_leave_a_server_mirrorable(warned: Report) -> None:
    decided = decision(warned)
    assert isinstance(decided, Prepare)
    row = server_row(warned, outcome.of_preparation(()))
    assert utf16(row) < ENTITY_BYTES
    assert decode(ServerRow, encode(row)) == row


def test_a_report_in_short_form_counts_by_code(warned: Report) -> None:
    short = warned.short
    assert brief.size(warned) > ENTITY_BYTES
    assert brief.size(short) <= MOST_OF_REPORT
    assert sum(short.left_out.values()) + len(short.checks) == len(warned.checks)
    assert {", ".join(CODES[first:]) for first in range(3)} <= short.left_out.keys()
    assert short.plan == warned.plan
    assert short.short == short


def test_what_fails_comes_first_in_a_report_in_short_form(refused: Report) -> None:
    assert {check.status for check in refused.short.checks[:2]} == {"fail"}
    assert {"TableNotTakeable", "GrantNotPermitted"} <= refused.short.left_out.keys()


def test_a_small_report_stays_as_it_is() -> None:
    assert report().short == report()


def test_a_report_in_full_fits_into_its_rows(warned: Report) -> None:
    written = msgspec.json.encode(warned).decode()
    parts = store.parts_of(SERVER, written)
    assert len(parts) > 1
    assert max(utf16(part) for part in parts) < ENTITY_BYTES
    assert "".join(decode(type(part), encode(part)).text for part in parts) == written
    assert {part.parts for part in parts} == {len(parts)}
    assert sorted(part.keys for part in parts) == [part.keys for part in parts]
    assert store.parts_of(SERVER, written) == parts
    assert store.parts_of(SERVER, written + " ")[0].report_id != parts[0].report_id
    assert utf16(store.parts_of(SERVER, "𝕏" * store.PART)[0]) < ENTITY_BYTES


def test_a_run_that_ends_for_thousands_of_reasons_is_recorded(refused: Report) -> None:
    assert len(refused.failures) == 2 * TABLES
    decided = decision(refused)
    assert isinstance(decided, Refuse)
    ended = outcome.blocked(*decided.reasons, *decided.reasons)
    row = server_row(refused, ended)
    assert utf16(row) < ENTITY_BYTES
    assert decode(ServerRow, encode(row)) == row
    assert {reason.code for reason in ended.reasons} == {"TableNotTakeable", "GrantNotPermitted", MORE}
    assert all(reason.remedy for reason in ended.reasons)
    for value in (Value(decided), messages.RecordOutcome(server=SERVER, outcome=ended)):
        assert len(json.dumps(msgspec.to_builtins(value))) < GRPC_BYTES


def test_a_list_of_servers_reads_reasons_whole(refused: Report) -> None:
    """A view reads the first properties of a column alone."""
    written = msgspec.json.encode(reasons.short(refused.failures)).decode()
    assert len(written) <= MOST_BYTES < PIECE * PIECES


def test_the_counts_say_how_many_there_are(refused: Report) -> None:
    short = reasons.short(refused.failures)
    shown = [reason for reason in short if reason.code != MORE]
    [more] = [reason for reason in short if reason.code == MORE]
    left = {code: TABLES - sum(it.code == code for it in shown) for code in ("TableNotTakeable", "GrantNotPermitted")}
    for code, count in left.items():
        assert f"{count:,} of {code}" in more.message


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=3000)
some_reasons = st.lists(st.builds(Reason, st.sampled_from(["A", "B", "C" * 500]) | texts, texts, texts), max_size=60)


@given(some_reasons)
@hypothesis.settings(max_examples=40, deadline=None)
def test_any_reasons_fit_and_stay_as_they_are_then(given_reasons: list[Reason]) -> None:
    short = reasons.short(given_reasons)
    assert brief.size(short) <= MOST_BYTES
    assert reasons.short(short) == short
    assert bool(short) == bool(given_reasons)


def test_few_short_reasons_stay_as_they_are() -> None:
    few = (Reason("A", "a", "do"), Reason("B", "b", "do"), Reason("A", "c", "do"))
    assert reasons.short(few) == few


def test_the_longest_error_of_a_service_is_cut() -> None:
    reason = reasons.of(Blocked("\x01" * 2**20, code="X" * 5000, remedy=NAME * 2**16))
    assert len(json.dumps(msgspec.to_builtins(reason))) < 3 * 2 * reasons.LONGEST + 1000
    assert reason.message.endswith("…")


# Mirrors


def test_the_record_of_a_takeover_leaves_room_for_what_a_run_records() -> None:
    def record(count: int) -> Takeover:
        grants = tuple(Grant(named(n), named(n), "arwdDxt") for n in range(3))
        return Takeover(
            named(0),
            tuple(FormerOwner(table=Relation(n, "r", named(n), named(n), named(n), grants)) for n in range(count)),
        )

    sizes = {count: len(msgspec.json.encode(record(count)).decode().encode("utf-16-le")) for count in (1000, 3000)}
    assert sizes[1000] < holdings.MOST_BYTES < sizes[3000]
    fitting = record(990 * holdings.MOST_BYTES // sizes[1000])
    holdings.require_recordable("shop", fitting)
    with pytest.raises(Blocked) as error:
        holdings.require_recordable("shop", record(3000))
    assert error.value.code == "RecordTooLarge"
    assert error.value.remedy
    many = reasons.short([Reason(f"C{n}", NAME * 200, NAME * 200) for n in range(50)])
    row = MirrorRow(
        server=SERVER, database=named(0), takeover=fitting, prerequisites=many, rights_why=brief.cut(NAME * 500, 4000),
        reasons=tuple(Reason("X" * 300, NAME * 20, NAME * 20) for _ in range(21)), workspace_name=NAME * 10,
    )  # fmt: skip
    assert utf16(row) < ENTITY_BYTES


def observed(failing: int) -> Observation:
    error = Reason("E" * 5000, NAME * 500)
    fabric = tuple(FabricTable(schema=named(0), name=named(n), status="Failed", error=error) for n in range(failing))
    mirror = Watched(server=SERVER, database=named(0), workspace="w", workspace_name=NAME, item="i")
    slot = Slot(name=named(0), active=False, wal_status="unreserved", retained_bytes=2**40, lag_bytes=2**40)
    source = SourceSide(slot, None, tables("ERROR").tables, 128, Reason("S", NAME * 5000, "Do."))
    status = MirrorStatus("Paused", Reason("E" * 5000, NAME * 5000))
    side = FabricSide(status, fabric, unseen=Reason("F", NAME * 5000, NAME * 5000))
    return Observation(mirror=mirror, at=NOW, fabric=side, source=source)


def test_a_sick_mirror_of_thousands_of_tables_fits_into_its_row_and_notice() -> None:
    row = judge(observed(TABLES), None, settings(HEALTH_CONFIRMATIONS="1"))
    assert row.level == "Unhealthy"
    assert utf16(row) < ENTITY_BYTES
    assert decode(HealthRow, encode(row)) == row
    assert brief.size(row.reasons) <= MOST_BYTES
    assert bytes_of(notice(row)) < NOTICE_BYTES


def bytes_of(notice: Notice) -> int:
    """Of the event as the SDK sends it: JSON in ASCII."""
    event = topic.event_of(notice)
    around = {"source": event.source, "type": event.type, "subject": event.subject, "id": event.id, "time": event.time}
    return len(json.dumps({**around, "data": event.data, "datacontenttype": "application/json"}, default=str))


def test_a_notice_of_thousands_of_reasons_or_mirrors_is_one_unit_of_event_grid(refused: Report) -> None:
    mirrors = [MirrorRow(server=SERVER, database=named(n), workspace="w" * 36, item="i" * 36) for n in range(TABLES)]
    blocked = ServerRow(id=SERVER, phase="Blocked", reasons=refused.failures, run="r" * 200)
    assert bytes_of(announce.notice(blocked, mirrors)) < NOTICE_BYTES
    prepared = announce.notice(ServerRow(id=SERVER, phase="Mirrored"), mirrors)
    assert bytes_of(prepared) < NOTICE_BYTES
    assert (len(prepared.data.mirrors), prepared.data.count) == (MOST_MIRRORS, TABLES)  # type: ignore[union-attr]


def test_the_notices_of_a_chunk_go_in_as_many_requests_as_a_topic_takes() -> None:
    one = notice(judge(observed(50), None, settings(HEALTH_CONFIRMATIONS="1")))
    requests = list(topic.batches([one] * 100))
    assert sum(map(len, requests)) == 100
    assert len(requests) > 1
    assert max(len(request) * bytes_of(one) for request in requests) < topic.REQUEST_BYTES
    assert list(topic.batches([])) == []


def test_each_request_is_as_full_as_a_topic_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    one = notice(judge(observed(1), None, settings(HEALTH_CONFIRMATIONS="1")))
    size = topic.AROUND_EVENT + len(json.dumps(topic.event_of(one).data))
    monkeypatch.setattr(topic, "REQUEST_BYTES", 2 * size)
    assert [len(request) for request in topic.batches([one] * 5)] == [2, 2, 1]


# Activities and the custom status


def test_the_decision_for_the_longest_wish_fits_into_an_answer() -> None:
    database = named(1)
    wish = intent(tables=longest_wish().tables, databases=(database,))
    present = facts.server(databases=(database,))
    checked = report(wish, server_changes={"databases": (database,)}, databases=(inside(name=database),))
    decided = run.after_report(present, wish, None, (), checked, False, settings())
    assert isinstance(decided, Prepare)
    assert len(decided.tables[database]) >= 1000
    assert len(json.dumps(msgspec.to_builtins(Value(decided)))) < GRPC_BYTES


def test_a_timetable_of_thousands_of_mirrors_fits_into_an_answer() -> None:
    mirrors = [
        Watched(
            server=ServerId(SUBSCRIPTION, "g" * 90, f"pg-{number:060}"), database=named(number), workspace="w" * 36,
            workspace_name=NAME * 10, item=f"{number:036}", item_name=NAME * 10,
        )
        for number in range(TABLES)
    ]  # fmt: skip
    made = plan(mirrors, {}, NOW, settings(FABRIC_CALLS_PER_MINUTE="100000"))
    assert len(json.dumps(msgspec.to_builtins(Value(made)))) < GRPC_BYTES
    planned = sum(len(chunk.mirrors) for chunk in made.chunks)
    assert planned >= 1000
    assert made.left == TABLES - planned


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20_000))
@hypothesis.settings(max_examples=30, deadline=None)
def test_the_custom_status_of_a_run_that_was_blocked_fits(message: str) -> None:
    ended = outcome.blocked(Reason("X", message, "Do."))
    status = progress.fitting(progress.ended(progress.at_server("observe", (), ""), ended))
    assert len(json.dumps(msgspec.to_builtins(status))) <= LONGEST
