"""The report of checks, and the plan: each check passes, announces a change, or says what to do.

What is said of a database's tables is in `test_readiness_tables`; what each check saw is in `test_readiness_checks`."""

from __future__ import annotations

from typing import Any

import pytest

from shared.desired.changes import AddAdministrator, EnableEntraAuthentication, EnableSystemIdentity, SetParameter
from shared.desired.intent import MirrorIntent
from shared.desired.takeover import NotTakeable
from shared.fabric.facts import BELOW_MEMBER, WorkspaceFacts
from shared.platform.reasons import Reason
from shared.source.parameters import Parameter, Used
from tests.unit.facts import OBJECT_ID, WORKSPACE, settings
from tests.unit.prepared import AS_PRINCIPAL, AS_WORKSPACE, READY, checks, inside, intent, report, workspace


def test_a_prepared_server_passes_every_check_and_needs_nothing() -> None:
    found = report()
    assert {check.id: check.status for check in found.checks} == dict.fromkeys(
        (
            "ServerState", "ServerVersion", "ServerTier", "HighAvailability", "ReplicationRole", "ReadReplicas",
            "ElasticCluster", "PasswordAuthentication", "Network", "SystemIdentity", "EntraAuthentication",
            "AppAdministrator", "Parameter", "ReplicationSlots", "WalSenders", "DatabaseExists", "WorkspaceNamed",
            "WorkspaceAllowed", "WorkspaceExists", "AppWorkspaceRole", "CapacityActive", "ServerWorkspaceRole",
            "PostgreSqlConnections",
        ),
        "pass",
    )  # fmt: skip
    assert (found.plan.changes, found.plan.restart, found.failures) == ((), False, ())


@pytest.mark.parametrize(
    ("changes", "id", "message", "remedy"),
    [
        ({"state": "Stopped"}, "ServerState", "is Stopped, not Ready", "Start it"),
        ({"state": "Disabled"}, "ServerState", "is Disabled, not Ready", "Ask Azure support"),
        ({"version": 13}, "ServerVersion", "PostgreSQL 13 can't be mirrored", "from 14 to 18"),
        ({"version": 19}, "ServerVersion", "PostgreSQL 19 can't be mirrored", "from 14 to 18"),
        ({"tier": "Burstable"}, "ServerTier", "Burstable tier can't be mirrored", "General Purpose"),
        ({"high_availability": "ZoneRedundant", "version": 16}, "HighAvailability", "needs PostgreSQL 17", "Upgrade"),
        ({"replication_role": "AsyncReplica"}, "ReplicationRole", "is a read replica", "Tag its primary instead"),
        ({"replicas": 2}, "ReadReplicas", "has 2 read replicas", "ALLOW_REPLICAS"),
        ({"elastic_cluster": True}, "ElasticCluster", "elastic cluster can't be mirrored", "not an elastic cluster"),
        ({"password_auth": False}, "PasswordAuthentication", "Password authentication is disabled", "Enable"),
        ({"public_access": False}, "Network", "public access is disabled", "FABRIC_GATEWAY"),
        ({"azure_services_allowed": False}, "Network", "firewall does not allow Azure services", "0.0.0.0-0.0.0.0"),
        ({"databases": ("crm",)}, "DatabaseExists", "'shop' does not exist on server 'pg-shop'; it has crm", "Correct"),
    ],
)
def test_a_server_that_cannot_be_mirrored(changes: dict[str, Any], id: str, message: str, remedy: str) -> None:
    [failed] = report(server_changes=changes).failures
    assert failed.code == id
    assert message in failed.message
    assert remedy in failed.remedy


def test_high_availability_is_fine_from_17_on_and_a_gateway_reaches_private_servers() -> None:
    assert report(server_changes={"high_availability": "ZoneRedundant", "version": 17}).failures == ()
    private = {"public_access": False, "azure_services_allowed": False}
    assert report(intent(gateway=WORKSPACE), server_changes=private).failures == ()


def test_of_a_server_that_is_not_ready_nothing_is_said_that_cannot_be_known() -> None:
    stopped = {"state": "Stopped", "databases": (), "administrators": ()}
    found = report(server_changes=stopped, parameters={}, used=None, databases=())
    assert [failed.code for failed in found.failures] == ["ServerState"]
    assert not checks(found, "Parameter")
    assert not any(isinstance(change, SetParameter) for change in found.plan.changes)


