"""What stands between a server and its mirrors: a report of checks, and the plan of what would be done about them.

Pure: facts and intent go in, a report comes out. Nothing here reads or changes anything.
Source of the rules: the "Fabric mirroring" pages of Azure Database for PostgreSQL flexible server (prerequisites and
limitations), and the tutorial "Configure Microsoft Fabric mirrored databases from Azure Database for PostgreSQL".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from shared.desired.intent import MirrorIntent
from shared.fabric.workspace import WorkspaceFacts
from shared.platform.reasons import Reason
from shared.platform.settings import Settings
from shared.source import parameters as server_parameters
from shared.source import server as flexible_server
from shared.source.parameters import Parameter, ParameterPlan, Used
from shared.source.server import AddAdministrator, Change, EnableEntraAuthentication, EnableSystemIdentity, ServerFacts
from shared.source.tables import TableReport

OLDEST, NEWEST = 14, 18
HIGH_AVAILABILITY_FROM = 17
WRITABLE_ROLES = frozenset({"Primary", "None"})
SUFFICIENT_ROLES = frozenset({"Admin", "Member"})
"""Workspace roles with which the app may create mirrored databases and give the server's identity a role."""

CONCEPTS = "https://learn.microsoft.com/azure/postgresql/integration/concepts-fabric-mirroring"
TUTORIAL = "https://learn.microsoft.com/fabric/mirroring/azure-database-postgresql-tutorial"
LIMITS = "https://learn.microsoft.com/fabric/mirroring/azure-database-postgresql-limitations"

