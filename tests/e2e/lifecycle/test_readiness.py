"""The plan beforehand: it says exactly what a request would do, changes nothing, and tells what stands in the way."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from azure.mgmt.postgresqlflexibleservers import models

from local.application import Application
from local.scenario import Operator, Server
from local.topology import APP
from tests.e2e.lifecycle.story import Story, after, put, with_shop

WRITES = (
    "Servers_Update", "AdministratorsMicrosoftEntra_CreateOrUpdate", "Configurations_Update",
    "Servers_Restart",
)  # fmt: skip
COMPLETE = {
    "ServerState": "pass", "ServerVersion": "pass", "ServerTier": "pass", "HighAvailability": "pass",
    "ReplicationRole": "pass", "ReadReplicas": "pass", "ElasticCluster": "pass", "PasswordAuthentication": "pass",
    "Network": "pass", "SystemIdentity": "will_fix", "EntraAuthentication": "pass", "AppAdministrator": "will_fix",
    "Parameter": "will_fix", "DatabaseExists": "pass", "WorkspaceNamed": "pass", "WorkspaceAllowed": "pass",
    "WorkspaceExists": "pass", "CapacityActive": "pass", "AppWorkspaceRole": "pass", "ServerWorkspaceRole": "will_fix",
    "PostgreSqlConnections": "pass",
}  # fmt: skip
"""The checks of a server that the app was never let into: inside, it sees nothing yet."""
STATEMENTS = re.compile(r"LOG:  (?:statement|execute [^:]+): +(CREATE|ALTER|DROP|GRANT|REVOKE|COMMENT|INSERT|UPDATE)")


@pytest.fixture(scope="module")
def fresh(operator: Operator) -> tuple[Server, Application]:
    """A server that stays as it is."""
    server, application = with_shop(operator, "pg-fresh", 17)
    operator.set_parameter(server, "log_statement", "all")
    return server, application


def readiness(operator: Operator, server: Server, query: str = "") -> dict[str, Any]:
    answer = operator.call("GET", operator.door(server, "readiness") + query)
    assert answer.status == 200, answer
    return answer.body


def failures(report: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Message and remedy of the checks that fail, by id."""
    return {check["id"]: (check["message"], check["remedy"]) for check in report["checks"] if check["status"] == "fail"}


def writes(operator: Operator, server: Server) -> list[str]:
    """What the app has changed on the server through ARM so far: the operation and, of a parameter, its name."""
    app = operator.topology.principals[APP].object_id
    return [
        f"{call['operation'].partition('_')[0]} {call['path'].rpartition('/')[2]}"
        for call in operator.control("arm", "calls")
        if call["caller"] == app and call["operation"] in WRITES and f"/{server.name}" in call["path"]
    ]


def change(server: Server, planned: dict[str, Any]) -> str:
    """A change of the plan as `writes` shows it."""
    match planned["type"]:
        case "SetParameter":
            return f"Configurations {planned['name']}"
        case "AddAdministrator":
            return f"AdministratorsMicrosoftEntra {planned['object_id']}"
    return f"Servers {server.name}"


@pytest.fixture
def _nothing_changes(operator: Operator, fresh: tuple[Server, Application]) -> Iterator[None]:
    server, _ = fresh
    log = operator.topology.log(f"postgresql-{server.name}")
    before = operator.writes_of_the_app(), operator.mailbox(server), STATEMENTS.findall(log.read_text())
    yield
    assert (operator.writes_of_the_app(), operator.mailbox(server), STATEMENTS.findall(log.read_text())) == before


@pytest.mark.usefixtures("_nothing_changes")
def test_what_is_asked_for_and_cannot_be(operator: Operator, fresh: tuple[Server, Application]) -> None:
    nowhere = str(uuid.UUID(int=9))
    found = failures(readiness(operator, fresh[0], f"?databases=shop,nosuch&workspace={nowhere}"))
    assert list(found) == ["DatabaseExists", "WorkspaceAllowed"]
    assert "'nosuch'" in found["DatabaseExists"][0]
    assert nowhere in found["WorkspaceAllowed"][0]
    assert all(remedy for _, remedy in found.values())


@pytest.fixture
def _without_network(operator: Operator, fresh: tuple[Server, Application]) -> Iterator[None]:
    server, group, rules = fresh[0], operator.topology.resource_group, operator.management.firewall_rules
    rules.begin_delete(group, server.name, "AllowAzureServices").result()
    yield
    rule = models.FirewallRule({"properties": {"startIpAddress": "0.0.0.0", "endIpAddress": "0.0.0.0"}})
    rules.begin_create_or_update(group, server.name, "AllowAzureServices", rule).result()


@pytest.mark.usefixtures("_without_network")
def test_a_gateway_may_be_asked_about_beforehand(operator: Operator, fresh: tuple[Server, Application]) -> None:
    """The server is out of Fabric's reach: without a gateway, by a gateway that exists, by one that doesn't, and by one
    that makes no sense."""
    found = failures(readiness(operator, fresh[0]))
    assert list(found) == ["Network"]
    assert "Fabric can't reach the server" in found["Network"][0]
    assert "add the firewall rule 0.0.0.0-0.0.0.0" in found["Network"][1]
    made: Any = operator.stack.control("fabric", "POST", "gateways", {"displayName": "vnet"})
    assert failures(readiness(operator, fresh[0], f"?gateway={made['id'].upper()}")) == {}
    unknown = failures(readiness(operator, fresh[0], f"?gateway={uuid.uuid4()}"))
    assert list(unknown) == ["PostgreSqlConnections"]
    wrong = operator.call("GET", operator.door(fresh[0], "readiness") + "?gateway=vnet")
    assert (wrong.status, wrong.body["code"]) == (400, "InvalidBody")
    assert "Gateway is 'vnet', but the GUID of a virtual network data gateway was expected" in wrong.body["detail"]


def a_request_does_exactly_what_the_complete_report_said(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-planned", 18)
    report = readiness(operator, server)
    assert {check["id"]: check["status"] for check in report["checks"]} == COMPLETE
    assert all(check["message"] for check in report["checks"] if check["status"] != "pass")
    planned = report["plan"]
    assert (planned["databases"], planned["restart"]) == (["shop"], True)
    assert {"wal_level", "shared_preload_libraries", "max_worker_processes"} <= {*planned["restart_because"]}
    assert (writes(operator, server), operator.restarts(server)) == ([], 0)

    seen = after(operator, server, lambda: put(operator, server))
    assert seen["phase"] == "Mirrored"
    assert writes(operator, server) == [*(change(server, each) for each in planned["changes"]), "Servers restart"]
    assert operator.restarts(server) == 1
    assert application.inabilities() == {}
    assert operator.call("GET", operator.door(server, "mirroring/report")).body == seen["report"]
    now = readiness(operator, server)
    assert (now["plan"]["changes"], now["plan"]["restart"]) == ([], False)
    assert {check["status"] for check in now["checks"]} <= {"pass", "warn"}
    assert {"ReplicationSlots", "WalSenders"} <= {check["id"] for check in now["checks"]}


@pytest.mark.parametrize(
    "story", [a_request_does_exactly_what_the_complete_report_said], ids=lambda story: story.__name__
)
def test_the_plan(story: Story, at_once: Callable[[Story], None]) -> None:
    at_once(story)
