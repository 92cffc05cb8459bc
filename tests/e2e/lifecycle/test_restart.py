"""The one restart that a server needs: at once, in its window, or when somebody decides; and what ends the waiting."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from local.scenario import Operator, Server, eventually
from tests.e2e.lifecycle.story import (
    Story,
    after,
    calls,
    codes,
    decide,
    mirrored,
    nothing_of_ours_is_left,
    now,
    page,
    parameter,
    put,
    waiting,
    with_shop,
)


def window(opens: datetime) -> dict[str, Any]:
    """A maintenance window of the server's own that opens then, to the minute. Day 0 is Sunday."""
    return {
        "customWindow": "Enabled", "dayOfWeek": opens.isoweekday() % 7, "startHour": opens.hour,
        "startMinute": opens.minute,
    }  # fmt: skip


def restarts_of_the_app(operator: Operator, server: Server) -> int:
    return len(calls(operator, server, "arm", "Servers_Restart"))


def an_approved_restart_is_made_once(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-approved", 17)
    before = now()
    put(operator, server, {"restart": "approval"})
    seen = waiting(operator, server)
    progress = seen["progress"]
    assert progress["waiting_for"] == "restart-decision"
    assert before <= datetime.fromisoformat(progress["since"]) <= now()
    assert datetime.fromisoformat(progress["until"]) - datetime.fromisoformat(progress["since"]) == timedelta(hours=72)
    assert "wal_level" in progress["message"]
    assert (seen["phase"], codes(seen)) == ("Waiting", ["RestartApprovalRequired"])
    assert operator.restarts(server) == 0
    decide(operator, server, restart=True)
    phases = set()

    def seen_by_people() -> dict[str, Any]:
        page(operator)
        seen = operator.mirroring(server)
        phases.add(seen["phase"])
        return seen

    ended = eventually(seen_by_people, lambda seen: not seen["running"])
    assert (ended["phase"], ended["reasons"], "Preparing" in phases) == ("Mirrored", [], True)
    assert operator.restarts(server) == restarts_of_the_app(operator, server) == 1
    late = operator.call("POST", operator.door(server, "mirroring/restart-decision"), {"restart": True})
    assert (late.status, late.body["code"]) == (409, "NothingToDecide")
    assert application.inabilities() == {}


def a_refused_restart_leaves_a_server_that_works_as_before(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-declined", 16)
    operator.tag(server, fabric_mirror="enabled", fabric_mirror_restart="approval")
    waiting(operator, server)
    refused = after_decision(operator, server, restart=False)
    assert (refused["phase"], codes(refused)) == ("Blocked", ["RestartRefused"])
    [reason] = refused["reasons"]
    for name in ("wal_level", "max_worker_processes", "shared_preload_libraries"):
        assert name in reason["message"]
        assert parameter(operator, server, name).is_config_pending_restart
    assert operator.restarts(server) == 0
    assert application.inabilities() == {}
    with application.connect() as connection:
        assert connection.execute("SHOW wal_level").fetchone() == ("replica",)

    again = after(
        operator, server,
        lambda: operator.tag(server, fabric_mirror="enabled", fabric_mirror_restart="approval", team="sales"),
    )  # fmt: skip
    assert (again["phase"], codes(again)) == ("Blocked", ["RestartRefused"])  # and nobody was asked

    put(operator, server, {"restart": "approval"})
    waiting(operator, server)
    approved = after_decision(operator, server, restart=True)
    assert (approved["phase"], operator.restarts(server)) == ("Mirrored", 1)


def after_decision(operator: Operator, server: Server, restart: bool) -> dict[str, Any]:
    decide(operator, server, restart)
    return eventually(lambda: operator.mirroring(server), lambda seen: not seen["running"])


def a_restart_whose_answer_is_lost_is_made_once(operator: Operator) -> None:
    lost = {"operation": "Servers_Restart", "after": True}
    once_although(operator, "pg-cut", lost | {"drop": True})


def a_restart_that_is_answered_with_an_error_is_made_once(operator: Operator) -> None:
    lost = {"operation": "Servers_Restart", "after": True}
    once_although(operator, "pg-failed-after", lost | {"status": 500})
    once_although(operator, "pg-throttled-after", lost | {"status": 429, "retry_after": 1})


def once_although(operator: Operator, name: str, fault: dict[str, Any]) -> None:
    server, application = with_shop(operator, name, 17)
    path = f"/{name}/"
    operator.stack.control("arm", "POST", "faults", fault | {"path": path})
    mirrored(operator, server)
    assert path not in [left["path"] for left in operator.stack.control("arm", "GET", "faults")]
    assert operator.restarts(server) == 1
    assert application.inabilities() == {}


def an_open_window_is_used_at_once(operator: Operator) -> None:
    server, _ = with_shop(operator, "pg-open", 15, maintenanceWindow=window(now() - timedelta(minutes=2)))
    mirrored(operator, server, {"restart": "window"})
    assert restarts_of_the_app(operator, server) == 1


def another_policy_counts_at_once(operator: Operator) -> None:
    opens = (now() + timedelta(hours=3)).replace(second=0, microsecond=0)
    server, _ = with_shop(operator, "pg-closed", 18, maintenanceWindow=window(opens))
    operator.tag(server, fabric_mirror="enabled", fabric_mirror_restart="window")
    progress = waiting(operator, server)["progress"]
    assert progress["waiting_for"] == "maintenance-window"
    assert datetime.fromisoformat(progress["until"]) == opens
    assert operator.restarts(server) == 0
    seen = after(operator, server, lambda: operator.tag(server, fabric_mirror="enabled", fabric_mirror_restart="now"))
    assert (seen["phase"], seen["reasons"]) == ("Mirrored", [])
    assert restarts_of_the_app(operator, server) == 1


def somebody_elses_restart_ends_the_wait(operator: Operator) -> None:
    server, _ = with_shop(operator, "pg-theirs", 14)
    put(operator, server, {"restart": "approval"})
    waiting(operator, server)
    seen = after(operator, server, lambda: operator.restart(server))
    assert (seen["phase"], seen["reasons"]) == ("Mirrored", [])
    assert (operator.restarts(server), restarts_of_the_app(operator, server)) == (1, 0)


def opting_out_ends_the_wait(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-withdrawn", 16)
    operator.tag(server, fabric_mirror="enabled", fabric_mirror_restart="approval")
    waiting(operator, server)
    seen = after(operator, server, lambda: operator.tag(server, fabric_mirror="disabled"))
    assert seen["phase"] == "Released"
    assert operator.restarts(server) == 0
    nothing_of_ours_is_left(operator, server)
    assert application.inabilities() == {}


def opting_out_before_the_wait_begins_is_not_overlooked(operator: Operator) -> None:
    server, _ = with_shop(operator, "pg-hasty", 18)
    operator.tag(server, fabric_mirror="enabled", fabric_mirror_restart="approval")
    eventually(
        lambda: operator.mirroring(server).get("progress") or {}, lambda progress: progress.get("step") == "parameters"
    )
    seen = after(operator, server, lambda: operator.tag(server, fabric_mirror="disabled"))
    assert (seen["phase"], operator.restarts(server)) == ("Released", 0)


@pytest.mark.parametrize(
    "story",
    [
        an_approved_restart_is_made_once,
        a_refused_restart_leaves_a_server_that_works_as_before,
        a_restart_whose_answer_is_lost_is_made_once,
        pytest.param(a_restart_that_is_answered_with_an_error_is_made_once, marks=pytest.mark.exhaustive),
        pytest.param(an_open_window_is_used_at_once, marks=pytest.mark.exhaustive),
        another_policy_counts_at_once,
        somebody_elses_restart_ends_the_wait,
        opting_out_ends_the_wait,
        opting_out_before_the_wait_begins_is_not_overlooked,
    ],
    ids=lambda story: story.__name__,
)
def test_the_restart(story: Story, at_once: Callable[[Story], None]) -> None:
    at_once(story)