type Outcome = Literal["pass", "will_fix", "warn", "fail"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `subject`: what it is about (the server, a database, a table, a workspace)."""

    id: str
    subject: str
    status: Outcome
    found: str = ""
    wanted: str = ""
    message: str = ""
    remedy: str = ""
    reference: str = ""


class DatabaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What PostgreSQL tells about one database. `mirrored_by_others`: publications of mirrors that are not ours."""

    name: str
    tables: TableReport | None = None
    mirrored_by_others: tuple[str, ...] = ()
    problem: Reason | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known before the decision. `used` is None where the app can't log in yet."""

    server: ServerFacts
    parameters: dict[str, Parameter]
    workspace: WorkspaceFacts | None
    workspace_problem: Reason | None = None
    used: Used | None = None
    databases: tuple[DatabaseFacts, ...] = ()
    baseline_worker_processes: int | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Every change to the server in order, and whether a restart follows. `databases` are those to mirror."""

    changes: tuple[Change, ...]
    restart: bool
    restart_because: tuple[str, ...]
    databases: tuple[str, ...]
    baseline_worker_processes: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The checks and the plan."""

    checks: tuple[Check, ...]
    plan: Plan

    @property
    def failures(self) -> tuple[Reason, ...]:
        """Why the server can't be prepared; empty when it can."""
        return tuple(Reason(check.id, check.message, check.remedy) for check in self.checks if check.status == "fail")


def databases_of(intent: MirrorIntent, server: ServerFacts) -> tuple[str, ...]:
    """The databases to mirror: the chosen ones, or every user database."""
    return intent.databases or server.databases


def check(facts: Facts, intent: MirrorIntent, settings: Settings) -> Report:
    """The report and the plan for one server."""
    server = facts.server
    databases = databases_of(intent, server)
    planned = server_parameters.plan(
        facts.parameters, databases, baseline=facts.baseline_worker_processes, used=facts.used or Used()
    )
    access = tuple(_access_changes(server, settings))
    changes = access + tuple(flexible_server.SetParameter(c.name, c.wanted) for c in planned.changes)
    pending = server_parameters.pending_restart(facts.parameters)
    because = tuple(dict.fromkeys([*pending, *(c.name for c in planned.changes if c.restart)]))
    plan = Plan(
        changes=changes,
        restart=bool(because),
        restart_because=because,
        databases=databases,
        baseline_worker_processes=planned.baseline_worker_processes,
    )
    checks: list[Check] = [
        *_server_checks(server),
        *_access_checks(server, settings),
        *_parameter_checks(server, facts.parameters, planned, pending),
        *_database_checks(server, databases, intent, facts.databases),
        *_workspace_checks(intent, facts, settings),
    ]
    return Report(checks=tuple(checks), plan=plan)


def _server_checks(server: ServerFacts) -> Iterator[Check]:
    def judge(id: str, good: bool, found: object, wanted: str, message: str, remedy: str, reference: str = CONCEPTS) -> Check:
        return _judged(id, server.id.name, good, found, wanted, message, remedy, reference)

    yield judge(
        "ServerState",
        server.state == "Ready",
        server.state,
        "Ready",
        f"Server {server.id.name!r} is {server.state}, not Ready.",
        "Start it, or wait until its operation has ended." if server.state != "Disabled" else "Ask Azure support.",
    )
    yield judge(
        "ServerVersion",
        OLDEST <= server.version <= NEWEST,
        server.version,
        f"{OLDEST} to {NEWEST}",
        f"PostgreSQL {server.version} can't be mirrored.",
        f"Upgrade the server to a version from {OLDEST} to {NEWEST}.",
    )
    yield judge(
        "ServerTier",
        server.tier.lower() != "burstable",
        server.tier,
        "GeneralPurpose or MemoryOptimized",
        "A server in the Burstable tier can't be mirrored.",
        "Scale it to General Purpose or Memory Optimized (this restarts it).",
    )
    yield judge(
        "HighAvailability",
        server.high_availability == "Disabled" or server.version >= HIGH_AVAILABILITY_FROM,
        server.high_availability,
        f"Disabled, or PostgreSQL {HIGH_AVAILABILITY_FROM} and later",
        f"With high availability ({server.high_availability}), mirroring needs PostgreSQL {HIGH_AVAILABILITY_FROM}; "
        f"this server runs {server.version}.",
        f"Upgrade to PostgreSQL {HIGH_AVAILABILITY_FROM}, or disable high availability.",
    )
    yield judge(
        "ReplicationRole",
        server.replication_role in WRITABLE_ROLES,
        server.replication_role,
        "Primary",
        f"The server is a read replica ({server.replication_role}); only a primary can be mirrored.",
        "Tag its primary instead, or promote it.",
    )
    yield judge(
        "ElasticCluster",
        not server.elastic_cluster,
        "elastic cluster" if server.elastic_cluster else "single server",
        "single server",
        "An elastic cluster can't be mirrored.",
        "Use a server that is not an elastic cluster.",
    )
    yield judge(
        "PasswordAuthentication",
        server.password_auth,
        "Enabled" if server.password_auth else "Disabled",
        "Enabled",
        "Password authentication is disabled, and Fabric logs in with a password.",
        "Enable PostgreSQL authentication beside Microsoft Entra authentication.",
        TUTORIAL,
    )
    yield judge(
        "Network",
        server.public_access and server.azure_services_allowed,
        _network(server),
        "public access with Azure services allowed",
        f"Fabric can't reach the server: {_network(server)}.",
        "Enable public access and add the firewall rule 0.0.0.0-0.0.0.0 (Allow access from Azure services).",
        TUTORIAL,
    )


def _access_changes(server: ServerFacts, settings: Settings) -> Iterator[Change]:
    if not server.principal_id:
        yield EnableSystemIdentity()
    if not server.entra_auth:
        yield EnableEntraAuthentication()
    if not _is_administrator(server, settings):
        yield AddAdministrator(settings.identity_object_id, settings.identity_name, settings.azure_tenant_id)


def _access_checks(server: ServerFacts, settings: Settings) -> Iterator[Check]:
    yield _fixed(
        "SystemIdentity",
        server.id.name,
        bool(server.principal_id),
        server.identity_type,
        "system-assigned",
        "The server's system-assigned managed identity will be enabled.",
    )
    yield _fixed(
        "EntraAuthentication",
        server.id.name,
        server.entra_auth,
        "Enabled" if server.entra_auth else "Disabled",
        "Enabled",
        "Microsoft Entra authentication will be enabled, so that this app can log in.",
    )
    yield _fixed(
        "AppAdministrator",
        server.id.name,
        _is_administrator(server, settings),
        ", ".join(administrator.name for administrator in server.administrators),
        settings.identity_name,
        f"The app's identity {settings.identity_name!r} will be made a Microsoft Entra administrator of the server.",
    )


def _parameter_checks(
    server: ServerFacts, found: dict[str, Parameter], plan: ParameterPlan, pending: Iterable[str]
) -> Iterator[Check]:
    for change in plan.changes:
        yield Check(
            id="Parameter",
            subject=change.name,
            status="will_fix",
            found=change.found,
            wanted=change.wanted,
            message=f"The server parameter {change.name} will be set to {change.wanted!r}"
            + (", which takes effect with a restart." if change.restart else "."),
            reference=CONCEPTS,
        )
    for problem in plan.problems:
        yield Check(
            id=problem.code,
            subject=problem.parameter,
            status="fail",
            found=found[problem.parameter].value if problem.parameter in found else "",
            message=problem.message,
            remedy=problem.remedy,
            reference=CONCEPTS,
        )
    changed = {change.name for change in plan.changes}
    for name in pending:
        if name not in changed:
            yield Check(
                id="PendingRestart",
                subject=name,
                status="will_fix",
                found=found[name].value,
                wanted=found[name].value,
                message=f"The server parameter {name} is set, and waits for a restart.",
                reference=CONCEPTS,
            )
    if not plan.changes and not plan.problems:
        yield Check(id="Parameter", subject=server.id.name, status="pass", message="Every server parameter is as needed.")


def _database_checks(
    server: ServerFacts, databases: tuple[str, ...], intent: MirrorIntent, facts: tuple[DatabaseFacts, ...]
) -> Iterator[Check]:
    if not databases and server.state == "Ready":
        yield Check(
            id="Databases",
            subject=server.id.name,
            status="fail",
            found="none",
            wanted="at least one",
            message="The server has no user database.",
            remedy="Create a database, then tag the server again.",
        )
    for database in databases:
        exists = database in server.databases or server.state != "Ready"
        yield _judged(
            "DatabaseExists",
            database,
            exists,
            "there" if exists else "missing",
            "there",
            f"Database {database!r} does not exist on server {server.id.name!r}; it has "
            f"{', '.join(server.databases) or 'none'}.",
            "Correct the name (letter case matters), or create the database.",
        )
    for known in facts:
        yield from _inside_checks(known, intent)


def _inside_checks(database: DatabaseFacts, intent: MirrorIntent) -> Iterator[Check]:
    if database.problem:
        yield Check(
            id="DatabaseConnectable",
            subject=database.name,
            status="fail",
            message=database.problem.message,
            remedy=database.problem.remedy,
        )
    if database.mirrored_by_others:
        yield Check(
            id="MirroredElsewhere",
            subject=database.name,
            status="fail",
            found=", ".join(database.mirrored_by_others),
            message=f"Database {database.name!r} is mirrored already, by something that this app did not make.",
            remedy="Remove that mirror first, or leave the database to it.",
        )
    if database.tables is None:
        return
    chosen = bool(intent.tables_of(database.name))
    for table in database.tables.tables:
        if table.status == "OK":
            continue
        yield Check(
            id="Table",
            subject=f"{database.name}: {table.schema}.{table.name}",
            status="fail" if chosen and table.status == "ERROR" else "warn",
            found=", ".join(table.codes),
            message=table.message,
            reference=LIMITS,
        )
    if not any(table.status != "ERROR" for table in database.tables.tables):
        yield Check(
            id="NoTables",
            subject=database.name,
            status="warn",
            message=f"Database {database.name!r} has no table that can be mirrored; a mirror without one does not come up.",
            remedy="Create a table with a primary key first.",
            reference=LIMITS,
        )


def _workspace_checks(intent: MirrorIntent, facts: Facts, settings: Settings) -> Iterator[Check]:
    workspace = intent.workspace

    def judge(id: str, good: bool, found: object, wanted: str, message: str, remedy: str) -> Check:
        return _judged(id, workspace or "-", good, found, wanted, message, remedy, TUTORIAL)

    yield judge(
        "WorkspaceNamed",
        bool(workspace),
        workspace or "none",
        "a workspace",
        "No Fabric workspace is named, and there is no default.",
        f"Write the workspace's GUID into the tag {settings.tag_prefix}-workspace, or set DEFAULT_WORKSPACE.",
    )
    if not workspace:
        return
    yield judge(
        "WorkspaceAllowed",
        workspace in settings.allowed_workspaces,
        workspace,
        "on ALLOWED_WORKSPACES",
        f"Workspace {workspace} is not allowed.",
        "Choose an allowed workspace, or have it added to ALLOWED_WORKSPACES.",
    )
    if workspace not in settings.allowed_workspaces:
        return
    if facts.workspace_problem:
        problem = facts.workspace_problem
        yield judge("WorkspaceReadable", False, problem.code, "readable", problem.message, problem.remedy)
        return
    found = facts.workspace
    yield judge(
        "WorkspaceExists",
        found is not None,
        found.name if found else "not found",
        "there",
        f"Workspace {workspace} does not exist, or the app has no role in it.",
        "Create it, or give the app's identity the role Member in it.",
    )
    if found is None:
        return
    yield judge(
        "CapacityActive",
        found.capacity_state == "Active",
        found.capacity_state,
        "Active",
        f"The capacity of workspace {found.name!r} is {found.capacity_state or 'not assigned'}, not Active.",
        "Resume the capacity, or assign the workspace to one that is active.",
    )
    yield judge(
        "AppWorkspaceRole",
        found.app_role in SUFFICIENT_ROLES,
        found.app_role or "none",
        "Member or Admin",
        f"The app's identity has {'the role ' + found.app_role if found.app_role else 'no role'} in workspace "
        f"{found.name!r}; it needs Member or Admin to create mirrored databases and to admit the server's identity.",
        f"Give {settings.identity_name!r} the role Member in the workspace.",
    )


def _is_administrator(server: ServerFacts, settings: Settings) -> bool:
    return any(administrator.object_id == settings.identity_object_id for administrator in server.administrators)


def _network(server: ServerFacts) -> str:
    if not server.public_access:
        return "public access is disabled"
    return "Azure services are allowed" if server.azure_services_allowed else "the firewall does not allow Azure services"


def _judged(
    id: str, subject: str, good: bool, found: object, wanted: str, message: str, remedy: str, reference: str = ""
) -> Check:
    """A check that passes or fails."""
    if good:
        return Check(id=id, subject=subject, status="pass", found=str(found), wanted=wanted)
    return Check(
        id=id, subject=subject, status="fail", found=str(found), wanted=wanted, message=message, remedy=remedy,
        reference=reference,
    )  # fmt: skip


def _fixed(id: str, subject: str, good: bool, found: str, wanted: str, message: str) -> Check:
    """A check that passes, or announces a change."""
    status: Outcome = "pass" if good else "will_fix"
    return Check(id=id, subject=subject, status=status, found=found, wanted=wanted, message="" if good else message)
