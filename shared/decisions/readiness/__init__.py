"""What stands between a server and its mirrors: a report of checks, and the plan of what would be done about them.

Pure: facts and intent go in, a report comes out. Nothing here reads or changes anything.
Source of the rules: the "Fabric mirroring" pages of Azure Database for PostgreSQL flexible server (prerequisites and
limitations), and the tutorial "Configure Microsoft Fabric mirrored databases from Azure Database for PostgreSQL".
"""

from __future__ import annotations

from shared.decisions.readiness.database import database_checks
from shared.decisions.readiness.parameters import capacity_checks, parameter_checks
from shared.decisions.readiness.report import Check, DatabaseFacts, Facts, Plan, Report, databases_of, gateway_of
from shared.decisions.readiness.server import access_changes, access_checks, is_administrator, server_checks
from shared.decisions.readiness.workspace import connection_checks, workspace_checks
from shared.desired.changes import SetParameter
from shared.desired.intent import MirrorIntent
from shared.platform.settings import Settings
from shared.source import parameters as server_parameters
from shared.source.parameters import ParameterPlan, Used

__all__ = [
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
    """The report and the plan for one server. Of one that is not ready, nothing but that can be said for sure."""
    server = facts.server
    databases = databases_of(intent, server)
    ready = server.state == "Ready"
    baseline = facts.baseline_worker_processes
    planned = (
        server_parameters.plan(facts.parameters, databases, baseline=baseline, used=facts.used or Used())
        if ready
        else ParameterPlan((), (), baseline or 0)
    )
    access = tuple(access_changes(server, settings))
    changes = access + tuple(SetParameter(c.name, c.wanted) for c in planned.changes)
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
        *server_checks(server, intent, settings),
        *access_checks(server, settings),
        *(parameter_checks(server, facts.parameters, planned, pending) if ready else ()),
        *(capacity_checks(facts.parameters, facts.used, planned, len(databases)) if facts.used else ()),
        *database_checks(server, databases, intent, facts.databases),
        *workspace_checks(intent, facts, settings),
        *connection_checks(intent, facts, settings),
    ]
    return Report(checks=tuple(checks), plan=plan, workspace_name=facts.workspace.name if facts.workspace else "")
