"""What a person reads when Fabric refuses a step, and that the next look goes on from there.

What each refusal says is seen in `tests/component/fabric_app`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from local.scenario import Operator, Server
from local.topology import APP
from tests.component.fabric.callers import Caller
from tests.e2e.lifecycle.story import Story, after, codes, mirrored, put, row, with_shop

ORDERS = {"tables": [{"database": "shop", "schema": "sales", "table": "orders"}]}


def refuse_the_next_change(operator: Operator, item: str, **fault: Any) -> None:
    """Of this mirrored database alone: other stories are told at the same time."""
    order = {"operation": "Items_UpdateMirroredDatabaseDefinition", "path": item, "message": "So says Fabric.", **fault}
    operator.stack.control("fabric", "POST", "faults", order)


def connection_of(operator: Operator, server: Server) -> str:
    mirror = row(operator, "Mirrors", server)
    assert mirror
    return str(mirror["connection"])


def a_refusal_is_told_and_the_next_look_goes_on(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-refused", 15)
    [mirror] = mirrored(operator, server)["mirrors"]
    refuse_the_next_change(operator, mirror["mirrored_database"], fail_operation=True)
    seen = after(operator, server, lambda: put(operator, server, ORDERS))
    assert (seen["phase"], codes(seen), codes(seen["mirrors"][0])) == ("Blocked", ["InjectedFault"], ["InjectedFault"])
    [reason] = seen["reasons"]
    assert reason["message"].startswith("Database shop: ")
    assert "An operation of Fabric failed: " in reason["message"]
    assert "Fabric portal" in reason["remedy"]
    assert "Traceback" not in str(seen)

    refuse_the_next_change(operator, mirror["mirrored_database"], status=429, code="RequestBlocked", retry_after=6)
    started = time.monotonic()
    mirrored(operator, server, ORDERS)  # a pause of Fabric's is no refusal: it is waited out
    assert time.monotonic() - started > 6

    app = Caller(operator.topology, APP)
    assert app.call("DELETE", f"/connections/{connection_of(operator, server)}").ok
    [mirror] = mirrored(operator, server)["mirrors"]
    assert app.call("GET", f"/connections/{connection_of(operator, server)}").ok
    path = f"/workspaces/{mirror['workspace']}/mirroredDatabases/{mirror['mirrored_database']}"
    assert app.call("POST", f"{path}/getMirroringStatus").json() == {"status": "Running"}
    assert operator.restarts(server) == 1
    assert application.inabilities() == {}


@pytest.mark.parametrize("story", [a_refusal_is_told_and_the_next_look_goes_on], ids=lambda story: story.__name__)
def test_a_refusal(story: Story, at_once: Callable[[Story], None]) -> None:
    at_once(story)
