"""A mirrored server of which something else is wanted: other databases, tables, another workspace, a new password."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, LiteralString

import pytest
from azure.keyvault.secrets import SecretClient

from local.application import Application
from local.scenario import ADMINISTRATOR, Operator, Server, eventually
from tests.e2e.lifecycle.story import (
    OTHER_WORKSPACE,
    ROLE,
    WORKSPACE,
    Shared,
    Story,
    after,
    calls,
    codes,
    decide,
    dump,
    fabric,
    mirrored,
    new_server,
    opens,
    owners,
    parameter,
    password,
    put,
    query,
    row,
    slots,
    waiting,
    with_shop,
)

PARAMETERS = ("Configurations_Update",)
STARTS = "Mirroring_StartMirroring"


def limits(operator: Operator, server: Server) -> dict[str, int]:
    names = ("max_worker_processes", "max_replication_slots", "max_wal_senders")
    return {name: int(parameter(operator, server, name).value or 0) for name in names}


def items(operator: Operator, seen: dict[str, Any]) -> dict[str, str]:
    """The mirrored databases of a server, by database."""
    return {mirror["database"]: mirror["mirrored_database"] for mirror in seen["mirrors"]}


def status(operator: Operator, workspace: str, item: str) -> str:
    return str(
        fabric(operator, "POST", f"/workspaces/{workspace}/mirroredDatabases/{item}/getMirroringStatus")["status"]
    )


def starts(operator: Operator, item: str) -> int:
    """How often the mirrored database was started: each time copies every table."""
    found = operator.control("fabric", "calls")
    return sum(call["operation"] == STARTS and item in call["path"] for call in found)


def databases_come_and_go(operator: Operator) -> None:
    server = new_server(operator, "pg-databases", 17, "crm", "hr", "shop")
    applications = {name: operator.install(server, name) for name in ("crm", "hr", "shop")}
    first = limits(operator, server)
    operator.tag(server, fabric_mirror="enabled", fabric_mirror_databases="shop")
    one = eventually(lambda: operator.mirroring(server), lambda seen: seen.get("phase") == "Mirrored", 90)
    workers = first["max_worker_processes"]
    assert limits(operator, server) == first | {"max_worker_processes": max(13, workers + 3)}  # 13: the service's word
    assert owners(operator, server, "crm")["orders"] == "crm_app"
    untouched = dump(operator, server, ["hr"])

    two = after(
        operator, server, lambda: operator.tag(server, fabric_mirror="enabled", fabric_mirror_databases="shop, crm")
    )
    assert (two["phase"], sorted(items(operator, two))) == ("Mirrored", ["crm", "shop"])
    assert items(operator, two)["shop"] == items(operator, one)["shop"]
    assert limits(operator, server) == first | {"max_worker_processes": workers + 6}
    assert operator.restarts(server) == 2  # for max_worker_processes
    assert slots(operator, server) == {"crm": True, "shop": True}

    one_that_refuses_the_new_password_keeps_it_from_no_other(operator, server)
    before = limits(operator, server)
    last = after(
        operator, server, lambda: operator.tag(server, fabric_mirror="enabled", fabric_mirror_databases="hr,shop")
    )
    assert (last["phase"], sorted(items(operator, last))) == ("Mirrored", ["hr", "shop"])
    assert (limits(operator, server), operator.restarts(server)) == (before, 2)
    assert slots(operator, server) == {"hr": True, "shop": True}
    assert set(owners(operator, server, "crm").values()) == {"crm_app"}
    assert starts(operator, items(operator, last)["shop"]) == 1
    assert status(operator, WORKSPACE, items(operator, two)["crm"]) in ("Stopping", "Stopped")

    operator.tag(server, fabric_mirror="enabled", fabric_mirror_databases="shop")
    alone = eventually(lambda: operator.mirroring(server), lambda seen: len(seen["mirrors"]) == 1, 60)
    assert sorted(items(operator, alone)) == ["shop"]
    assert {name: app.inabilities() for name, app in applications.items()} == {"crm": {}, "hr": {}, "shop": {}}
    relations = {line for line in dump(operator, server, ["hr"])["hr"] if not about_the_server(line)}
    assert relations == {line for line in untouched["hr"] if not about_the_server(line)}


def one_that_refuses_the_new_password_keeps_it_from_no_other(operator: Operator, server: Server) -> None:
    links = {
        found["database"]: found["connection"] for found in operator.rows("Mirrors") if found["server"] == server.id
    }

    def updates(database: str) -> list[int]:
        found = operator.control("fabric", "calls")
        ours = [call for call in found if call["operation"] == "Connections_UpdateConnection"]
        return [call["status"] for call in ours if links[database] in call["path"]]

    refuses = {"operation": "Connections_UpdateConnection", "path": links["crm"], "status": 400, "message": "No."}
    operator.stack.control("fabric", "POST", "faults", refuses | {"times": 2})
    door = operator.door(server, "mirroring/rotate-password")
    blocked = after(operator, server, lambda: operator.call("POST", door))
    assert (blocked["phase"], {mirror["database"]: mirror["phase"] for mirror in blocked["mirrors"]}) == (
        "Blocked", {"crm": "Blocked", "shop": "Running"},
    )  # fmt: skip
    assert blocked["reasons"][0]["message"].startswith("Database crm: ")
    assert (updates("crm"), updates("shop")) == ([400, 400], [200])
    mended = after(operator, server, lambda: operator.tag(server, fabric_mirror="enabled", team="crm",
                                                          fabric_mirror_databases="shop, crm"))  # fmt: skip
    assert (mended["phase"], mended["reasons"]) == ("Mirrored", [])
    assert (updates("crm"), updates("shop")) == ([400, 400, 200], [200])


def about_the_server(line: str) -> bool:
    """What is the same in every database, and differs while another one is mirrored."""
    return line.startswith(("roles", "members"))


def a_mirror_moves_to_another_workspace(operator: Operator) -> None:
    server, _ = with_shop(operator, "pg-moved", 18)
    operator.tag(server, fabric_mirror="enabled")
    first = eventually(lambda: operator.mirroring(server), lambda seen: seen.get("phase") == "Mirrored", 90)
    old = items(operator, first)["shop"]
    moved = after(
        operator, server,
        lambda: operator.tag(server, fabric_mirror="enabled", fabric_mirror_workspace=OTHER_WORKSPACE),
    )  # fmt: skip
    [mirror] = moved["mirrors"]
    assert (moved["phase"], mirror["workspace"]) == ("Mirrored", OTHER_WORKSPACE)
    assert mirror["mirrored_database"] != old
    assert status(operator, OTHER_WORKSPACE, mirror["mirrored_database"]) == "Running"
    assert status(operator, WORKSPACE, old) == "Stopped"
    assert slots(operator, server) == {"shop": True}
    identity = operator.management.servers.get(operator.topology.resource_group, server.name).identity
    roles = fabric(operator, "GET", f"/workspaces/{OTHER_WORKSPACE}/roleAssignments")["value"]
    assert identity is not None
    assert [found["role"] for found in roles if found["principal"]["id"] == identity.principal_id] == ["Contributor"]
    assert operator.restarts(server) == 1

    back = after(operator, server, lambda: operator.tag(server, fabric_mirror="enabled"))
    assert items(operator, back) == {"shop": old}  # found again, rather than made anew
    assert status(operator, WORKSPACE, old) == "Running"


def the_chosen_tables_alone_are_taken_and_another_choice_gives_them_back(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-chosen", 15)
    chosen = [{"database": "shop", "schema": "sales", "table": name} for name in ("customers", "orders")]
    owned = {"databases": ["shop"], "rights": "ownership"}
    two = mirrored(operator, server, owned | {"tables": chosen})
    app = application.role
    assert owners(operator, server) == {"customers": ROLE, "orders": ROLE, "products": app, "visits": app}
    assert mirrored_tables(operator, two) == ["customers", "orders"]
    narrow = mirrored(operator, server, owned | {"tables": chosen[1:]})
    assert owners(operator, server) == {"customers": app, "orders": ROLE, "products": app, "visits": app}
    assert items(operator, narrow) == items(operator, two)
    eventually(lambda: published(operator, server), lambda found: found == ["orders"])  # as soon as Fabric has looked
    assert application.inabilities() == {}
    whole = mirrored(operator, server, owned)
    assert set(owners(operator, server).values()) == {ROLE}
    whole = mirrored(operator, server, {"databases": ["shop"]})
    assert whole["mirrors"][0]["rights"] == "membership"
    assert set(owners(operator, server).values()) == {app}
    eventually(lambda: len(published(operator, server)), lambda count: count == 4, 20)
    assert starts(operator, items(operator, whole)["shop"]) == operator.restarts(server) == 1
    assert application.inabilities() == {}


def mirrored_tables(operator: Operator, seen: dict[str, Any]) -> list[str]:
    [mirror] = seen["mirrors"]
    path = f"/workspaces/{WORKSPACE}/mirroredDatabases/{mirror['mirrored_database']}/getTablesMirroringStatus"
    return [table["sourceTableName"] for table in fabric(operator, "POST", path)["data"]]


def published(operator: Operator, server: Server) -> list[str]:
    rows = query(operator, server, "SELECT DISTINCT tablename::text FROM pg_publication_tables ORDER BY 1")
    return [found["tablename"] for found in rows]


def a_mirrored_shop(operator: Operator) -> tuple[Server, Application, dict[str, Any]]:
    """A mirrored server, its application, and the mirror's row."""
    server, application = with_shop(operator, "pg-rotated", 16)
    mirrored(operator, server)
    mirror = row(operator, "Mirrors", server)
    assert mirror
    return server, application, mirror


