"""Servers that are busy, stopped, deleted, or come to bear an old name, while they are mirrored."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from local.scenario import Operator, eventually
from tests.e2e.lifecycle.story import (
    ROLE,
    WORKSPACE,
    Story,
    after,
    calls,
    codes,
    fabric,
    mirrored,
    new_server,
    page,
    password,
    put,
    query,
    row,
    waiting,
    with_shop,
)


def a_deleted_server_is_forgotten_and_its_name_means_nothing(operator: Operator) -> None:
    server, _ = with_shop(operator, "pg-deleted", 17)
    [mirror] = mirrored(operator, server)["mirrors"]
    kept = row(operator, "Mirrors", server)
    assert kept is not None
    group = operator.topology.resource_group
    seen = after(operator, server, lambda: operator.management.servers.begin_delete(group, server.name).result())
    assert (seen["phase"], seen["reasons"], seen["report"]) == ("Deleted", [], None)
    left = row(operator, "Mirrors", server)
    assert left is not None
    assert (left["phase"], left["item"], left["takeover"]) == (
        "Deleted",
        "",
        kept["takeover"],
    )  # gives back, if need be
    assert password(operator, kept["secret"])
    path = f"/workspaces/{WORKSPACE}/mirroredDatabases/{mirror['mirrored_database']}"
    assert fabric(operator, "GET", path)["displayName"] == "pg-deleted-shop"
    assert fabric(operator, "GET", f"/connections/{kept['connection']}") is None

    namesake = new_server(operator, "pg-deleted", 18, "shop")
    eventually(lambda: operator.mailbox(namesake), lambda box: not box["running"])
    assert row(operator, "Mirrors", namesake) is None
    assert password(operator, kept["secret"]) is None
    operator.install(namesake, "shop")
    query(operator, namesake, "CREATE ROLE fabric_user")
    refused = after(operator, namesake, lambda: put(operator, namesake))
    assert codes(refused) == ["RoleNotOurs"]  # the role of this name was ours on the other server


def one_404_makes_nobody_forget_a_living_server(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-unseen", 17)
    mirrored(operator, server)
    before = row(operator, "Mirrors", server)
    fault = {"operation": "Servers_Get", "path": f"/{server.name}$", "status": 404, "code": "ResourceNotFound"}
    operator.stack.control("arm", "POST", "faults", fault)
    runs = operator.mailbox(server)["runs"]
    operator.tag(server, team="sales")  # which has the server looked at
    seen = eventually(lambda: operator.mirroring(server), lambda seen: seen["phase"] == "Missing")
    assert codes(seen) == ["ServerMissing"]
    assert "the list of its subscription has it" in page(operator)
    eventually(lambda: operator.mailbox(server), lambda box: box["runs"] > runs and not box["running"])
    seen = operator.mirroring(server)
    assert (seen["phase"], seen["reasons"]) == ("Mirrored", [])
    after_it = row(operator, "Mirrors", server)
    assert before is not None
    assert after_it is not None
    assert [after_it[name] for name in ("item", "connection", "takeover", "login")] == [
        before[name] for name in ("item", "connection", "takeover", "login")
    ]
    assert application.inabilities() == {}


def a_server_deleted_while_a_decision_is_awaited_ends_the_wait(operator: Operator) -> None:
    server, _ = with_shop(operator, "pg-short", 18)
    put(operator, server, {"restart": "approval"})
    waiting(operator, server)
    group = operator.topology.resource_group
    seen = after(operator, server, lambda: operator.management.servers.begin_delete(group, server.name).result())
    assert (seen["phase"], seen["reasons"]) == ("Deleted", [])


def a_busy_server_is_waited_for(operator: Operator) -> None:
    server, _ = with_shop(operator, "pg-busy", 16)
    busy = {
        "operation": "Configurations_Update", "path": server.name, "status": 409, "code": "ServerIsBusy", "times": 2,
        "retry_after": 1,
    }  # fmt: skip
    operator.stack.control("arm", "POST", "faults", busy)
    operator.stack.control("arm", "POST", "faults", busy | {"operation": "Servers_Restart"})
    mirrored(operator, server)
    assert operator.restarts(server) == 1
    assert len(calls(operator, server, "arm", "Servers_Restart")) == 3


def an_operation_that_fails_is_told_and_the_next_look_goes_on(operator: Operator) -> None:
    server, _ = with_shop(operator, "pg-failing", 15)
    fault = {"operation": "Servers_Restart", "path": server.name, "fail_operation": True, "code": "OperationNotAllowed"}
    operator.stack.control("arm", "POST", "faults", fault)
    blocked = after(operator, server, lambda: put(operator, server))
    assert blocked["phase"] == "Blocked"
    assert "Restarting server 'pg-failing'" in blocked["reasons"][0]["message"]
    assert blocked["reasons"][0]["code"] == "OperationNotAllowed"
    mirrored(operator, server)
    assert operator.restarts(server) == 1


def a_server_stopped_and_started_is_mirrored_on(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-interrupted", 14)
    mirrored(operator, server)
    group = operator.topology.resource_group
    operator.management.servers.begin_stop(group, server.name).result()
    put(operator, server)
    seen = eventually(lambda: operator.mirroring(server), lambda seen: seen["phase"] == "Waiting")
    assert (codes(seen), seen["running"]) == (["ServerNotReady"], True)
    assert "is Stopped, not Ready" in page(operator)
    seen = after(operator, server, lambda: operator.management.servers.begin_start(group, server.name).result())
    assert (seen["phase"], seen["reasons"]) == ("Mirrored", [])
    assert query(operator, server, "SELECT 1 AS there FROM pg_roles WHERE rolname = %s", ROLE) == [{"there": 1}]
    assert application.inabilities() == {}


@pytest.mark.parametrize(
    "story",
    [
        a_deleted_server_is_forgotten_and_its_name_means_nothing,
        one_404_makes_nobody_forget_a_living_server,
        a_server_deleted_while_a_decision_is_awaited_ends_the_wait,
        a_busy_server_is_waited_for,
        pytest.param(an_operation_that_fails_is_told_and_the_next_look_goes_on, marks=pytest.mark.exhaustive),
        pytest.param(a_server_stopped_and_started_is_mirrored_on, marks=pytest.mark.exhaustive),
    ],
    ids=lambda story: story.__name__,
)
def test_a_server(story: Story, at_once: Callable[[Story], None]) -> None:
    at_once(story)
