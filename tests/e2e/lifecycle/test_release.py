"""The way back: whoever withdraws the wish gets the server as it was, exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from local.application import Database
from local.scenario import ADMINISTRATOR, Operator, Server, eventually
from tests.e2e.lifecycle import musicbrainz
from tests.e2e.lifecycle.story import (
    ROLE,
    SECONDS,
    WORKSPACE,
    Story,
    admit_the_app,
    after,
    codes,
    delete,
    dump,
    fabric,
    lose_record,
    mirrored,
    new_server,
    nothing_of_ours_is_left,
    owners,
    parameter,
    password,
    query,
    row,
    with_shop,
)


def tagged(operator: Operator, server: Server) -> dict[str, Any]:
    seen = after(operator, server, lambda: operator.tag(server, fabric_mirror="enabled"))
    assert seen["phase"] == "Mirrored", seen["reasons"]
    return seen


def released(operator: Operator, server: Server, how: Callable[[], object], database: str = "shop") -> dict[str, Any]:
    seen = after(operator, server, how)
    assert (seen["phase"], codes(seen), seen["mirrors"]) == ("Released", ["ParametersLeft"], [])
    nothing_of_ours_is_left(operator, server, database)
    return seen


def a_disabled_tag_gives_everything_back(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-disabled", 14)
    admit_the_app(operator, server)
    before = dump(operator, server)
    [mirror] = tagged(operator, server)["mirrors"]
    kept = row(operator, "Mirrors", server)
    assert kept is not None
    assert password(operator, kept["secret"])
    assert (set(owners(operator, server).values()), kept["rights"]) == ({application.role}, "membership")
    restarts = operator.restarts(server)
    seen = released(operator, server, lambda: operator.tag(server, fabric_mirror="disabled"))
    assert "restart" in seen["reasons"][0]["message"]
    assert dump(operator, server) == before
    assert password(operator, kept["secret"]) is None
    assert parameter(operator, server, "wal_level").value == "logical"
    assert parameter(operator, server, "azure.fabric_mirror_enabled").value == "off"
    assert parameter(operator, server, "azure.mirror_databases").value == ""
    assert operator.restarts(server) == restarts
    path = f"/workspaces/{WORKSPACE}/mirroredDatabases/{mirror['mirrored_database']}"
    assert fabric(operator, "GET", path)["displayName"] == "pg-disabled-shop"  # kept, as the setting says
    eventually(lambda: fabric(operator, "POST", f"{path}/getMirroringStatus")["status"], lambda it: it == "Stopped", 20)
    assert application.inabilities() == {}

    [again] = tagged(operator, server)["mirrors"]
    assert again["mirrored_database"] == mirror["mirrored_database"]
    assert operator.restarts(server) == restarts
    released(operator, server, lambda: operator.tag(server, fabric_mirror="disabled"))
    assert dump(operator, server) == before


def a_removed_tag_gives_everything_back(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-untagged", 18)
    admit_the_app(operator, server)
    before = dump(operator, server)
    operator.tag(server, fabric_mirror="enabled", fabric_mirror_rights="ownership")
    eventually(lambda: operator.mirroring(server), lambda seen: seen.get("phase") == "Mirrored", SECONDS)
    assert set(owners(operator, server).values()) == {ROLE}
    released(operator, server, lambda: operator.tag(server, team="sales"))
    assert dump(operator, server) == before
    assert application.inabilities() == {}


def a_withdrawn_request_is_refused_half_way_and_goes_on_from_there(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-stuck", 16)
    admit_the_app(operator, server)
    before = dump(operator, server)
    mirrored(operator, server)
    kept = row(operator, "Mirrors", server)
    assert kept is not None
    secret = password(operator, kept["secret"])
    assert secret
    where = Database(server.address, "shop", operator.topology.authority)
    with where.connect(ROLE, secret) as fabrics_own:
        fabrics_own.execute("CREATE SCHEMA stray")
    stuck = after(operator, server, lambda: delete(operator, server))
    assert (stuck["phase"], codes(stuck)) == ("Blocked", ["RoleStillInUse"])
    assert "1 object in database shop" in stuck["reasons"][0]["message"]
    assert set(owners(operator, server).values()) == {application.role}  # that much is done
    assert stuck["mirrors"] == []
    with where.connect(ROLE, secret) as fabrics_own:
        fabrics_own.execute("DROP SCHEMA stray")
    released(operator, server, lambda: delete(operator, server))
    assert dump(operator, server) == before
    refused = operator.call("DELETE", operator.door("pg-unknown"))
    assert (refused.status, refused.body["code"]) == (404, "NotMirrored")


def a_server_whose_record_was_lost_is_given_back_by_what_it_has_itself(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-forgotten", 17)
    admit_the_app(operator, server)
    before = dump(operator, server)
    [mirror] = mirrored(operator, server, {"rights": "ownership"})["mirrors"]
    lose_record(operator, server)
    released(operator, server, lambda: delete(operator, server))
    assert dump(operator, server) == before
    path = f"/workspaces/{WORKSPACE}/mirroredDatabases/{mirror['mirrored_database']}"
    eventually(lambda: fabric(operator, "POST", f"{path}/getMirroringStatus")["status"], lambda it: it == "Stopped", 20)
    tagged(operator, server)
    an_owner_that_becomes_strong_is_left_though_its_server_is_blocked(operator, server)
    lose_record(operator, server)
    seen = after(operator, server, lambda: operator.tag(server, fabric_mirror="disabled"))
    assert (seen["phase"], codes(seen)) == ("Released", ["ParametersLeft", "ReplicaIdentitiesLeft"])
    nothing_of_ours_is_left(operator, server)
    with application.connect() as connection:
        connection.execute(seen["reasons"][1]["remedy"].partition("owner: ")[2])
    assert dump(operator, server) == before
    assert application.inabilities() == {}
    lose_record(operator, server)
    refused = operator.call("DELETE", operator.door(server))
    assert (refused.status, refused.body["code"]) == (404, "NotMirrored")


def an_owner_that_becomes_strong_is_left_though_its_server_is_blocked(operator: Operator, server: Server) -> None:
    def is_member() -> bool:
        [reached] = query(operator, server, "SELECT pg_has_role(%s::name, 'shop_app', 'USAGE') AS reached", ROLE)
        return bool(reached["reached"])

    assert is_member()
    query(operator, server, "CREATE ROLE chief CREATEROLE")
    query(operator, server, "GRANT chief TO shop_app")
    how = {"fabric_mirror": "enabled", "fabric_mirror_rights": "membership"}
    blocked = after(operator, server, lambda: operator.tag(server, **how))
    assert (blocked["phase"], codes(blocked)) == ("Blocked", ["OwnerTooStrong"])
    assert "OwnerBecameStrong" in {check["id"] for check in blocked["report"]["checks"]}
    assert not is_member()
    query(operator, server, "DROP ROLE chief")
    tagged(operator, server)
    assert is_member()


def fabric_refuses_one_database_and_the_other_is_released_all_the_same(operator: Operator) -> None:
    server = new_server(operator, "pg-two", 17, "crm", "shop")
    for database in ("crm", "shop"):
        operator.install(server, database)
    mirrored(operator, server)
    rows = {found["database"]: found for found in operator.rows("Mirrors") if found["server"].endswith("/pg-two")}
    fault = {
        "operation": "Connections_DeleteConnection", "path": rows["crm"]["connection"], "status": 403,
        "code": "InsufficientPrivileges",
    }  # fmt: skip
    operator.stack.control("fabric", "POST", "faults", fault)
    stuck = after(operator, server, lambda: delete(operator, server))
    assert stuck["phase"] == "Blocked"
    [reason] = stuck["reasons"]
    assert reason["message"].startswith("Database crm: ")
    assert [(mirror["database"], mirror["phase"]) for mirror in stuck["mirrors"]] == [("crm", "Blocked")]
    assert set(owners(operator, server, "shop").values()) == {"shop_app"}
    released(operator, server, lambda: delete(operator, server))
    assert set(owners(operator, server, "crm").values()) == {"crm_app"}


def a_schema_that_nobody_here_wrote_comes_back_as_it_was(operator: Operator) -> None:
    server = new_server(operator, "pg-music", 18, "music")
    query(operator, server, "CREATE EXTENSION cube", database="music")
    query(operator, server, "CREATE EXTENSION unaccent", database="music")
    query(operator, server, "CREATE ROLE musicbrainz", database="music")
    query(operator, server, "GRANT musicbrainz TO azure_pg_admin WITH ADMIN OPTION", database="music")
    query(operator, server, "GRANT CREATE ON DATABASE music TO musicbrainz", database="music")
    where = Database(server.address, "music", operator.topology.authority)
    with where.connect(ADMINISTRATOR, server.password) as connection:
        connection.execute("SET ROLE musicbrainz")
        musicbrainz.install(connection)
    admit_the_app(operator, server)
    before = dump(operator, server, ["music"])
    seen = mirrored(operator, server)
    [mirror] = seen["mirrors"]
    assert mirror["rights"] == "membership"
    tables = query(
        operator, server, "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'musicbrainz'",
        database="music",
    )  # fmt: skip
    assert len(tables) == musicbrainz.TABLES
    assert {table["tableowner"] for table in tables} == {"musicbrainz"}
    rows = query(operator, server, "SELECT tablename::text FROM pg_publication_tables", database="music")
    published = {table["tablename"] for table in rows}
    left = {f"music: musicbrainz.{table['tablename']}" for table in tables if table["tablename"] not in published}
    told = {check["subject"] for check in seen["report"]["checks"] if check["id"] == "Table"}
    assert left <= told  # with the reason why
    assert len(left) < 10
    released(operator, server, lambda: delete(operator, server), "music")
    assert dump(operator, server, ["music"]) == before


@pytest.mark.parametrize(
    "story",
    [
        a_schema_that_nobody_here_wrote_comes_back_as_it_was,
        a_disabled_tag_gives_everything_back,
        a_removed_tag_gives_everything_back,
        a_withdrawn_request_is_refused_half_way_and_goes_on_from_there,
        fabric_refuses_one_database_and_the_other_is_released_all_the_same,
        a_server_whose_record_was_lost_is_given_back_by_what_it_has_itself,
    ],
    ids=lambda story: story.__name__,
)
def test_the_way_back(story: Story, at_once: Callable[[Story], None]) -> None:
    at_once(story)