rotated_server = Shared(a_mirrored_shop)


@rotated_server.story
def a_new_password_is_everywhere_and_the_mirror_goes_on(
    operator: Operator, server: Server, application: Application, mirror: dict[str, Any]
) -> None:
    item, before = mirror["item"], starts(operator, mirror["item"])
    old = password(operator, mirror["secret"])
    assert old
    assert opens(operator, server, old)
    answers = []
    seen = after(
        operator, server,
        lambda: answers.append(operator.call("POST", operator.door(server, "mirroring/rotate-password"))),
    )  # fmt: skip
    assert [answer.status for answer in answers] == [202]
    assert (seen["phase"], seen["reasons"]) == ("Mirrored", [])
    new = password(operator, mirror["secret"])
    assert new not in (None, old)
    assert opens(operator, server, str(new))
    assert not opens(operator, server, old)
    assert (status(operator, WORKSPACE, item), starts(operator, item)) == ("Running", before)
    with application.connect() as connection:
        connection.execute("INSERT INTO sales.products (name, price) VALUES ('After', 1)")
    fabric_logs_in_anew(operator, server)
    eventually(lambda: status(operator, WORKSPACE, item), lambda state: state == "Running", 20)
    later = after(operator, server, lambda: put(operator, server))
    assert (later["phase"], password(operator, mirror["secret"])) == ("Mirrored", new)  # once


