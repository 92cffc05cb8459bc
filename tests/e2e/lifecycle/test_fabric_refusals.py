"""What a person reads when Fabric refuses a step, and that the next look goes on from there."""

from __future__ import annotations

import time
from typing import Any

from local.scenario import Operator, Server
from local.topology import APP
from shared.desired import server_id
from shared.fabric.connection import name_of
from tests.component.fabric.callers import Caller, connection_body
from tests.e2e.lifecycle.story import after, codes, mirrored, put, row, with_shop


def refuse(operator: Operator, operation: str, **fault: Any) -> None:
    order = {"operation": operation, "message": "So says Fabric.", **fault}
    operator.stack.control("fabric", "POST", "faults", order)


def blocked(operator: Operator, server: Server, body: Any = None) -> tuple[str, str, str]:
    """Code, message and remedy of the one reason for which the server is blocked, which its mirror tells too."""
    seen = after(operator, server, lambda: put(operator, server, body))
    assert seen["phase"] == "Blocked"
    [reason] = seen["reasons"]
    assert codes(seen["mirrors"][0]) == [reason["code"]]
    assert "Traceback" not in str(seen)
    assert reason["message"].startswith("Database shop: ")
    return reason["code"], reason["message"], reason["remedy"]


def connection_of(operator: Operator, server: Server) -> str:
    known = row(operator, "Mirrors", server)
    assert known
    return str(known["connection"])


def test_each_refusal_is_told_and_the_next_look_goes_on(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-refused", 15)
    app, somebody = (Caller(operator.topology, principal) for principal in (APP, "operator"))

    name = name_of(server_id.parse(server.id), "shop")
    theirs = connection_body(name, server.address, "shop", "u", "p", skipTestConnection=True)
    held = somebody.call("POST", "/connections", theirs).json()["id"]
    code, message, remedy = blocked(operator, server)
    assert (code, f"A Fabric connection called '{name}' exists that " in message) == ("ConnectionNameTaken", True)
    assert "Share it with the app's identity as Owner, or rename or delete it." in remedy
    assert somebody.call("DELETE", f"/connections/{held}").ok  # it was left alone

    refuse(operator, "Connections_CreateConnection", status=400, code="CreateGatewayConnectionFailed")
    code, message, remedy = blocked(operator, server)
    assert (code, f"Fabric could not reach {server.address}. " in message) == ("ServerUnreachable", True)
    assert "So says Fabric. (CreateGatewayConnectionFailed, request " in message
    assert "0.0.0.0" in remedy
    assert "virtual network data gateway" in remedy
    assert connection_of(operator, server) == ""

    refuse(operator, "Items_CreateMirroredDatabase", status=403, code="InsufficientPrivileges")
    code, message, remedy = blocked(operator, server)
    assert (code, "So says Fabric. (InsufficientPrivileges" in message) == ("InsufficientPrivileges", True)
    assert "the role Member on the workspace" in remedy

    refuse(operator, "Mirroring_StartMirroring", status=403, code="CapacityNotActive")
    code, message, remedy = blocked(operator, server)
    assert (code, "Resume the capacity" in remedy) == ("CapacityNotActive", True)

    refuse(operator, "Mirroring_StartMirroring", status=429, code="RequestBlocked", retry_after=6)
    started = time.monotonic()
    mirrored(operator, server)  # a pause of Fabric's is no refusal: it is waited out
    assert time.monotonic() - started > 6
    assert operator.restarts(server) == 1

    orders = {"tables": [{"database": "shop", "schema": "sales", "table": "orders"}]}
    refuse(operator, "Items_UpdateMirroredDatabaseDefinition", fail_operation=True)
    code, message, remedy = blocked(operator, server, orders)
    assert (code, "An operation of Fabric failed: " in message) == ("InjectedFault", True)
    assert "Fabric portal" in remedy
    mirrored(operator, server, orders)

    first = connection_of(operator, server)
    assert app.call("DELETE", f"/connections/{first}").ok
    [mirror] = mirrored(operator, server)["mirrors"]
    assert app.call("GET", f"/connections/{connection_of(operator, server)}").ok
    path = f"/workspaces/{mirror['workspace']}/mirroredDatabases/{mirror['mirrored_database']}"
    assert app.call("POST", f"{path}/getMirroringStatus").json() == {"status": "Running"}
    assert operator.restarts(server) == 1
    assert application.inabilities() == {}
