"""What ends when patience does: on a stack that waits for seconds where the app usually waits for hours, and where a
mirrored database is deleted with its release."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from local.scenario import Operator, acting_as, eventually
from tests.conftest import StackFactory
from tests.e2e.lifecycle.conftest import prepared_stack, told
from tests.e2e.lifecycle.story import (
    WORKSPACE,
    Story,
    after,
    codes,
    decide,
    delete,
    fabric,
    nothing_of_ours_is_left,
    put,
    waiting,
    with_shop,
)

SETTINGS = {
    "RELEASE_MIRROR": "delete",
    "RESTART_DECISION_HOURS": "0.006",
    "RESTART_GRACE_HOURS": "0.0001",
    "SERVER_WAIT_MINUTES": "0.01",
}


@pytest.fixture(scope="module")
def operator(stack_factory: StackFactory) -> Iterator[Operator]:
    stack = prepared_stack(stack_factory, SETTINGS)
    with acting_as(stack, "operator"):
        person = Operator(stack)
        yield person
        person.close()


@pytest.fixture(scope="module")
def impatiently(request: pytest.FixtureRequest, operator: Operator) -> Callable[[Story], None]:
    return told(request, "impatiently", operator)


def an_old_server_is_asked_about_once(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-old", 17)
    put(operator, server)  # policy auto, and it is older than a moment
    assert waiting(operator, server)["progress"]["waiting_for"] == "restart-decision"
    seen = eventually(lambda: operator.mirroring(server), lambda seen: not seen["running"], 60)
    assert (seen["phase"], codes(seen)) == ("Blocked", ["RestartNotDecided"])
    assert "wal_level" in seen["reasons"][0]["message"]
    assert operator.restarts(server) == 0
    assert application.inabilities() == {}
    operator.tag(server, team="sales")
    again = after(operator, server, lambda: operator.tag(server, team="crm"))
    assert (again["phase"], codes(again)) == ("Blocked", ["RestartNotDecided"])
    put(operator, server)
    waiting(operator, server)
    decide(operator, server, restart=True)
    done = eventually(lambda: operator.mirroring(server), lambda seen: not seen["running"])
    assert (done["phase"], operator.restarts(server)) == ("Mirrored", 1)
    [mirror] = done["mirrors"]
    path = f"/workspaces/{WORKSPACE}/mirroredDatabases/{mirror['mirrored_database']}"
    assert fabric(operator, "GET", path)
    assert after(operator, server, lambda: delete(operator, server))["phase"] == "Released"
    assert fabric(operator, "GET", path) is None
    nothing_of_ours_is_left(operator, server)


def a_stopped_server_is_given_up_and_taken_up_again_when_it_starts(operator: Operator) -> None:
    server, _ = with_shop(operator, "pg-stopped", 18)
    group = operator.topology.resource_group
    operator.management.servers.begin_stop(group, server.name).result()
    stopped = after(operator, server, lambda: put(operator, server, {"restart": "now"}))
    assert (stopped["phase"], codes(stopped)) == ("Blocked", ["ServerNotReady"])
    assert "is Stopped, not Ready" in stopped["reasons"][0]["message"]
    started = after(operator, server, lambda: operator.management.servers.begin_start(group, server.name).result())
    assert (started["phase"], started["reasons"]) == ("Mirrored", [])


@pytest.mark.parametrize(
    "story",
    [an_old_server_is_asked_about_once, a_stopped_server_is_given_up_and_taken_up_again_when_it_starts],
    ids=lambda story: story.__name__,
)
def test_patience(story: Story, impatiently: Callable[[Story], None]) -> None:
    impatiently(story)
