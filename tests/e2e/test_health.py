"""What goes wrong with a mirror shows in its row and is told once; what is mended goes back to Healthy, told once too.

The stack's Fabric really reads a real slot of a real server, and both are really broken here. Each test finds the
mirror healthy and leaves it so.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
import requests
from azure.data.tables import TableClient

from local.application import Application
from local.scenario import ADMINISTRATOR, Operator, Server, acting_as, eventually
from local.stack import PARTS
from local.topology import NOTICE_TOPIC
from tests import real_parts
from tests.conftest import StackFactory

FABRIC = "https://api.fabric.microsoft.com"
# A mirror that has just started is not blamed for some of it, and these tests can't wait. They alone start sweeps.
# A sweep that does not end is ended after twelve times SWEEP_MINUTES, which suffice for three calls.
SETTINGS = {"HEALTH_GRACE_MINUTES": "0.001", "HEALTH_SCHEDULE": "0 0 0 1 1 *", "SWEEP_MINUTES": "0.016"}
SECONDS = 90


class Watched(msgspec.Struct):
    """A server whose database `shop` is mirrored, as an operator sees it."""

    operator: Operator
    server: Server
    application: Application

    def row(self) -> dict[str, Any]:
        rows = self.operator.rows("MirrorHealth")
        return next((row for row in rows if row["server"].lower() == self.server.id.lower()), {})

    def look(self) -> dict[str, Any]:
        """Its row after exactly one more sweep."""
        self.operator.sweep()
        return self.row()

    def codes(self, row: dict[str, Any]) -> list[str]:
        return [reason["code"] for reason in msgspec.json.decode(row["reasons"])]

    def until(self, level: str, code: str = "") -> dict[str, Any]:
        """Its row as soon as it says so."""

        def enough(row: dict[str, Any]) -> bool:
            return row["level"] == level and (not code or code in self.codes(row))

        return eventually(self.look, enough, SECONDS)

    def shown(self, row: dict[str, Any]) -> bool:
        """Whether the mirror's own line of the page shows its level, its server and its weightiest reason in words."""
        page = html.unescape(self.operator.call("GET", f"/api/dashboard?health={row['level']}").body)
        line = page.partition(f'<tr role="row" id="m-{row["item"]}"')[2].partition("</tr>")[0]
        weightiest = msgspec.json.decode(row["reasons"])[0]["message"]
        return all(said in line for said in (f"</svg>{row['level']}</span>", f">{self.server.name}</a>", weightiest))

    def told(self) -> list[dict[str, Any]]:
        """The notices of its health so far, each as often as it was sent."""
        everything = self.operator.control("eventgrid", f"events?topic={NOTICE_TOPIC}")
        return [e for e in everything if e["type"] == "FabricMirror.HealthChanged" and self.server.name in e["subject"]]

    def mirror(self) -> str:
        """Path of the mirrored database in Fabric's API."""
        row = self.row()
        return f"/v1/workspaces/{row['workspace']}/mirroredDatabases/{row['item']}"

    def fabric(self, action: str) -> Any:
        """Call Fabric as a person does; what it answers."""
        token = self.operator.credential.get_token("https://api.fabric.microsoft.com/.default").token
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.post(f"{FABRIC}{self.mirror()}/{action}", headers=headers, timeout=30)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def failing(self) -> list[str]:
        """The tables that fail by Fabric's own word."""
        tables = self.fabric("getTablesMirroringStatus")["data"]
        return [table["sourceTableName"] for table in tables if table["status"] == "Failed"]

    def restart_mirror(self) -> None:
        """Restart the mirror over the app's door, which copies its tables again."""
        row, runs = self.row(), self.operator.mailbox(self.server)["runs"]
        door = f"/api/mirrors/{row['workspace']}/{row['item']}/restart"
        assert self.operator.call("POST", door, {"reseed": True}).status == 202
        self.operator.quiet(self.server, after=runs)

    def as_administrator(self, *statements: str) -> None:
        with self.application.database.connect(ADMINISTRATOR, self.server.password) as connection:
            for statement in statements:
                connection.execute(statement)

    def as_application(self, statement: str) -> None:
        with self.application.connect() as connection:
            connection.execute(statement)

    @contextmanager
    def trouble(self, level: str, code: str, cause: Callable[[], object]) -> Iterator[dict[str, Any]]:
        """Cause it, see it in the row and in one notice, and, when it was mended within, that it is over, told once."""
        healthy = self.until("Healthy")
        before = len(self.told())
        cause()
        row = self.until(level, code)
        [notice] = self.told()[before:]
        assert (notice["data"]["level"], notice["data"]["previous"]) == (level, "Healthy")
        assert row["since"] > healthy["since"]
        assert self.shown(row)
        yield row
        mended = self.until("Healthy")
        self.look()
        assert [each["data"]["level"] for each in self.told()[before:]] == [level, "Healthy"]
        assert (mended["pending"], mended["announced"], mended["status"]) == (0, "Healthy", "Running")


