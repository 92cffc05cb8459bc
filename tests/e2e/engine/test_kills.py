"""Processes that die (-9) in the middle of a run. The run itself goes on: nobody waits for the resync.

A worker's death fails the activity that it ran, and the orchestrator tries it again. A host's death loses what the
extension had in hand, which comes back from storage: the activity runs again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from local.scenario import Operator, Refused, Server, eventually
from tests.e2e.lifecycle.story import codes, delete, nothing_of_ours_is_left, put, with_shop

pytestmark = pytest.mark.usefixtures("hastened")
RUN_SECONDS = 240
PREPARATION = (
    "decide_server", "start_operation", "poll_operation", "find_pending_restart", "decide_restart", "ensure_role",
    "ensure_workspace_access", "prepare_database", "ensure_connection", "ensure_mirror", "advance_mirror",
    "give_back_surplus", "record_outcome",
)  # fmt: skip
RELEASE = ("decide_server", "release_mirror", "release_database", "release_server", "record_outcome")
SWEEP = ("plan_sweep", "probe_mirrors", "conclude_sweep")
MOMENTS = ("before", "during", "after")


def kills(operator: Operator, functions: Sequence[str], when: str, host: bool) -> None:
    """Let the worker, or its whole host, die at each of the functions, one after the other. The first crash is already
    ordered. Each next one is ordered while nothing runs."""
    for function in (*functions[1:], None):
        died = operator.stack.await_crash(RUN_SECONDS)
        if function:
            operator.stack.crash(function, when, host)
        operator.stack.start_again(*died)


def ended(operator: Operator, server: Server, phase: str, *reasons: str) -> None:
    def look() -> dict[str, Any]:
        try:
            return operator.mirroring(server)
        except Refused:  # the engine is not back yet
            return {}

    seen = eventually(look, lambda seen: seen.get("phase") == phase and not seen["running"], RUN_SECONDS)
    assert codes(seen) == list(reasons)
    assert operator.mailbox(server)["again"] is False


def life_with_kills(operator: Operator, name: str, when: str, host: bool, few: bool) -> None:
    """Prepare a server, look at it, and release it; somebody dies at each activity, or at a `few` of them."""
    server, application = with_shop(operator, name, 17)
    stages = (PREPARATION, SWEEP, RELEASE)
    preparation, sweep, release = (stage[-2:-1] if few else stage for stage in stages)
    operator.stack.crash(preparation[0], when, host)
    put(operator, server)
    kills(operator, preparation, when, host)
    ended(operator, server, "Mirrored")
    assert operator.mailbox(server)["runs"] == 1 + RUNS_BEFORE
    assert operator.restarts(server) == 1
    assert application.inabilities() == {}
    operator.stack.crash(sweep[0], when, host)
    operator.fire("record_mirror_health")
    kills(operator, sweep, when, host)
    sweep_ended = eventually(
        lambda: operator.durable("instances/sweep_health"), lambda answer: answer.status in (200, 500), RUN_SECONDS
    )
    assert sweep_ended.body["runtimeStatus"] == "Completed"
    operator.stack.crash(release[0], when, host)
    delete(operator, server)
    kills(operator, release, when, host)
    ended(operator, server, "Released", "ParametersLeft")
    assert operator.mailbox(server)["runs"] == 2 + RUNS_BEFORE
    nothing_of_ours_is_left(operator, server)


RUNS_BEFORE = 1
"""The app has looked at the server when it was made."""


@pytest.mark.parametrize(("when", "host"), [("during", False), ("after", True)], ids=["worker", "host"])
def test_a_run_goes_on_where_somebody_dies(operator: Operator, when: str, host: bool) -> None:
    life_with_kills(operator, f"pg-dies-{when}-{host:d}", when, host, few=True)


@pytest.mark.exhaustive
@pytest.mark.parametrize("host", [False, True], ids=["worker", "host"])
@pytest.mark.parametrize("when", MOMENTS)
def test_a_run_goes_on_where_somebody_dies_at_each_activity(operator: Operator, when: str, host: bool) -> None:
    life_with_kills(operator, f"pg-dies-each-{when}-{host:d}", when, host, few=False)


@pytest.mark.exhaustive
def test_a_server_is_restarted_once_though_the_worker_dies_before_it_can_tell(operator: Operator) -> None:
    server, _ = with_shop(operator, "pg-dies-restarting", 17)
    operator.stack.crash("decide_restart", "before")
    put(operator, server)
    kills(operator, ("decide_restart", "start_operation"), "after", host=False)
    ended(operator, server, "Mirrored")
    assert operator.restarts(server) == 1
