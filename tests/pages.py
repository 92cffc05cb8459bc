"""The dashboard as HTML, from what a test says that there is, without an app."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from shared.dashboard import links, overview, page
from shared.dashboard.listing import PHASES, Server
from shared.dashboard.query import LEVELS, Query
from shared.decisions import progress
from shared.decisions.answers import Verdict
from shared.desired.server_id import ServerId
from shared.platform.reasons import Reason
from shared.records.rows import HealthRow

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SERVER = ServerId("22222222-2222-2222-2222-222222222222", "rg-one", "pg-shop")
HOSTILE = """<script>alert('x')</script>"><img src=x onerror=alert(1)>{{ 7*7 }}"""
API = "https://mirrors.example/api/"


def row(**changes: Any) -> HealthRow:
    values = {
        "workspace": "w1", "item": "i1", "server": SERVER, "database": "shop", "level": "Healthy",
        "since": NOW - timedelta(hours=3), "updated_at": NOW - timedelta(minutes=2), "status": "Running",
        "tables": 3, "tables_replicating": 3, "tables_failing": 0, "rows": 1_234_567, "latency_seconds": 2.5,
        "retained_wal_bytes": 2**25,
    }  # fmt: skip
    return HealthRow(**values | changes)


def server(phase: str, run: str = "", *reasons: Reason) -> Server:
    return Server(server=str(SERVER), phase=phase, reasons=reasons, run=run, updated_at=NOW - timedelta(hours=1))


def shown(
    *rows: HealthRow, waiting: tuple[Server, ...] = (), missing: tuple[Server, ...] = (),
    blocked: tuple[Server, ...] = (), working: tuple[Server, ...] = (), status: progress.Status | None = None,
    address: str = f"{API}dashboard", parameters: dict[str, str] | None = None,
    phases: dict[str, int] | None = None, pages: tuple[int, int] = (1, 1),
) -> str:  # fmt: skip
    counts = {level: sum(one.level == level for one in rows) for level in LEVELS}
    found = overview.Overview(
        query=Query(), now=NOW, counts=counts, total=len(rows), lines=tuple(overview.Line(one, ()) for one in rows),
        page=pages[0], pages=pages[1], servers=dict.fromkeys(PHASES, 0) | (phases or {}), mirrored_servers=1,
        waiting=waiting, missing=missing, blocked=blocked, working=working, names=("pg-shop",),
        workspaces={"w1": HOSTILE, "w2": "w2"},
    )  # fmt: skip
    at = links.of(address, parameters or {}, depth=0)
    return page.overview(found, {"run-1": status} if status else {}, at, API)


def wait_for(what: str, since: datetime, until: datetime) -> Verdict:
    """The verdict of a restart that has to wait."""
    return Verdict(message="Waiting", waiting_for=what, since=since, wait_until=until)


def waiting_for_a_decision(since: datetime = NOW - timedelta(hours=2)) -> str:
    """The page with a server that waits for a decision about its restart."""
    base = progress.at_server("restart", ["shop"], "Waiting for a decision")
    status = progress.waiting(base, wait_for("restart-decision", since, NOW + timedelta(hours=70)))
    reason = Reason("RestartApprovalRequired", "Waiting for a decision to restart server 'pg-shop' for wal_level")
    return shown(waiting=(server("Waiting", "run-1", reason),), status=status, phases={"Waiting": 1})
