"""What a person reads when Fabric refuses a step, and that the next look goes on from there.

What each refusal says is seen in `tests/component/fabric_app`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from local.scenario import Operator, Server
from local.topology import APP
from shared.desired import server_id
from shared.fabric.connection import name_of
from tests.component.fabric.callers import Caller, connection_body
from tests.e2e.lifecycle.story import Story, after, codes, mirrored, put, row, with_shop

ORDERS = {"tables": [{"database": "shop", "schema": "sales", "table": "orders"}]}


def make_the_next_change_wait(operator: Operator, item: str, seconds: int) -> None:
    """Of this mirrored database alone: other stories are told at the same time."""
    fault = {"operation": "Items_UpdateMirroredDatabaseDefinition", "path": item, "status": 429}
    operator.stack.control("fabric", "POST", "faults", fault | {"code": "RequestBlocked", "retry_after": seconds})


def connection_of(operator: Operator, server: Server) -> str:
    mirror = row(operator, "Mirrors", server)
    assert mirror
    return str(mirror["connection"])


def a_refusal_is_told_and_the_next_look_goes_on(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-refused", 15)
    app, somebody = (Caller(operator.topology, principal) for principal in (APP, "operator"))
    name = name_of(server_id.parse(server.id), "shop")
    theirs = connection_body(name, server.address, "shop", "u", "p", skipTestConnection=True)
    held = somebody.call("POST", "/connections", theirs).json()["id"]
    seen = after(operator, server, lambda: put(operator, server))
    taken = ["ConnectionNameTaken"]
    assert (seen["phase"], codes(seen), codes(seen["mirrors"][0])) == ("Blocked", taken, taken)
    [reason] = seen["reasons"]
    assert reason["message"].startswith(f"Database shop: A Fabric connection called '{name}' exists that ")
    assert "Share it with the app's identity as Owner, or rename or delete it." in reason["remedy"]
    assert "Traceback" not in str(seen)
    assert connection_of(operator, server) == ""
    assert somebody.call("DELETE", f"/connections/{held}").ok  # it was left alone

    [mirror] = mirrored(operator, server)["mirrors"]
    make_the_next_change_wait(operator, mirror["mirrored_database"], seconds=6)
    started = time.monotonic()
    mirrored(operator, server, ORDERS)  # a pause of Fabric's is no refusal: it is waited out
    assert time.monotonic() - started > 6

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
