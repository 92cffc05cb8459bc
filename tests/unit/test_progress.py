"""How far along a run is."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.decisions import progress
from shared.decisions.answers import Verdict
from shared.decisions.outcome import Outcome
from shared.decisions.progress import DATABASE_STEPS, SERVER_STEPS
from shared.platform.reasons import Reason


def test_the_steps_are_called_as_portals_read_them() -> None:
    assert SERVER_STEPS == (
        "observe", "identity", "administrator", "parameters", "restart", "role", "workspace",
    )  # fmt: skip
    assert DATABASE_STEPS == ("database", "connection", "mirror", "running")


def test_the_steps_of_the_server_come_first() -> None:
    seen = progress.at_server("parameters", ("crm", "shop"), "Setting wal_level")
    assert (seen.phase, seen.step, seen.steps_done, seen.steps_total) == ("Preparing", "parameters", 3, 15)
    assert (seen.percent, seen.message, seen.waiting_for) == (20, "Setting wal_level", None)


def test_the_slowest_database_says_what_is_being_done() -> None:
    seen = progress.at_databases({"crm": 4, "shop": 1, "hr": 2})
    assert (seen.step, seen.steps_done, seen.steps_total) == ("connection", 7 + 7, 7 + 12)
    assert (seen.phase, seen.message) == (
        "Preparing", "1 of 3 databases are done; shop: making the connection",
    )  # fmt: skip
    done = progress.at_databases({"crm": 4})
    assert (done.step, done.percent, done.message) == ("running", 100, "1 of 1 databases are done")


@given(st.dictionaries(st.text(min_size=1), st.integers(0, len(DATABASE_STEPS)), min_size=1, max_size=9), st.data())
def test_it_never_goes_back_and_ends_at_a_hundred(done: dict[str, int], data: st.DataObject) -> None:
    databases = tuple(done)
    last_of_the_server = progress.at_server(SERVER_STEPS[-1], databases, "")
    seen = progress.at_databases(done)
    assert last_of_the_server.percent <= seen.percent <= 100
    assert seen.steps_total == last_of_the_server.steps_total
    if any(count < len(DATABASE_STEPS) for count in done.values()):
        ahead = data.draw(st.sampled_from([name for name, count in done.items() if count < len(DATABASE_STEPS)]))
        assert progress.at_databases({**done, ahead: done[ahead] + 1}).percent >= seen.percent
        assert seen.percent < 100
    else:
        assert seen.percent == 100


def test_waiting_says_for_what_since_when_and_until_when() -> None:
    status = progress.at_server("restart", ("shop",), "Restarting")
    verdict = Verdict(
        message="Waiting for a decision",
        waiting_for="restart-decision",
        since=datetime(2026, 1, 1, tzinfo=UTC),
        wait_until=datetime(2026, 1, 4, tzinfo=UTC),
    )
    seen = progress.waiting(status, verdict)
    assert (seen.phase, seen.step, seen.percent, seen.message) == (
        "Waiting", "restart", status.percent, "Waiting for a decision",
    )  # fmt: skip
    assert (seen.waiting_for, seen.since, seen.until) == (
        "restart-decision", "2026-01-01T00:00:00+00:00", "2026-01-04T00:00:00+00:00",
    )  # fmt: skip


def test_a_release_counts_its_databases_and_the_role() -> None:
    percents = [progress.releasing(done, 2, "").percent for done in range(3)]
    assert percents == [0, 33, 66]
    assert progress.releasing(0, 0, "").percent == 0
    seen = progress.releasing(1, 2, "Releasing database 'shop'")
    assert (seen.phase, seen.step, seen.message) == ("Releasing", "release", "Releasing database 'shop'")
    assert (seen.steps_done, seen.steps_total) == (1, 3)


def test_a_run_that_reached_its_goal_has_all_of_its_steps_behind_it() -> None:
    ended = progress.ended(progress.at_databases({"crm": 4, "shop": 3}), Outcome("Mirrored"))
    assert (ended.phase, ended.step, ended.percent) == ("Mirrored", "done", 100)
    assert (ended.steps_done, ended.steps_total) == (15, 15)
    assert ended.message == "Every database is mirrored."


def test_a_release_ends_at_a_hundred_too() -> None:
    ended = progress.ended(progress.releasing(2, 2, ""), Outcome("Released"))
    assert (ended.phase, ended.steps_done, ended.steps_total, ended.percent) == ("Released", 3, 3, 100)


def test_a_run_that_did_not_stands_where_it_ended() -> None:
    last = progress.at_server("restart", ("crm", "shop"), "Restarting the server")
    ended = progress.ended(last, Outcome("Blocked", (Reason("RestartRefused", "Nobody wants it."),)))
    assert (ended.phase, ended.step, ended.message) == ("Blocked", "done", "Nobody wants it.")
    assert (ended.steps_done, ended.steps_total, ended.percent) == (4, 15, last.percent)


def test_the_end_of_a_wait_waits_for_nothing() -> None:
    waiting = progress.waiting(progress.at_server("restart", ("shop",), ""), Verdict(message="", waiting_for="x"))
    assert progress.ended(waiting, Outcome("Superseded")).waiting_for is None


@pytest.mark.parametrize(
    "message", ["x" * 20_000, "ü" * 20_000, "\\" * 20_000], ids=["ascii", "beyond ASCII", "escaped"]
)
def test_a_status_fits_into_a_custom_status(message: str) -> None:
    status = progress.fitting(progress.at_server("observe", ["shop"], message))
    assert 7_000 < len(json.dumps(msgspec.to_builtins(status))) <= 8_000
    assert status.message.endswith("…")
    assert message.startswith(status.message[:-1])


def test_a_status_that_just_fits_stays_as_it_is_and_a_longer_one_is_cut() -> None:
    empty = progress.at_server("observe", ["shop"], "")
    room = 8_000 - len(json.dumps(msgspec.to_builtins(empty)))
    full = progress.at_server("observe", ["shop"], "x" * (room - 2))  # the quotation marks are counted twice
    assert progress.fitting(full) == full
    longer = progress.fitting(progress.at_server("observe", ["shop"], "x" * (room - 1)))
    assert longer.message.endswith("…")


def test_of_databases_that_are_equally_far_the_first_by_name_is_named() -> None:
    """Whatever the order in which the steps of the databases came."""
    assert progress.at_databases({"b": 1, "a": 1, "c": 2}).message.startswith("0 of 3 databases are done; a: ")
