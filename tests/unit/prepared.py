"""The readiness report of a server that is prepared already, as a starting point for tests."""

from __future__ import annotations

from typing import Any

from shared.decisions import readiness
from shared.decisions.readiness import Check, DatabaseFacts, Facts, Report
from shared.desired.intent import MirrorIntent
from shared.fabric.facts import WorkspaceFacts
from shared.source.facts import TableReport, TableStatus
from shared.source.parameters import Parameter, Used
from tests.unit.facts import OBJECT_ID, WORKSPACE, server, settings

READY: dict[str, Parameter] = {
    name: Parameter(name=name, value=value, allowed=allowed, dynamic=dynamic, data_type=kind)
    for name, value, allowed, dynamic, kind in (
        ("azure.extensions", "azure_cdc", "azure_cdc,pg_trgm", True, "Set"),
        ("shared_preload_libraries", "azure_cdc", "azure_cdc,auto_explain", False, "Set"),
        ("wal_level", "logical", "replica,logical", False, "Enumeration"),
        ("max_worker_processes", "14", "0-262143", False, "Integer"),
        ("max_replication_slots", "10", "2-262143", False, "Integer"),
        ("max_wal_senders", "10", "5-100", False, "Integer"),
    )
}


ORDERS = TableStatus(schema="sales", name="orders", status="OK", codes=("HAS_PRIMARY_KEY",), message="", owner="app")


def workspace(**changes: Any) -> WorkspaceFacts:
    facts: dict[str, Any] = {
        "id": WORKSPACE, "name": "Sales", "capacity_state": "Active", "app_role": "Member",
        "server_role": "Contributor",
    }  # fmt: skip
    return WorkspaceFacts(**{**facts, **changes})


def intent(**changes: Any) -> MirrorIntent:
    wanted: dict[str, Any] = {
        "wanted": True, "source": "tag", "databases": ("shop",), "tables": (), "workspace": WORKSPACE, "gateway": "",
        "restart": "auto", "rights": "auto",
    }  # fmt: skip
    return MirrorIntent(**{**wanted, **changes})


def inside(**changes: Any) -> DatabaseFacts:
    return DatabaseFacts(**{"name": "shop", "tables": TableReport((ORDERS,), 1000), **changes})


def report(
    wanted: MirrorIntent | None = None,
    server_changes: dict[str, Any] | None = None,
    chosen: dict[str, str] | None = None,
    **changes: Any,
) -> Report:
    """The report of a server that is prepared already, but for the changes; `chosen` are app settings."""
    facts: dict[str, Any] = {
        "server": server(**(server_changes or {})), "parameters": READY, "workspace": workspace(),
        "connections": "AzurePostgreSql", "used": Used(), "databases": (inside(),), "baseline_worker_processes": 8,
    }  # fmt: skip
    return readiness.check(
        Facts(**{**facts, **changes}), wanted or intent(), settings(**{"ALLOW_REPLICAS": "false", **(chosen or {})})
    )


def checks(found: Report, id: str) -> list[Check]:
    return [check for check in found.checks if check.id == id]


AS_PRINCIPAL = {
    "FABRIC_CREDENTIALS": "ServicePrincipal", "FABRIC_PRINCIPAL_CLIENT_ID": OBJECT_ID,
    "FABRIC_PRINCIPAL_OBJECT_ID": OBJECT_ID, "FABRIC_PRINCIPAL_SECRET": "reader",
}  # fmt: skip
AS_WORKSPACE = {"FABRIC_CREDENTIALS": "WorkspaceIdentity"}
