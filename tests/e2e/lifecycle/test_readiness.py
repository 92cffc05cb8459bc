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
from tests.e2e.lifecycle.story import PAUSED_WORKSPACE, after, fabric, new_server, put, with_shop

WRITES = (
    "Servers_Update", "AdministratorsMicrosoftEntra_CreateOrUpdate", "Configurations_Put", "Configurations_Update",
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
class TestBeforehand:
    @pytest.mark.parametrize(
        ("query", "id", "named"),
        [
            ("?databases=shop,nosuch", "DatabaseExists", "'nosuch'"),
            (f"?workspace={uuid.UUID(int=9)}", "WorkspaceAllowed", str(uuid.UUID(int=9))),
        ],
    )
    def test_what_is_asked_for_and_cannot_be(
        self, operator: Operator, fresh: tuple[Server, Application], query: str, id: str, named: str
    ) -> None:
        found = failures(readiness(operator, fresh[0], query))
        assert list(found) == [id]
        message, remedy = found[id]
        assert named in message
        assert remedy

    def test_a_workspace_on_a_paused_capacity(self, operator: Operator, fresh: tuple[Server, Application]) -> None:
        capacity = fabric(operator, "GET", f"/workspaces/{PAUSED_WORKSPACE}")["capacityId"]
        operator.stack.control("fabric", "PUT", f"capacities/{capacity}", {"state": "Inactive"})
        try:
            found = failures(readiness(operator, fresh[0], f"?workspace={PAUSED_WORKSPACE}"))
        finally:
            operator.stack.control("fabric", "PUT", f"capacities/{capacity}", {"state": "Active"})
        assert list(found) == ["CapacityActive"]
        message, remedy = found["CapacityActive"]
        assert "is Inactive, not Active" in message
        assert "Resume the capacity" in remedy

    def test_a_workspace_on_a_capacity_that_the_app_cannot_see(
        self, operator: Operator, fresh: tuple[Server, Application]
    ) -> None:
        """As in Fabric, unless somebody makes the app's identity a contributor of it; so that is a warning."""
        capacity = f"capacities/{fabric(operator, 'GET', f'/workspaces/{PAUSED_WORKSPACE}')['capacityId']}"
        both = [operator.topology.principals[name].object_id for name in ("operator", APP)]
        operator.stack.control("fabric", "PUT", capacity, {"state": "Active", "contributors": both[:1]})
        try:
            report = readiness(operator, fresh[0], f"?workspace={PAUSED_WORKSPACE}")
        finally:
            operator.stack.control("fabric", "PUT", capacity, {"state": "Active", "contributors": both})
        assert failures(report) == {}
        [check] = [check for check in report["checks"] if check["id"] == "CapacityActive"]
        assert (check["status"], "can't see whether" in check["message"]) == ("warn", True)
        assert "'id-fabric-mirror' a contributor of the capacity" in check["remedy"]

    @pytest.mark.parametrize(
        ("query", "status", "code"), [("?workspace=sales", 400, "InvalidBody"), ("?databases=" + "x" * 64, 400, "")]
    )
    def test_a_question_that_makes_no_sense(
        self, operator: Operator, fresh: tuple[Server, Application], query: str, status: int, code: str
    ) -> None:
        answer = operator.call("GET", operator.door(fresh[0], "readiness") + query)
        assert answer.status == status
        assert answer.body["code"].startswith(code)


def without_network(operator: Operator, server: Server) -> Callable[[], object]:
    group, rules = operator.topology.resource_group, operator.management.firewall_rules
    rules.begin_delete(group, server.name, "AllowAzureServices").result()
    rule = models.FirewallRule({"properties": {"startIpAddress": "0.0.0.0", "endIpAddress": "0.0.0.0"}})
    return lambda: rules.begin_create_or_update(group, server.name, "AllowAzureServices", rule).result()


def burstable(operator: Operator, server: Server) -> Callable[[], object]:
    def scale(name: str, tier: str) -> object:
        sku = models.ServerForPatch({"sku": {"name": name, "tier": tier}})
        return operator.management.servers.begin_update(operator.topology.resource_group, server.name, sku).result()

    scale("Standard_B1ms", "Burstable")
    return lambda: scale("Standard_D2ds_v5", "GeneralPurpose")


def stopped(operator: Operator, server: Server) -> Callable[[], object]:
    group, servers = operator.topology.resource_group, operator.management.servers
    servers.begin_stop(group, server.name).result()
    return lambda: servers.begin_start(group, server.name).result()


@pytest.mark.parametrize(
    ("spoil", "id", "message", "remedy"),
    [
        (without_network, "Network", "Fabric can't reach the server", "add the firewall rule 0.0.0.0-0.0.0.0"),
        (burstable, "ServerTier", "Burstable tier can't be mirrored", "General Purpose or Memory Optimized"),
        (stopped, "ServerState", "is Stopped, not Ready", "Start it"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_server_that_cannot_be_mirrored(
    operator: Operator,
    fresh: tuple[Server, Application],
    spoil: Callable[[Operator, Server], Callable[[], object]],
    id: str,
    message: str,
    remedy: str,
) -> None:
    mend = spoil(operator, fresh[0])
    try:
        found = failures(readiness(operator, fresh[0]))
    finally:
        mend()
    assert list(found) == [id]
    assert message in found[id][0]
    assert remedy in found[id][1]


def test_a_gateway_may_be_asked_about_beforehand(operator: Operator, fresh: tuple[Server, Application]) -> None:
    """The same server, out of Fabric's reach: by one that is there, one that is not, and one that makes no sense."""
    made: Any = operator.stack.control("fabric", "POST", "gateways", {"displayName": "vnet"})
    mend = without_network(operator, fresh[0])
    try:
        assert failures(readiness(operator, fresh[0], f"?gateway={made['id'].upper()}")) == {}
        unknown = failures(readiness(operator, fresh[0], f"?gateway={uuid.uuid4()}"))
        wrong = operator.call("GET", operator.door(fresh[0], "readiness") + "?gateway=vnet")
    finally:
        mend()
    assert "Network" not in unknown
    assert unknown
    assert (wrong.status, wrong.body["code"]) == (400, "InvalidBody")
    assert "Gateway is 'vnet', but the GUID of a virtual network data gateway was expected" in wrong.body["detail"]


def test_a_replica_and_what_is_kept_of_a_blocked_server(operator: Operator, fresh: tuple[Server, Application]) -> None:
    replica = new_server(operator, "pg-replica", 17, createMode="Replica", sourceServerResourceId=fresh[0].id)
    found = failures(readiness(operator, replica))
    assert "ReplicationRole" in found
    assert "only a primary can be mirrored" in found["ReplicationRole"][0]
    seen = after(operator, replica, lambda: put(operator, replica))
    assert seen["phase"] == "Blocked"
    assert failures(seen["report"]) == found
    assert [reason["code"] for reason in seen["reasons"]] == list(found)
    group = operator.topology.resource_group
    after(operator, replica, lambda: operator.management.servers.begin_delete(group, replica.name).result())


def test_a_request_does_exactly_what_the_complete_report_said(operator: Operator) -> None:
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
    now = readiness(operator, server)
    assert (now["plan"]["changes"], now["plan"]["restart"]) == ([], False)
    assert {check["status"] for check in now["checks"]} <= {"pass", "warn"}
    assert {"ReplicationSlots", "WalSenders"} <= {check["id"] for check in now["checks"]}