def test_what_lets_the_app_and_fabric_in_is_announced_and_planned_in_order() -> None:
    closed = {"principal_id": "", "entra_auth": False, "administrators": ()}
    found = report(server_changes=closed, workspace=workspace(server_role=""), used=None, databases=())
    announced = {check.id: check.message for check in found.checks if check.status == "will_fix"}
    assert list(announced) == ["SystemIdentity", "EntraAuthentication", "AppAdministrator", "ServerWorkspaceRole"]
    assert "'id-fabric-mirror' will be made a Microsoft Entra administrator" in announced["AppAdministrator"]
    assert "the role Contributor in workspace 'Sales'" in announced["ServerWorkspaceRole"]
    assert found.plan.changes == (
        EnableSystemIdentity(),
        EnableEntraAuthentication(),
        AddAdministrator(OBJECT_ID, "id-fabric-mirror", settings().identity.tenant),
    )
    assert found.failures == ()


def test_a_role_above_the_one_that_the_server_needs_is_enough() -> None:
    [check] = checks(report(workspace=workspace(server_role="Admin")), "ServerWorkspaceRole")
    assert (check.status, check.found) == ("pass", "Admin")


@pytest.mark.parametrize("app", [{"app_role": "Admin"}, {"through_group": True}])
def test_a_role_below_it_is_raised_by_an_app_that_is_admin_or_may_be(app: dict[str, Any]) -> None:
    [check] = checks(report(workspace=workspace(server_role="Viewer", **app)), "ServerWorkspaceRole")
    assert (check.status, check.found) == ("will_fix", "Viewer")


def test_parameters_are_announced_with_whether_they_restart() -> None:
    changed = READY | {
        "wal_level": Parameter(name="wal_level", value="replica", dynamic=False),
        "azure.extensions": Parameter(name="azure.extensions", value="pg_trgm", allowed="azure_cdc,pg_trgm"),
    }
    found = report(parameters=changed)
    told = {check.subject: (check.status, check.message) for check in checks(found, "Parameter")}
    assert told == {
        "azure.extensions": ("will_fix", "The server parameter azure.extensions will be set to 'pg_trgm,azure_cdc'."),
        "wal_level": (
            "will_fix", "The server parameter wal_level will be set to 'logical', which takes effect with a restart.",
        ),
    }  # fmt: skip
    assert (found.plan.restart, found.plan.restart_because) == (True, ("wal_level",))


def test_a_parameter_that_waits_already_makes_a_restart_too() -> None:
    pending = READY | {"wal_level": Parameter(name="wal_level", value="logical", dynamic=False, pending_restart=True)}
    found = report(parameters=pending)
    [check] = checks(found, "PendingRestart")
    assert (check.subject, check.status) == ("wal_level", "will_fix")
    assert (found.plan.changes, found.plan.restart) == ((), True)


def test_a_parameter_that_cannot_be_set_is_a_failure_with_the_reason() -> None:
    fixed = READY | {"wal_level": Parameter(name="wal_level", value="replica", read_only=True, dynamic=False)}
    [failed] = report(parameters=fixed).failures
    assert failed.code == "ParameterReadOnly"
    assert "'wal_level' is 'replica', 'logical' is needed, and it is read-only here" in failed.message
    assert failed.remedy


@pytest.mark.parametrize(
    ("id", "name", "used"),
    [
        ("ReplicationSlots", "max_replication_slots", Used(slots=10)),
        ("WalSenders", "max_wal_senders", Used(senders=10)),
    ],
)
def test_slots_and_senders_that_others_use_up_are_made(id: str, name: str, used: Used) -> None:
    found = report(used=used)
    [check] = checks(found, id)
    assert check.status == "will_fix"
    assert check.found == "10, of which others use 10"
    assert f"{name} will be raised" in check.message
    assert SetParameter(name, "11") in found.plan.changes
    assert [each.status for each in checks(report(used=Used(slots=9, senders=9)), id)] == ["pass"]


def test_slots_that_cannot_be_made_are_told_once_by_their_parameter() -> None:
    full = READY | {
        "max_wal_senders": Parameter(name="max_wal_senders", value="100", allowed="5-100", data_type="Integer")
    }
    found = report(parameters=full, used=Used(senders=100))
    assert [failed.code for failed in found.failures] == ["ParameterValueNotAllowed"]
    assert checks(found, "WalSenders") == []


