"""A tag or a request makes a server a Fabric mirror: once, with one restart, and without disturbing anybody."""

from __future__ import annotations

import re

import pytest

from local.scenario import Operator, Server, eventually
from tests.e2e.conftest import Prepared, mirrored, with_application

# A statement that changes what the catalogue says, as PostgreSQL's log tells it.
DDL = re.compile(
    r"LOG:  (?:statement|execute [^:]+):\s+((?:CREATE|ALTER|DROP|GRANT|REVOKE|COMMENT|SECURITY|REASSIGN|DO)\b.*)"
)


def ddl(operator: Operator, server: Server) -> list[str]:
    return DDL.findall(operator.topology.log(f"postgresql-{server.name}").read_text())


def traces(operator: Operator, server: Server) -> dict[str, object]:
    """Everything that shows that the app has changed something for a server."""
    return {
        "writes": operator.writes_of_the_app(),
        "restarts": operator.restarts(server),
        "ddl": ddl(operator, server),
    }


def deliveries_of_tags(operator: Operator, server: Server) -> list[dict]:
    """The deliveries of the events that a change of the server's tags has raised."""
    events = [event for event in operator.control("eventgrid", "events")["system"] if server.name in event["subject"]]
    tagged = {event["id"] for event in events if event["data"]["operationName"] == "Microsoft.Resources/tags/write"}
    return [delivery for delivery in operator.control("eventgrid", "deliveries") if delivery["id"] in tagged]


def health(operator: Operator, server: Server) -> dict:
    """The server's row in `MirrorHealth` after another sweep."""
    operator.sweep()
    [row] = [row for row in operator.rows("MirrorHealth") if row["server"].lower() == server.id.lower()]
    return row


def test_a_tag_makes_a_server_a_mirror_that_follows_its_application(operator: Operator, prepared: Prepared) -> None:
    seen = operator.mirroring(prepared.server)
    assert [(mirror["database"], mirror["reasons"]) for mirror in seen["mirrors"]] == [("shop", [])]
    assert seen["reasons"] == []
    assert operator.restarts(prepared.server) == 1
    now = prepared.application.rows()
    assert now > prepared.rows  # it kept writing
    row = eventually(lambda: health(operator, prepared.server), lambda row: row["rows"] == now, 20)
    assert (row["level"], row["status"], row["tables"], row["tables_replicating"]) == ("Healthy", "Running", 4, 4)
    assert (row["slot_active"], row["workspace_name"]) == (True, "Mirrors")
    with prepared.application.connect() as connection:
        connection.execute("INSERT INTO sales.products (name, price) SELECT 'More', 1 FROM generate_series(1, 7)")
    eventually(lambda: health(operator, prepared.server), lambda row: row["rows"] == now + 7, 20)
    history = [each["level"] for each in operator.rows("MirrorHealthHistory") if each["item"] == row["item"]]
    assert len(history) >= 2
    assert set(history) == {"Healthy"}


def test_no_write_was_lost_and_none_was_refused(prepared: Prepared) -> None:
    account = prepared.application.account()
    assert account.written > 100
    assert (account.lost, account.refused) == (0, ())
    assert account.longest_pause < 5


def test_a_second_event_and_a_second_request_change_nothing(operator: Operator, prepared: Prepared) -> None:
    server = prepared.server
    runs, before = operator.quiet(server), traces(operator, server)
    assert [statement for statement in before["ddl"] if "CREATE ROLE" in statement]  # it would be seen
    assert [write for write in before["writes"] if "StartMirroring" in write]
    operator.tag(server, fabric_mirror="enabled", cost_center="42")
    after_event = operator.quiet(server, after=runs)
    assert traces(operator, server) == before
    for body in (None, {"databases": ["shop"]}, {"databases": ["shop"]}):
        runs = operator.quiet(server)
        answer = operator.call("PUT", operator.door(server), body)
        assert answer.status == 202, answer
        assert answer.headers["Location"].endswith(operator.door(server))
        operator.quiet(server, after=runs)
        assert traces(operator, server) == before
    assert operator.quiet(server) == after_event + 3
    assert operator.mirroring(server)["phase"] == "Mirrored"


def test_the_application_can_still_do_all_it_did(prepared: Prepared) -> None:
    assert prepared.application.inabilities() == {}


def test_the_application_alters_its_tables_and_the_mirror_goes_on(operator: Operator, prepared: Prepared) -> None:
    with prepared.application.connect() as connection:
        connection.execute("ALTER TABLE sales.customers ADD COLUMN phone text")
        connection.execute("CREATE INDEX customers_by_phone ON sales.customers (phone)")
        connection.execute("INSERT INTO sales.customers (name, email, phone) VALUES ('A', 'a@example.com', '1')")
    now = prepared.application.rows()
    row = eventually(lambda: health(operator, prepared.server), lambda row: row["rows"] >= now, 20)
    assert (row["level"], row["status"]) == ("Healthy", "Running")


def test_a_server_that_somebody_else_has_restarted_is_not_restarted_again(operator: Operator) -> None:
    server, _ = with_application(operator, "pg-patient", 14)
    wish = {"databases": ["shop"], "restart": "approval"}
    assert operator.call("PUT", operator.door(server), wish).status == 202
    waiting = eventually(lambda: operator.mirroring(server), lambda seen: seen.get("phase") == "Waiting")
    assert waiting["progress"]["waiting_for"] == "restart-decision"
    assert operator.restarts(server) == 0
    operator.restart(server)
    assert operator.call("PUT", operator.door(server), wish).status == 202
    assert mirrored(operator, server)["phase"] == "Mirrored"
    writes = [write for write in operator.writes_of_the_app() if f"/{server.name}" in write]
    assert "Servers_Update" in str(writes)
    assert "Servers_Restart" not in str(writes)
    assert operator.restarts(server) == 1  # the operator's own


def test_a_burst_of_copies_out_of_order_is_at_most_two_runs_and_one_restart(operator: Operator) -> None:
    server, _ = with_application(operator, "pg-burst", 18)
    runs = operator.quiet(server)
    operator.stack.control("eventgrid", "DELETE", "deliveries")
    operator.stack.control("eventgrid", "PUT", "delivery", {"duplicate": 4, "reorder": True})
    try:
        operator.tag(server, fabric_mirror="enabled")
        operator.tag(server, fabric_mirror="enabled", team="sales")
        seen = mirrored(operator, server)
    finally:
        operator.stack.control("eventgrid", "PUT", "delivery", {})
    assert seen["phase"] == "Mirrored", seen["reasons"]
    assert len(deliveries_of_tags(operator, server)) >= 10
    assert 1 <= operator.quiet(server) - runs <= 2
    assert operator.restarts(server) == 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("version", [14, 15, 17, 18])
def test_other_versions(operator: Operator, version: int) -> None:
    server, application = with_application(operator, f"pg-{version}", version)
    assert operator.call("PUT", operator.door(server)).status == 202
    assert mirrored(operator, server)["phase"] == "Mirrored"
    assert application.inabilities() == {}
    assert operator.restarts(server) == 1
