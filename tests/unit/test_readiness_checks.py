"""Each check by itself: where it stands, what it says it saw, what it says is needed, and its outcome at the edges."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from shared.decisions import readiness
from shared.decisions.harm import Harm
from shared.decisions.rights import OfOwner, Plan
from shared.desired.intent import MirrorIntent
from shared.desired.takeover import Identity, NotTakeable, TableName
from shared.fabric.facts import WorkspaceFacts
from shared.platform.reasons import Reason
from shared.source.facts import Administrator, EventTrigger, IdentityChange, Missing, Owner
from shared.source.parameters import Parameter, Used
from tests import source
from tests.unit.facts import OBJECT_ID, OTHER_WORKSPACE, WORKSPACE
from tests.unit.prepared import AS_PRINCIPAL, AS_WORKSPACE, READY, checks, inside, intent, report, workspace
from tests.unit.test_rights import owner

FOLDER = Path(readiness.__file__).parent
REASON = Reason("Code", "Message.", "Remedy.")
NOT_TAKEABLE = NotTakeable("sales", "orders", "boss", "GRANT;", ())


def test_each_check_is_a_function_that_bears_its_id() -> None:
    """In snake case, or named in backquotes at the beginning of the function's docstring."""
    files = [ast.parse(path.read_text()) for path in FOLDER.glob("*.py")]
    functions = [node for tree in files for node in tree.body if isinstance(node, ast.FunctionDef)]
    names = {function.name for function in functions}
    named = {
        name for function in functions for name in re.findall("^`([A-Za-z]+)`:", ast.get_docstring(function) or "")
    }
    ids = {code for code, paths in source.codes().items() if any("decisions/readiness/" in path for path in paths)}
    assert len(ids) > 30
    in_snake_case = {id: re.sub("(?<=[a-z])(?=[A-Z])", "_", id).lower() for id in ids}
    assert {id for id, name in in_snake_case.items() if name not in names} - named == set()


def seen(found: str, wanted: str, status: str = "pass") -> tuple[str, str, str]:
    return found, wanted, status


@pytest.mark.parametrize(
    ("id", "changes", "outcome"),
    [
        ("ServerState", {}, seen("Ready", "Ready")),
        ("ServerVersion", {"version": 14}, seen("14", "14 to 18")),
        ("ServerVersion", {"version": 18}, seen("18", "14 to 18")),
        ("ServerTier", {"tier": "burstable"}, seen("burstable", "GeneralPurpose or MemoryOptimized", "fail")),
        ("HighAvailability", {"version": 16}, seen("Disabled", "Disabled, or PostgreSQL 17 and later")),
        ("ReplicationRole", {}, seen("Primary", "Primary")),
        ("ReplicationRole", {"replication_role": "None"}, seen("None", "Primary")),
        ("ReadReplicas", {}, seen("0", "no read replica")),
        ("ElasticCluster", {}, seen("single server", "single server")),
        ("ElasticCluster", {"elastic_cluster": True}, seen("elastic cluster", "single server", "fail")),
        ("PasswordAuthentication", {}, seen("Enabled", "Enabled")),
        ("PasswordAuthentication", {"password_auth": False}, seen("Disabled", "Enabled", "fail")),
        (
            "Network", {},
            seen("Azure services are allowed",
                 "public access with Azure services allowed, or a virtual network data gateway"),
        ),
        ("SystemIdentity", {}, seen("SystemAssigned", "system-assigned")),
        ("EntraAuthentication", {}, seen("Enabled", "Enabled")),
        ("EntraAuthentication", {"entra_auth": False}, seen("Disabled", "Enabled", "will_fix")),
        ("AppAdministrator", {}, seen("id-fabric-mirror", "id-fabric-mirror")),
        (
            "AppAdministrator",
            {"administrators": (Administrator("a", "dba", "User"), Administrator("b", "root", "User"))},
            seen("dba, root", "id-fabric-mirror", "will_fix"),
        ),
        ("DatabaseExists", {}, seen("there", "there")),
        ("DatabaseExists", {"databases": ("Shop",)}, seen("missing", "there", "fail")),
        ("DatabaseExists", {"databases": (), "state": "Stopped"}, seen("there", "there")),
    ],
)  # fmt: skip
def test_what_is_seen_of_a_server(id: str, changes: dict[str, Any], outcome: tuple[str, str, str]) -> None:
    [check] = checks(report(server_changes=changes), id)
    assert (check.found, check.wanted, check.status) == outcome