@pytest.mark.parametrize(
    ("changes", "id", "message", "remedy"),
    [
        (
            {"problem": Reason("LoginRefused", "Refused.", "Let it in.")},
            "DatabaseConnectable",
            "Refused.",
            "Let it in.",
        ),
        ({"problem": Reason("SchemaTaken", "Taken.", "Rename it.")}, "SchemaTaken", "Taken.", "Rename it."),
        ({"mirrored_by_others": ("theirs",)}, "MirroredElsewhere", "is mirrored already", "Remove that mirror first"),
        (
            {"not_takeable": (NotTakeable("sales", "orders", "boss", 'GRANT "boss" TO "app";', ("dba", "root")),)},
            "TableNotTakeable",
            "Table sales.orders of database 'shop' belongs to 'boss', for whom the app may not act.",
            'Run as dba or root: GRANT "boss" TO "app";',
        ),
    ],
)
def test_a_database_that_cannot_be_mirrored(changes: dict[str, Any], id: str, message: str, remedy: str) -> None:
    [failed] = report(databases=(inside(**changes),)).failures
    assert failed.code == id
    assert message in failed.message
    assert remedy in failed.remedy


def test_a_server_without_a_database_has_nothing_to_mirror() -> None:
    found = report(intent(databases=()), server_changes={"databases": ()}, databases=())
    assert [failed.code for failed in found.failures] == ["Databases"]


@pytest.mark.parametrize(
    ("wanted", "changes", "id", "message", "remedy"),
    [
        (intent(workspace=""), {}, "WorkspaceNamed", "No Fabric workspace is named", "fabric-mirror-workspace"),
        (intent(workspace=OBJECT_ID), {}, "WorkspaceAllowed", f"Workspace {OBJECT_ID} is not allowed", "ALLOWED"),
        (intent(), {"workspace": None}, "WorkspaceExists", "does not exist, or the app has no role", "Member"),
        (
            intent(),
            {"workspace": None, "workspace_problem": Reason("Throttled", "Too many.", "Wait.")},
            "WorkspaceReadable", "Too many.", "Wait.",
        ),
        (
            intent(),
            {"workspace": workspace(capacity_state="Inactive")},
            "CapacityActive", "capacity of workspace 'Sales' is Inactive, not Active", "Resume the capacity",
        ),
        (
            intent(),
            {"workspace": workspace(app_role=BELOW_MEMBER)},
            "AppWorkspaceRole", "has the role Contributor or Viewer in workspace 'Sales'", "the role Member",
        ),
        (
            intent(),
            {"workspace": WorkspaceFacts(id=WORKSPACE)},
            "AppWorkspaceRole", f"has no role in workspace '{WORKSPACE}'", "the role Member",
        ),
        (
            intent(),
            {"workspace": workspace(capacity_state="")},
            "CapacityActive", "Workspace 'Sales' is not assigned to a Fabric capacity", "assign the workspace",
        ),
        (
            intent(),
            {"workspace": workspace(server_role="Viewer")},
            "ServerWorkspaceRole", "has the role Viewer in workspace 'Sales', and needs Contributor", "Let an Admin",
        ),
        (
            intent(),
            {"connections": "", "connections_problem": Reason("NoPostgreSqlConnections", "None offered.", "Ask.")},
            "PostgreSqlConnections", "None offered.", "Ask.",
        ),
    ],
)  # fmt: skip
def test_fabric_that_cannot_take_the_mirror(
    wanted: MirrorIntent, changes: dict[str, Any], id: str, message: str, remedy: str
) -> None:
    [failed] = report(wanted, **changes).failures
    assert failed.code == id
    assert message in failed.message
    assert remedy in failed.remedy


@pytest.mark.parametrize("chosen", [AS_PRINCIPAL, AS_WORKSPACE])
def test_without_a_password_its_authentication_may_be_off(chosen: dict[str, str]) -> None:
    found = report(server_changes={"password_auth": False}, chosen=chosen, workspace=workspace(identity="i"))
    assert found.failures == ()


@pytest.mark.parametrize(
    ("chosen", "gateway", "facts", "id", "message", "remedy"),
    [
        (AS_PRINCIPAL, "", {"principal_secret": False}, "PrincipalSecret", "no secret 'reader'", "app's Key Vault"),
        (AS_WORKSPACE, "", {"workspace": workspace()}, "WorkspaceIdentity", "'Sales' has no workspace identity",
         "an admin of the workspace"),
        (AS_WORKSPACE, "g-1", {"workspace": workspace(identity="i")}, "WorkspaceIdentityByGateway",
         "can't log in by way of a gateway", "ServicePrincipal or Basic"),
    ],
)  # fmt: skip
def test_what_a_principal_needs_to_log_in(
    chosen: dict[str, str], gateway: str, facts: dict[str, Any], id: str, message: str, remedy: str
) -> None:
    private = {"public_access": not gateway}
    [failed] = report(intent(gateway=gateway), private, chosen, **facts).failures
    assert failed.code == id
    assert message in failed.message
    assert remedy in failed.remedy