@pytest.fixture(scope="module")
def watched(stack_factory: StackFactory) -> Iterator[Watched]:
    stack = stack_factory(*PARTS, settings=SETTINGS)
    with acting_as(stack, "operator"):
        operator = Operator(stack)
        server = operator.create_server("pg-watched", 15, "shop")
        application = operator.install(server, "shop")
        real_parts.used("PostgreSQL", application.server_version())
        operator.tag(server, fabric_mirror="enabled")
        eventually(lambda: operator.mirroring(server), lambda seen: seen.get("phase") == "Mirrored", 90)
        operator.quiet(server)
        yield Watched(operator, server, application)
        operator.close()


def test_a_slot_that_was_dropped(watched: Watched) -> None:
    def drop() -> None:
        def gone() -> bool:
            try:
                watched.as_administrator(
                    "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active",
                    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots",
                )
            except psycopg.errors.ObjectInUse:  # its reader was faster
                return False
            return True

        eventually(gone, bool)

    with watched.trouble("Unhealthy", "MirroringError", drop) as row:
        assert "slot_active" not in row
        watched.restart_mirror()


def test_a_table_that_can_not_be_mirrored_any_more(watched: Watched) -> None:
    def spoil() -> None:
        watched.as_application('ALTER TABLE sales.orders ADD COLUMN "bad name" text')

    with watched.trouble("Degraded", "TablesFailing", spoil) as row:
        assert (row["tables"], row["tables_failing"]) == (4, 1)
        [failing] = msgspec.json.decode(row["failing"])
        assert failing["message"].startswith("sales.orders: ")
        watched.as_application('ALTER TABLE sales.orders DROP COLUMN "bad name"')


def test_a_new_table_of_a_new_owner(watched: Watched) -> None:
    def create() -> None:
        with watched.application.database.connect(ADMINISTRATOR, watched.server.password) as connection:
            connection.execute("CREATE ROLE newcomer")
            connection.execute("GRANT newcomer TO azure_pg_admin WITH ADMIN OPTION")
            connection.execute("GRANT newcomer TO CURRENT_USER")
            connection.execute("CREATE SCHEMA late AUTHORIZATION newcomer")
            connection.execute("SET ROLE newcomer")
            connection.execute("CREATE TABLE late.refunds (id bigint PRIMARY KEY)")

    with watched.trouble("Degraded", "TablesNotOwned", create) as row:
        [reason] = [r for r in msgspec.json.decode(row["reasons"]) if r["code"] == "TablesNotOwned"]
        assert "late.refunds" in reason["message"]
        runs = watched.operator.quiet(watched.server)
        assert watched.operator.call("PUT", watched.operator.door(watched.server)).status == 202  # as the remedy says
        watched.operator.quiet(watched.server, after=runs)


def test_a_capacity_that_was_paused(watched: Watched) -> None:
    def switch(state: str) -> None:
        capacity = watched.operator.topology.capacity
        watched.operator.stack.control("fabric", "PUT", f"capacities/{capacity}", {"state": state})

    with watched.trouble("Unhealthy", "MirrorPaused", lambda: switch("Inactive")) as row:
        assert row["slot_active"] is False
        switch("Active")
        watched.restart_mirror()