@pytest.mark.parametrize(
    ("id", "wanted", "changes", "outcome"),
    [
        ("WorkspaceNamed", intent(workspace=""), {}, seen("none", "a workspace", "fail")),
        ("WorkspaceNamed", intent(), {}, seen(WORKSPACE, "a workspace")),
        ("WorkspaceAllowed", intent(), {}, seen(WORKSPACE, "on ALLOWED_WORKSPACES")),
        ("WorkspaceReadable", intent(), {"workspace_problem": REASON}, seen("Code", "readable", "fail")),
        ("WorkspaceExists", intent(), {}, seen("Sales", "there")),
        ("WorkspaceExists", intent(), {"workspace": None}, seen("not found", "there", "fail")),
        ("AppWorkspaceRole", intent(), {}, seen("Member", "Member or Admin")),
        ("AppWorkspaceRole", intent(), {"workspace": workspace(app_role="Admin")}, seen("Admin", "Member or Admin")),
        ("AppWorkspaceRole", intent(), {"workspace": WorkspaceFacts(id="w")}, seen("none", "Member or Admin", "fail")),
        ("CapacityActive", intent(), {}, seen("Active", "Active")),
        ("CapacityActive", intent(), {"workspace": workspace(capacity_state="")}, seen("none", "Active", "fail")),
        (
            "CapacityActive", intent(), {"workspace": workspace(capacity_state="Unknown")},
            seen("Unknown", "Active", "warn"),
        ),
        ("ServerWorkspaceRole", intent(), {}, seen("Contributor", "Contributor")),
        (
            "ServerWorkspaceRole", intent(), {"workspace": workspace(server_role="")},
            seen("none", "Contributor", "will_fix"),
        ),
        (
            "ServerWorkspaceRole", intent(), {"workspace": workspace(server_role="Viewer")},
            seen("Viewer", "Contributor", "fail"),
        ),
        ("PostgreSqlConnections", intent(), {}, seen("AzurePostgreSql", "offered")),
        (
            "Databases", intent(databases=()), {"server_changes": {"databases": ()}},
            seen("none", "at least one", "fail"),
        ),
        (
            "MirroredElsewhere", intent(), {"databases": (inside(mirrored_by_others=("one", "two")),)},
            seen("one, two", "", "fail"),
        ),
        (
            "TableNotTakeable", intent(), {"databases": (inside(not_takeable=(NOT_TAKEABLE,)),)},
            seen("boss", "", "fail"),
        ),
        ("ReplicationSlots", intent(), {"used": Used(slots=2)}, seen("10, of which others use 2", "1 for the mirrors")),
        ("WalSenders", intent(), {"used": Used(senders=3)}, seen("10, of which others use 3", "1 for the mirrors")),
    ],
)  # fmt: skip
def test_what_is_seen_of_databases_and_of_fabric(
    id: str, wanted: MirrorIntent, changes: dict[str, Any], outcome: tuple[str, str, str]
) -> None:
    [check] = checks(report(wanted, **changes), id)
    assert (check.found, check.wanted, check.status) == outcome


@pytest.mark.parametrize(
    ("id", "chosen", "changes", "outcome"),
    [
        ("PrincipalSecret", AS_PRINCIPAL, {}, seen("kept", "kept in Key Vault")),
        ("PrincipalSecret", AS_PRINCIPAL, {"principal_secret": False}, seen("missing", "kept in Key Vault", "fail")),
        ("WorkspaceIdentity", AS_WORKSPACE, {}, seen("none", "a workspace identity", "fail")),
        ("WorkspaceIdentity", AS_WORKSPACE, {"workspace": workspace(identity="i")}, seen("i", "a workspace identity")),
        ("WorkspaceIdentityByGateway", AS_WORKSPACE, {}, seen("no gateway", "no gateway")),
        (
            "WorkspaceIdentityByGateway", AS_WORKSPACE,
            {"wanted": intent(gateway="g-1"), "server_changes": {"public_access": False}},
            seen("g-1", "no gateway", "fail"),
        ),
    ],
)  # fmt: skip
def test_what_is_seen_of_the_way_in_which_fabric_logs_in(
    id: str, chosen: dict[str, str], changes: dict[str, Any], outcome: tuple[str, str, str]
) -> None:
    [check] = checks(report(chosen=chosen, **changes), id)
    assert (check.found, check.wanted, check.status) == outcome