@rotated_server.story
def a_password_asked_for_during_a_rotation_comes_after_it(
    operator: Operator, server: Server, _: Application, mirror: dict[str, Any]
) -> None:
    """Fabric keeps the first rotation waiting when the password is made already, so that the second can't be part of
    it."""
    door, secret = operator.door(server, "mirroring/rotate-password"), mirror["secret"]
    before = password(operator, secret)
    busy = {"operation": "Connections_UpdateConnection", "path": mirror["connection"], "status": 503, "retry_after": 3}
    operator.stack.control("fabric", "POST", "faults", busy)

    def twice() -> None:
        assert operator.call("POST", door).status == 202
        first = eventually(lambda: password(operator, secret), lambda text: text != before)
        assert operator.call("POST", door).status == 202
        eventually(lambda: password(operator, secret), lambda text: text not in (before, first), 90)

    seen = after(operator, server, twice)
    assert (seen["phase"], seen["reasons"]) == ("Mirrored", [])
    assert opens(operator, server, str(password(operator, secret)))


@rotated_server.story
def a_rotation_that_fabric_refuses_is_tried_again_with_the_password_that_was_made(
    operator: Operator, server: Server, _: Application, mirror: dict[str, Any]
) -> None:
    refuses = {"operation": "Connections_UpdateConnection", "path": mirror["connection"], "status": 400}
    operator.stack.control("fabric", "POST", "faults", refuses | {"message": "No.", "times": 2})
    before, versions = password(operator, mirror["secret"]), made_so_far(operator, mirror)
    door = operator.door(server, "mirroring/rotate-password")
    blocked = after(operator, server, lambda: operator.call("POST", door))
    made = password(operator, mirror["secret"])
    assert (blocked["phase"], made == before) == ("Blocked", False)
    seen = after(operator, server, lambda: put(operator, server))
    assert (seen["phase"], seen["reasons"], password(operator, mirror["secret"])) == ("Mirrored", [], made)
    assert made_so_far(operator, mirror) == versions + 1
    updates = [call for call in operator.control("fabric", "calls") if "Connections_Update" in call["operation"]]
    assert [call["status"] for call in updates if mirror["connection"] in call["path"]][-3:] == [400, 400, 200]


