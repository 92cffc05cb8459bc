"""What stands between a server and its mirrors: a report of checks, and the plan of what would be done about them.

One function a check, named after the check's id: `ServerTier` is `server_tier`. The checks of the server stand in
`server`, those of who gets in in `access`, then `parameters`, `database`, `tables`, `workspace` and `connection`. To
add a check, write its function and yield it where the file's first function yields the others.

Source of the rules: the "Fabric mirroring" pages of Azure Database for PostgreSQL flexible server (prerequisites and
limitations), and the tutorial "Configure Microsoft Fabric mirrored databases from Azure Database for PostgreSQL".
"""

from __future__ import annotations

from shared.decisions import parameters as server_parameters
from shared.decisions.parameters import ParameterPlan
from shared.decisions.readiness.access import access_changes, access_checks, is_administrator
from shared.decisions.readiness.connection import connection_checks
from shared.decisions.readiness.database import database_checks
from shared.decisions.readiness.facts import DatabaseFacts, Facts, databases_of, gateway_of, to_mirror
from shared.decisions.readiness.parameters import capacity_checks, parameter_checks
from shared.decisions.readiness.report import Check, Plan, Report
from shared.decisions.readiness.server import WRITABLE_ROLES, server_checks
from shared.decisions.readiness.workspace import workspace_checks
from shared.desired.changes import SetParameter
from shared.desired.intent import MirrorIntent
from shared.platform.settings import Settings
from shared.source.parameters import Used

__all__ = [
    "WRITABLE_ROLES",
    "Check",
    "DatabaseFacts",
    "Facts",
    "Plan",
    "Report",
    "check",
    "databases_of",
    "gateway_of",
    "is_administrator",
]


def check(facts: Facts, intent: MirrorIntent, settings: Settings) -> Report:
    """The report and the plan for one server. Of a server that is not Ready, it says only what is certain."""
    server = facts.server
    ready = server.state == "Ready"
    databases = to_mirror(intent, server, facts.databases)
    parameters = _parameter_plan(facts, databases)
    checks: list[Check] = [
        *server_checks(server, intent, settings),
        *access_checks(server, settings),
        *(parameter_checks(server, facts.parameters, parameters) if ready else ()),
        *(capacity_checks(facts.parameters, facts.used, parameters, len(databases)) if facts.used else ()),
        *database_checks(server, databases, intent, facts.databases),
        *workspace_checks(intent, facts, settings),
        *connection_checks(intent, facts, settings),
    ]
    return Report(
        checks=tuple(checks),
        plan=_plan(facts, parameters, databases, settings),
        workspace_name=facts.workspace.name if facts.workspace else "",
    )


def _parameter_plan(facts: Facts, databases: tuple[str, ...]) -> ParameterPlan:
    baseline = facts.baseline_worker_processes
    if facts.server.state != "Ready":
        return ParameterPlan((), (), baseline or 0)
    return server_parameters.plan(facts.parameters, databases, baseline=baseline, used=facts.used or Used())


def _plan(facts: Facts, parameters: ParameterPlan, databases: tuple[str, ...], settings: Settings) -> Plan:
    pending = server_parameters.pending_restart(facts.parameters)
    need_restart = (change.name for change in parameters.changes if change.restart)
    restart_because = tuple(dict.fromkeys([*pending, *need_restart]))
    return Plan(
        changes=(
            *access_changes(facts.server, settings),
            *(SetParameter(change.name, change.needed) for change in parameters.changes),
        ),
        restart=bool(restart_because),
        restart_because=restart_because,
        databases=databases,
        baseline_worker_processes=parameters.baseline_worker_processes,
        leave=tuple(database.name for database in facts.databases if database.strong_owners),
    )