def test_what_a_login_does_not_need_is_not_checked() -> None:
    of_logins = {"PasswordAuthentication", "PrincipalSecret", "WorkspaceIdentity", "WorkspaceIdentityByGateway"}

    def ids(chosen: dict[str, str]) -> set[str]:
        return of_logins & {check.id for check in report(chosen=chosen).checks}

    assert ids({}) == {"PasswordAuthentication"}
    assert ids(AS_PRINCIPAL) == {"PrincipalSecret"}
    assert ids(AS_WORKSPACE) == {"WorkspaceIdentity", "WorkspaceIdentityByGateway"}


def test_replicas_are_allowed_by_a_setting() -> None:
    [check] = checks(report(server_changes={"replicas": 1}, chosen={"ALLOW_REPLICAS": "true"}), "ReadReplicas")
    assert check.status == "pass"


def test_a_capacity_out_of_sight_names_who_can_let_the_app_see_it() -> None:
    unseen = workspace(capacity_state="Unknown", capacity_id="capacity-1")
    found = report(workspace=unseen)
    [check] = checks(found, "CapacityActive")
    assert found.failures == ()
    assert check.message == "The app can't see whether the capacity of workspace 'Sales' is active."
    assert "Make 'id-fabric-mirror' a contributor of the capacity capacity-1." in check.remedy


def test_subjects() -> None:
    """A server, a database, a table, a parameter or a workspace: where a person has to look."""
    closed = {"not_takeable": (NOT_TAKEABLE,), "mirrored_by_others": ("x",), "problem": REASON}
    found = report(databases=(inside(**closed),), chosen=AS_PRINCIPAL)
    subjects = {check.id: check.subject for check in found.checks}
    assert {subjects[id] for id in ("ServerState", "Network", "SystemIdentity", "AppAdministrator", "Parameter")} == {
        "pg-shop"
    }
    assert {subjects[id] for id in ("DatabaseExists", "DatabaseConnectable", "MirroredElsewhere")} == {"shop"}
    assert subjects["TableNotTakeable"] == "shop: sales.orders"
    assert {subjects[id] for id in ("WorkspaceNamed", "WorkspaceAllowed", "WorkspaceExists", "CapacityActive")} == {
        WORKSPACE
    }
    assert (subjects["ReplicationSlots"], subjects["WalSenders"]) == ("max_replication_slots", "max_wal_senders")
    assert (subjects["PostgreSqlConnections"], subjects["PrincipalSecret"]) == ("Fabric", "reader")
    [named] = checks(report(intent(workspace="")), "WorkspaceNamed")
    assert named.subject == "-"


def test_a_server_that_is_not_ready_keeps_its_baseline_and_hides_its_databases() -> None:
    stopped = {"state": "Stopped", "databases": ()}
    found = report(intent(databases=()), stopped, parameters={}, used=None, databases=(), baseline_worker_processes=8)
    assert (found.plan.baseline_worker_processes, checks(found, "Databases")) == (8, [])
    found = report(server_changes=stopped, parameters={}, used=None, databases=(), baseline_worker_processes=None)
    assert found.plan.baseline_worker_processes == 0


def test_parameters_are_not_all_well_where_one_cannot_be_set() -> None:
    unfit = READY | {"wal_level": Parameter(name="wal_level", value="replica", read_only=True)}
    assert checks(report(parameters=unfit), "Parameter") == []


def test_a_check_that_passes_says_nothing() -> None:
    assert {check.message for check in report().checks if check.id != "Parameter"} == {""}
    assert [check.message for check in checks(report(), "Parameter")] == ["Every server parameter is as needed."]


def test_the_report_names_the_workspace() -> None:
    assert report().workspace_name == "Sales"
    assert report(workspace=None).workspace_name == ""


def test_without_anybody_who_may_a_superuser_has_to_run_the_statement() -> None:
    [failed] = report(databases=(inside(not_takeable=(NOT_TAKEABLE,)),)).failures
    assert failed.remedy == "Run as a superuser: GRANT;"


