"""Which servers the app may touch, and where their data may go."""

from __future__ import annotations

from shared.decisions import allowed
from shared.desired.server_id import ServerId
from tests.unit.facts import OTHER_WORKSPACE, SERVER, WORKSPACE, settings

ELSEWHERE = "00000000-0000-0000-0000-0000000000ff"


def test_the_servers_of_the_listed_subscriptions_may_be_touched_and_no_others() -> None:
    assert allowed.server_problem(SERVER, settings()) is None
    problem = allowed.server_problem(ServerId(ELSEWHERE, "rg", "pg-1"), settings())
    assert problem is not None
    assert (problem.code, problem.message) == ("SubscriptionNotAllowed", f"Subscription {ELSEWHERE} is not allowed.")
    assert "ALLOWED_SUBSCRIPTIONS" in problem.remedy
    assert allowed.server_problem(SERVER, settings(ALLOWED_SUBSCRIPTIONS=ELSEWHERE)) is not None


def test_data_may_go_to_the_listed_workspaces_and_no_others() -> None:
    assert allowed.workspace_problem(WORKSPACE, settings()) is None
    assert allowed.workspace_problem(OTHER_WORKSPACE, settings()) is None
    for workspace in (ELSEWHERE, ""):
        problem = allowed.workspace_problem(workspace, settings())
        assert problem is not None
        assert problem.code == "WorkspaceNotAllowed"
        assert "ALLOWED_WORKSPACES" in problem.remedy