def test_a_server_that_was_stopped(watched: Watched) -> None:
    group, servers = watched.operator.topology.resource_group, watched.operator.management.servers

    with watched.trouble("Unhealthy", "SourceUnknown", lambda: servers.begin_stop(group, "pg-watched").result()) as row:
        [reason] = [r for r in msgspec.json.decode(row["reasons"]) if r["code"] == "SourceUnknown"]
        assert reason["message"] == "Server 'pg-watched' is Stopped."
        assert "slot_active" not in row
        servers.begin_start(group, "pg-watched").result()


def test_a_mirror_that_was_stopped(watched: Watched) -> None:
    with watched.trouble("Stopped", "MirrorStopped", lambda: watched.fabric("stopMirroring")):
        watched.fabric("startMirroring")


def test_a_change_that_does_not_hold_is_not_told(watched: Watched) -> None:
    healthy = watched.until("Healthy")
    before = len(watched.told())
    watched.as_application('ALTER TABLE sales.orders ADD COLUMN "bad name" text')
    eventually(watched.failing, lambda failing: failing == ["orders"])
    pending = watched.look()
    assert (pending["level"], pending["pending"], pending["tables_failing"]) == ("Healthy", 1, 1)
    watched.as_application('ALTER TABLE sales.orders DROP COLUMN "bad name"')
    eventually(watched.failing, lambda failing: failing == [])
    settled = watched.look()
    assert (settled["level"], settled["pending"], settled["tables_failing"]) == ("Healthy", 0, 0)
    assert settled["since"] == healthy["since"]
    assert len(watched.told()) == before


def test_a_sweep_that_does_not_end_is_ended_and_the_next_one_starts(watched: Watched) -> None:
    before, operator = watched.until("Healthy"), watched.operator
    fault = {"operation": "Mirroring_GetTablesMirroringStatus", "delay": 30}
    operator.stack.control("fabric", "POST", "faults", fault)

    def begun() -> str:
        sweep = operator.durable("instances/sweep_health")
        return str(sweep.body["createdTime"]) if sweep.status in (200, 202) else ""

    def due() -> str:
        operator.fire("record_mirror_health")
        return begun()

    last = begun()
    slow = eventually(due, lambda at: at > last)
    eventually(due, lambda at: at > slow)
    log = operator.topology.log("host").read_text()
    assert "The last health sweep is still running; this one is left out." in log
    assert "it is ended for the next one" in log
    operator.stack.control("fabric", "DELETE", "faults")
    assert watched.look()["updated_at"] > before["updated_at"]


def test_mirrors_that_can_not_be_looked_at_are_told_of_and_the_next_sweep_goes_on(watched: Watched) -> None:
    """Somebody writes a row that asks Table Storage for more than it takes; it shares its chunk with the mirror."""
    before, topology = watched.until("Healthy"), watched.operator.topology
    row = {"PartitionKey": "odd", "RowKey": "odd", "server": watched.server.id, "database": "odd", "phase": "Running"}
    with TableClient(topology.table_endpoint, "Mirrors", credential=watched.operator.credential) as mirrors:
        mirrors.create_entity(row | {"item": "odd", "workspace": "w" * 30_000})
        watched.look()
        lines = topology.log("host").read_text().splitlines()
        assert [line for line in lines if "1 chunks of mirrors could not be looked at" in line]
        assert "Health sweep: {" in "".join(lines[-20:])
        mirrors.delete_entity("odd", "odd")
    assert watched.look()["updated_at"] > before["updated_at"]


def test_history_that_is_too_old_is_pruned(watched: Watched) -> None:
    watched.until("Healthy")
    today = {row["PartitionKey"] for row in watched.operator.rows("MirrorHealthHistory")}
    days = [f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d}" for days in (29, 31, 400)]
    topology = watched.operator.topology
    with TableClient(topology.table_endpoint, "MirrorHealthHistory", credential=watched.operator.credential) as history:
        for day in days:
            history.create_entity({"PartitionKey": day, "RowKey": "i:1"})

    def kept() -> set[str]:
        return {row["PartitionKey"] for row in watched.operator.rows("MirrorHealthHistory")}

    assert kept() == {*today, *days}
    watched.operator.fire("prune_history")
    assert eventually(kept, lambda left: not {*days[1:]} & left) == {*today, days[0]}