def test_a_workspace_is_asked_about_no_further_than_the_first_thing_that_is_wrong() -> None:
    def last(wanted: MirrorIntent, **changes: Any) -> str:
        return [check.id for check in report(wanted, **changes).checks if check.id != "PostgreSqlConnections"][-1]

    assert last(intent(workspace="")) == "WorkspaceNamed"
    assert last(intent(workspace=OBJECT_ID)) == "WorkspaceAllowed"
    assert last(intent(), workspace_problem=REASON) == "WorkspaceReadable"
    assert last(intent(), workspace=None) == "WorkspaceExists"
    assert last(intent(), workspace=WorkspaceFacts(id=WORKSPACE)) == "AppWorkspaceRole"
    assert last(intent()) == "ServerWorkspaceRole"
    assert last(intent(workspace=OTHER_WORKSPACE)) == "ServerWorkspaceRole"


def test_what_is_seen_of_parameters() -> None:
    odd = READY | {
        "wal_level": Parameter(name="wal_level", value="replica", dynamic=False),
        "max_worker_processes": Parameter(name="max_worker_processes", value="14", dynamic=False, pending_restart=True),
        "max_wal_senders": Parameter(name="max_wal_senders", value="many", dynamic=False, pending_restart=True),
    }
    del odd["max_replication_slots"]
    found = report(parameters=odd)
    told = {check.subject: (check.id, check.found, check.wanted, check.status) for check in found.checks}
    assert told["wal_level"] == ("Parameter", "replica", "logical", "will_fix")
    assert told["max_worker_processes"] == ("PendingRestart", "14", "14", "will_fix")
    assert told["max_replication_slots"] == ("ParameterMissing", "", "", "fail")
    assert not [check for check in found.checks if check.id in ("ReplicationSlots", "WalSenders")]
    assert found.plan.restart_because == ("max_worker_processes", "max_wal_senders", "wal_level")


def test_an_owner_that_has_become_strong_is_told_and_left() -> None:
    told = report(databases=(inside(name="crm", strong_owners=("boss", "dba")), inside()))
    left = checks(told, "OwnerBecameStrong")
    assert [(check.subject, check.status) for check in left] == [("crm: boss", "will_fix"), ("crm: dba", "will_fix")]
    assert "'boss'" in left[0].message
    assert told.plan.leave == ("crm",)
    assert report(databases=(inside(),)).plan.leave == ()


def test_what_ownership_changes_is_listed_where_it_is_accepted_and_told_as_the_reason_where_it_is_not() -> None:
    harm = Harm(TableName("s", "t"), "trigger keep of s.t", "It would fail.", "DO IT;")
    accepted = report(databases=(inside(harms=(harm,)),))
    [told] = checks(accepted, "OwnershipChanges")
    assert (told.subject, told.status, told.message, told.remedy) == (
        "shop: trigger keep of s.t", "warn", "It would fail.", "DO IT;"
    )  # fmt: skip
    refused = Plan(owners=(), problems=(Reason("OwnershipWouldHarm", "It would harm.", "Accept it."),))
    blocked = report(databases=(inside(harms=(harm,), rights=refused),))
    assert checks(blocked, "OwnershipChanges") == []
    [reason] = checks(blocked, "OwnershipWouldHarm")
    assert (reason.subject, reason.status, reason.remedy) == ("shop", "fail", "Accept it.")
    assert reason.message == "Database 'shop': It would harm."


@pytest.mark.parametrize(
    ("owners", "status"),
    [
        ((owner("app", joined=True), owner("web", joined=True)), "pass"),
        ((owner("app", joined=True), owner("web")), "will_fix"),
        ((owner("app", joined=True, other_tables=3),), "warn"),
    ],
)
def test_how_the_role_gets_its_rights_on_tables(owners: tuple[Owner, ...], status: str) -> None:
    ways = tuple(OfOwner(it.name, "membership", "It changes nothing.") for it in owners)
    [told] = checks(report(databases=(inside(owners=owners, rights=Plan(owners=ways)),)), "TableRights")
    names = ", ".join(it.name for it in owners)
    assert (told.subject, told.status, told.found, told.wanted) == ("shop", status, "membership", f"member of {names}")
    assert told.message.startswith("It changes nothing.")
    assert ("3 other tables" in told.message) is (status == "warn")


