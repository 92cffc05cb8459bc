"""The way of a mirror to Running, and its restart: what is done next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.decisions import start
from shared.decisions.start import MOST_NAMED, TABLE_REMEDY, GiveUp, Move, Runs, Start, Wait
from shared.fabric.facts import MirrorStatus, TableStatus
from shared.platform.reasons import Reason
from shared.records.rows import MirrorRow
from tests.unit.facts import SERVER

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(seconds=61)
JUST_NOW = NOW - timedelta(seconds=60)
ERROR = Reason("SourceUnreachable", "No way to the server.")


def mirror(**columns: Any) -> MirrorRow:
    usual = {"item": "i-1", "item_name": "shop", "phase": "Starting", "changed_at": LONG_AGO}
    return MirrorRow(server=SERVER, database="shop", **{**usual, **columns})


def move(status: str, error: Reason | None = None, *, started: bool = True, **columns: Any) -> Move:
    return start.next_move(mirror(**columns), MirrorStatus(status, error), started, NOW)


def reason(decision: Move) -> Reason:
    assert isinstance(decision, GiveUp), decision
    return decision.reason


@pytest.mark.parametrize(
    ("columns", "due", "then"),
    [
        ({"reseed": True, "phase": "Running"}, True, "stop"),
        ({"phase": "Restarting"}, True, "start"),
        ({"reseed": True, "phase": "Restarting"}, True, "stop"),
        ({"phase": "Running"}, False, "nothing"),
        ({"phase": "Starting"}, False, "nothing"),
    ],
)
def test_a_restart_stops_first_and_notes_it_and_then_starts(columns: dict[str, Any], due: bool, then: str) -> None:
    row = mirror(**columns)
    assert (start.is_restart_due(row), start.next_of_restart(row)) == (due, then)


def test_there_is_nothing_to_restart_before_there_is_a_mirrored_database() -> None:
    assert not start.is_restart_due(mirror(item="", reseed=True))
    assert not start.is_restart_due(mirror(item="", phase="Restarting"))


@pytest.mark.parametrize("started", [True, False])
def test_a_mirror_that_runs_runs(started: bool) -> None:
    assert isinstance(move("Running", started=started), Runs)
    assert isinstance(move("Running", ERROR, started=started), Runs)


@pytest.mark.parametrize("status", ["Initialized", "Stopped", "Paused", "Starting", "Initializing", "Dreaming"])
@pytest.mark.parametrize("error", [None, ERROR])
def test_a_mirror_that_does_not_run_and_was_not_started_is_started(status: str, error: Reason | None) -> None:
    decision = move(status, error, started=False)
    assert isinstance(decision, Start)
    assert f"'shop' is {status}" in decision.why


@pytest.mark.parametrize("started", [True, False])
def test_a_mirror_that_was_deleted_is_given_up(started: bool) -> None:
    assert reason(start.next_move(mirror(), None, started, NOW)).code == "MirrorMissing"


@pytest.mark.parametrize("status", ["Initialized", "Stopped", "Stopping", "Paused", "Dreaming"])
def test_an_error_after_a_start_is_given_up_with_fabrics_words(status: str) -> None:
    why = reason(move(status, ERROR))
    assert why.code == "MirrorNotStarted"
    assert "No way to the server. (SourceUnreachable)" in why.message


@pytest.mark.parametrize("status", ["Starting", "Initializing"])
def test_an_error_of_a_mirror_that_is_coming_up_is_waited_out(status: str) -> None:
    assert isinstance(move(status, ERROR), Wait)


def test_an_error_that_the_row_names_already_may_be_of_the_start_before() -> None:
    noted = (Reason("MirrorNotStarted", "Mirrored database 'shop' did not start: No way to the server. (X)."),)
    assert isinstance(move("Initialized", ERROR, reasons=noted, changed_at=JUST_NOW), Wait)
    assert reason(move("Initialized", ERROR, reasons=noted)).code == "MirrorNotStarted"
    other = (Reason("MirrorNotStarted", "Another error."),)
    assert reason(move("Initialized", ERROR, reasons=other, changed_at=JUST_NOW)).code == "MirrorNotStarted"


@pytest.mark.parametrize("changed_at", [LONG_AGO, JUST_NOW])
def test_a_mirror_that_is_paused_after_a_start_is_given_up(changed_at: datetime) -> None:
    why = reason(move("Paused", changed_at=changed_at))
    assert (why.code, "Resume the capacity" in why.remedy) == ("MirrorPaused", True)


def test_a_mirror_that_is_stopped_after_a_start_is_given_up_once_fabric_has_had_its_time() -> None:
    assert isinstance(move("Stopped", changed_at=JUST_NOW), Wait)
    assert reason(move("Stopped")).code == "MirrorStopped"


@pytest.mark.parametrize("status", ["Initialized", "Stopping", "Starting", "Initializing", "Dreaming"])
def test_any_other_mirror_that_was_started_is_waited_for(status: str) -> None:
    decision = move(status)
    assert isinstance(decision, Wait)
    assert f"'shop' is {status}" in decision.why


def test_a_start_that_was_noted_shortly_before_stands() -> None:
    assert start.is_started(mirror(changed_at=JUST_NOW), False, NOW)
    assert not start.is_started(mirror(), False, NOW)
    assert not start.is_started(mirror(phase="Preparing", changed_at=JUST_NOW), False, NOW)
    assert start.is_started(mirror(phase="Preparing"), True, NOW)


def failing(number: int) -> tuple[TableStatus, ...]:
    return tuple(TableStatus(schema="s", name=f"t{n:02}", status="Failed") for n in range(number))


def test_tables_that_fail_are_named_with_what_to_do_and_counted_beyond() -> None:
    assert MOST_NAMED == 20
    assert start.table_reasons((TableStatus(schema="s", name="t", status="Replicating"),)) == ()
    named = start.table_reasons(failing(MOST_NAMED))
    assert [reason.code for reason in named] == ["Failed"] * MOST_NAMED
    assert {reason.remedy for reason in named} == {TABLE_REMEDY}
    counted = start.table_reasons(failing(MOST_NAMED + 3))
    assert len(counted) == MOST_NAMED + 1
    assert counted[-1] == Reason("TablesFailing", "3 more tables fail.", TABLE_REMEDY)
    assert start.table_reasons(failing(MOST_NAMED + 1))[-1].message == "1 more table fails."