def made_so_far(operator: Operator, mirror: dict[str, Any]) -> int:
    with SecretClient(operator.topology.vault_url, operator.credential) as vault:
        return len(list(vault.list_properties_of_secret_versions(mirror["secret"])))


@rotated_server.story
def a_password_that_was_lost_is_made_again_and_reaches_fabric(
    operator: Operator, server: Server, _: Application, mirror: dict[str, Any]
) -> None:
    """Nobody asked for a rotation, and a run that needs nothing else to be done notices the loss."""
    with SecretClient(operator.topology.vault_url, operator.credential) as vault:
        vault.begin_delete_secret(mirror["secret"]).wait()
    seen = after(operator, server, lambda: put(operator, server))
    made = str(password(operator, mirror["secret"]))
    assert (seen["phase"], seen["reasons"], opens(operator, server, made)) == ("Mirrored", [], True)
    fabric_logs_in_anew(operator, server)


def fabric_logs_in_anew(operator: Operator, server: Server) -> None:
    """Cut its sessions: it comes back with what the connection has by now."""
    query(operator, server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", ROLE)
    eventually(lambda: slots(operator, server), lambda found: found == {"shop": True}, 20)


def what_is_asked_for_beside_the_mirror_waits_for_nothing_else(operator: Operator) -> None:
    """A table is locked, another database waits for a restart, and is refused one: no reason to keep a leaked password,
    or a mirror that has to be seeded anew."""
    server = new_server(operator, "pg-asked", 17, "crm", "shop")
    applications = {name: operator.install(server, name) for name in ("crm", "shop")}
    item = items(operator, mirrored(operator, server, {"databases": ["shop"]}))["shop"]
    operator.sweep()
    kept = row(operator, "Mirrors", server)
    assert kept is not None
    both = {"databases": ["crm", "shop"], "restart": "approval"}

    def rotated() -> str:
        before = str(password(operator, kept["secret"]))
        answer = operator.call("POST", operator.door(server, "mirroring/rotate-password"))
        assert answer.status == 202
        eventually(lambda: opens(operator, server, before), lambda found: not found, 60)
        made = str(password(operator, kept["secret"]))
        assert opens(operator, server, made)
        return made

    def restarted(times: int) -> None:
        answer = operator.call("POST", f"/api/mirrors/{WORKSPACE}/{item}/restart", {"reseed": True})
        assert answer.status == 202
        eventually(lambda: starts(operator, item), lambda count: count == times, 60)
        eventually(lambda: status(operator, WORKSPACE, item), lambda found: found == "Running", 30)

    with applications["shop"].connect() as connection:
        connection.execute("CREATE TABLE sales.locked (id int PRIMARY KEY)")
    with applications["shop"].connect() as connection, connection.transaction():
        connection.execute("LOCK TABLE sales.locked IN ACCESS EXCLUSIVE MODE")
        runs = operator.mailbox(server)["runs"]
        made = rotated()
        fabric_logs_in_anew(operator, server)
        assert operator.mailbox(server)["running"]
        assert owners(operator, server)["locked"] == applications["shop"].role
    eventually(lambda: operator.mailbox(server), lambda box: box["runs"] > runs and not box["running"], 60)
    assert (password(operator, kept["secret"]), operator.mirroring(server)["phase"]) == (made, "Mirrored")

    put(operator, server, both)
    waiting(operator, server)
    rotated()
    waiting(operator, server)
    restarted(2)
    waiting(operator, server)
    decide(operator, server, restart=False)
    eventually(lambda: operator.mirroring(server), lambda seen: not seen["running"])
    blocked = after(operator, server, rotated)
    assert (blocked["phase"], codes(blocked)) == ("Blocked", ["RestartRefused"])
    blocked = after(operator, server, lambda: restarted(3))
    assert (blocked["phase"], codes(blocked), operator.restarts(server)) == ("Blocked", ["RestartRefused"], 1)
    after(operator, server, lambda: operator.tag(server, fabric_mirror="perhaps"))
    blocked = after(operator, server, rotated)
    assert (blocked["phase"], codes(blocked)) == ("Blocked", ["InvalidTag"])
    blocked = after(operator, server, lambda: restarted(4))
    assert (blocked["phase"], codes(blocked)) == ("Blocked", ["InvalidTag"])


def a_table_out_of_reach_is_told_with_the_statement_that_helps(operator: Operator) -> None:
    server = new_server(operator, "pg-strict", 18, "shop")
    query(operator, server, "CREATE ROLE proprietor")
    query(operator, server, "GRANT proprietor TO CURRENT_USER WITH SET TRUE")
    query(operator, server, "CREATE TABLE public.orders (id int PRIMARY KEY)")
    query(operator, server, "GRANT CREATE ON SCHEMA public TO proprietor")
    query(operator, server, "ALTER TABLE public.orders OWNER TO proprietor")
    before = {name: parameter(operator, server, name).value for name in ("wal_level", "max_worker_processes")}
    blocked = after(operator, server, lambda: put(operator, server))
    assert (blocked["phase"], codes(blocked)) == ("Blocked", ["OwnerNotGrantable"])
    [reason] = blocked["reasons"]
    assert "'proprietor'" in reason["message"]
    grant: LiteralString = 'GRANT "proprietor" TO "id-fabric-mirror" WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;'
    assert reason["remedy"] == f"Run as {ADMINISTRATOR}: {grant}"
    assert any(check["id"] == "OwnerNotGrantable" for check in blocked["report"]["checks"])
    assert {name: parameter(operator, server, name).value for name in before} == before
    assert query(operator, server, "SELECT 1 FROM pg_roles WHERE rolname = %s", ROLE) == []
    assert (operator.restarts(server), blocked["mirrors"]) == (0, [])
    assert calls(operator, server, "arm", *PARAMETERS) == []

    query(operator, server, grant)
    seen = mirrored(operator, server)
    assert sorted(items(operator, seen)) == ["shop"]
    assert published(operator, server) == ["orders"]


@pytest.mark.parametrize(
    "story",
    [
        databases_come_and_go,
        a_mirror_moves_to_another_workspace,
        the_chosen_tables_alone_are_taken_and_another_choice_gives_them_back,
        a_new_password_is_everywhere_and_the_mirror_goes_on,
        a_password_asked_for_during_a_rotation_comes_after_it,
        a_rotation_that_fabric_refuses_is_tried_again_with_the_password_that_was_made,
        a_password_that_was_lost_is_made_again_and_reaches_fabric,
        what_is_asked_for_beside_the_mirror_waits_for_nothing_else,
        a_table_out_of_reach_is_told_with_the_statement_that_helps,
    ],
    ids=lambda story: story.__name__,
)
def test_a_change(story: Story, at_once: Callable[[Story], None]) -> None:
    at_once(story)