def test_both_ways_to_tables_are_told() -> None:
    owners = (owner("app"), owner("boss", administrator=True))
    ways = (OfOwner("app", "membership", "One."), OfOwner("boss", "ownership", "Two."))
    [told] = checks(report(databases=(inside(owners=owners, rights=Plan(owners=ways)),)), "TableRights")
    assert (told.found, told.wanted) == ("ownership", "member of app; owner of the tables of boss")
    assert told.message == "One. Two."


@pytest.mark.parametrize(
    ("names", "run_as", "message", "remedy"),
    [
        (("a",), (), "Table s.a of database 'shop' belongs to 'app'", "Run as a superuser: GRANT 1;"),
        (("a", "b"), ("boss",), "Table s.a and 1 more tables of database 'shop' belong to 'app'", "Run as boss: GRANT"),
        (("a", "b", "c"), ("x", "y"), "Table s.a and 2 more tables", "Run as x or y: GRANT 1;"),
    ],
)
def test_tables_that_the_app_may_not_take_are_one_check_an_owner(
    names: tuple[str, ...], run_as: tuple[str, ...], message: str, remedy: str
) -> None:
    refused = tuple(NotTakeable("s", name, "app", "GRANT 1;", run_as) for name in names)
    other = NotTakeable("s", "z", "web", "GRANT 2;", ("boss",))
    told = checks(report(databases=(inside(not_takeable=(*refused, other)),)), "TableNotTakeable")
    assert [(check.found, check.status) for check in told] == [("app", "fail"), ("web", "fail")]
    assert told[0].subject == "shop: s.a"
    assert message in told[0].message
    assert remedy in told[0].remedy
    assert "Table s.z of database 'shop' belongs to 'web'" in told[1].message


@pytest.mark.parametrize(
    ("number", "words"), [(5, "s.t4 (DEFAULT)."), (6, "s.t4 (DEFAULT) and 1 more."), (9, "s.t4 (DEFAULT) and 4 more.")]
)
def test_the_first_replica_identities_are_named(number: int, words: str) -> None:
    changes = tuple(IdentityChange(Identity(n, "s", f"t{n}", "DEFAULT"), "FULL") for n in range(number))
    [told] = checks(report(databases=(inside(identities=changes),)), "ReplicaIdentity")
    assert (told.status, told.wanted, told.subject) == ("will_fix", "FULL", "shop")
    assert told.found.startswith("s.t0 (DEFAULT), s.t1")
    assert told.found.endswith(words.rstrip("."))
    assert words in told.message


@pytest.mark.parametrize(
    ("trusted", "tags", "id", "status", "seen"),
    [
        (True, ("CREATE TABLE", "GRANT"), "EventTrigger", "warn", "ddl_command_end: CREATE TABLE, GRANT"),
        (True, (), "EventTrigger", "warn", "ddl_command_end: all commands"),
        (False, (), "EventTriggerNotTrusted", "fail", "mallory"),
    ],
)
def test_event_triggers(trusted: bool, tags: tuple[str, ...], id: str, status: str, seen: str) -> None:
    trigger = EventTrigger(
        name="note", event="ddl_command_end", tags=tags, function="s.note()", owner="mallory", trusted=trusted
    )
    told = report(databases=(inside(event_triggers=(trigger,)),))
    [check] = [check for check in told.checks if check.id.startswith("EventTrigger")]
    assert (check.id, check.subject, check.status, check.found) == (id, "shop: note", status, seen)
    assert "s.note()" in check.message


@pytest.mark.parametrize(("run_as", "who"), [((), "a superuser"), (("boss",), "boss"), (("x", "y"), "x or y")])
def test_a_right_that_the_app_may_not_grant_names_who_may(run_as: tuple[str, ...], who: str) -> None:
    missing = Missing("CREATE ON DATABASE shop", "GRANT 1;", run_as)
    [told] = checks(report(databases=(inside(missing=(missing,)),)), "GrantNotPermitted")
    assert (told.subject, told.status) == ("shop: CREATE ON DATABASE shop", "fail")
    assert told.remedy == f"Run as {who}, in this database: GRANT 1;"
