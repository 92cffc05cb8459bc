"""What Fabric, and those who run it, do to a mirror: restarted, paused with its capacity, reached by a gateway."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from local.scenario import Answer, Operator, Server, eventually
from local.topology import NOTICE_TOPIC
from tests.e2e.lifecycle.story import (
    CONNECTION_GROUP,
    PAUSED_WORKSPACE,
    WORKSPACE,
    Story,
    after,
    calls,
    codes,
    fabric,
    mirrored,
    nothing_of_ours_is_left,
    put,
    row,
    slots,
    with_shop,
)

STARTS_AND_STOPS = ("Mirroring_StartMirroring", "Mirroring_StopMirroring")


def item_of(seen: dict[str, Any]) -> str:
    """The id of the server's one mirrored database."""
    [mirror] = seen["mirrors"]
    return str(mirror["mirrored_database"])


def started_and_stopped(operator: Operator, item: str) -> list[str]:
    """Every start and stop of a mirrored database, in order."""
    made = operator.control("fabric", "calls")
    return [call["operation"] for call in made if call["operation"] in STARTS_AND_STOPS and item in call["path"]]


def status(operator: Operator, workspace: str, item: str) -> str:
    path = f"/workspaces/{workspace}/mirroredDatabases/{item}/getMirroringStatus"
    return str(fabric(operator, "POST", path)["status"])


def resync(operator: Operator) -> None:
    fired = operator.call("POST", "/admin/functions/resync_servers", {"input": ""}, key="_master")
    assert fired.status == 202


def a_mirror_is_seeded_anew_only_when_that_is_meant(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-reseeded", 18)
    item = item_of(mirrored(operator, server))
    operator.sweep()

    def restart(item: str, body: Any) -> Answer:
        return operator.call("POST", f"/api/mirrors/{WORKSPACE}/{item}/restart", body)

    for body in (None, {}, {"reseed": False}, {"reseed": 1}, {"reseed": True, "all": True}, b"{"):
        unsure = restart(item, body)
        assert (unsure.status, unsure.body["code"]) == (400, "ReseedNotConfirmed")
        assert "copies every table again" in unsure.body["detail"]
        assert '{"reseed": true}' in unsure.body["remedy"]
    unknown = restart(str(uuid.uuid4()), {"reseed": True})
    assert (unknown.status, unknown.body["code"]) == (404, "MirrorNotFound")
    assert started_and_stopped(operator, item) == ["Mirroring_StartMirroring"]

    pretty = b'{\n\t"reseed":\ttrue\n}'
    seen = after(operator, server, lambda: restart(item.upper(), pretty))
    assert (seen["phase"], seen["reasons"], item_of(seen)) == ("Mirrored", [], item)
    start, stop = STARTS_AND_STOPS
    assert started_and_stopped(operator, item) == [start, stop, start]
    assert slots(operator, server) == {"shop": True}
    after(operator, server, lambda: put(operator, server))
    assert started_and_stopped(operator, item) == [start, stop, start]  # once
    assert operator.restarts(server) == 1  # of the server
    assert application.inabilities() == {}

    def twice() -> None:
        """Again while the first one is held in its start, as a table is locked."""
        with application.connect() as connection, connection.transaction():
            connection.execute("LOCK TABLE sales.orders IN ACCESS EXCLUSIVE MODE")
            assert restart(item, {"reseed": True}).status == 202
            eventually(lambda: started_and_stopped(operator, item), lambda seen: seen[3:] == [stop, start], 30)
            assert restart(item, {"reseed": True}).status == 202
            eventually(lambda: started_and_stopped(operator, item), lambda seen: seen[5:6] == [stop], 30)

    seen = after(operator, server, twice)
    assert (seen["phase"], seen["reasons"]) == ("Mirrored", [])
    assert started_and_stopped(operator, item) == [start, stop, start, stop, start, stop, start]
    told = operator.control("eventgrid", f"events?topic={NOTICE_TOPIC}")
    ours = {event["type"] for event in told if event["data"]["server"].lower() == server.id.lower()}
    assert "FabricMirror.PreparationBlocked" not in ours
    one_that_was_deleted_by_hand_is_made_anew(operator, server, item)


def one_that_was_deleted_by_hand_is_made_anew(operator: Operator, server: Server, item: str) -> None:
    fabric(operator, "DELETE", f"/workspaces/{WORKSPACE}/mirroredDatabases/{item}")
    seen = after(operator, server, lambda: put(operator, server))
    assert (seen["phase"], seen["reasons"]) == ("Mirrored", [])
    assert item_of(seen) != item
    assert started_and_stopped(operator, item_of(seen)) == ["Mirroring_StartMirroring"]
    assert slots(operator, server) == {"shop": True}


def a_paused_capacity_is_told_and_its_mirror_starts_again_after_it(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-paused", 16)
    wish = {"workspace": PAUSED_WORKSPACE}
    item = item_of(mirrored(operator, server, wish))
    capacity = fabric(operator, "GET", f"/workspaces/{PAUSED_WORKSPACE}")["capacityId"]
    operator.stack.control("fabric", "PUT", f"capacities/{capacity}", {"state": "Inactive"})
    try:
        eventually(lambda: status(operator, PAUSED_WORKSPACE, item), lambda seen: seen == "Paused")
        seen = after(operator, server, lambda: put(operator, server, wish))
        assert (seen["phase"], codes(seen)) == ("Blocked", ["CapacityActive"])
        assert "is Inactive, not Active" in seen["reasons"][0]["message"]
        assert "Resume the capacity" in seen["reasons"][0]["remedy"]
        assert slots(operator, server) == {"shop": False}  # and so it retains WAL
    finally:
        operator.stack.control("fabric", "PUT", f"capacities/{capacity}", {"state": "Active"})
    assert status(operator, PAUSED_WORKSPACE, item) == "Paused"
    seen = after(operator, server, lambda: resync(operator))
    assert (seen["phase"], seen["reasons"], item_of(seen)) == ("Mirrored", [], item)
    start, stop = STARTS_AND_STOPS
    assert started_and_stopped(operator, item) == [start, stop, start]
    assert slots(operator, server) == {"shop": True}
    assert application.inabilities() == {}


def a_private_server_is_refused_untouched_and_mirrored_through_a_gateway(operator: Operator) -> None:
    server, application = with_shop(operator, "pg-private", 17, network={"publicNetworkAccess": "Disabled"})
    seen = after(operator, server, lambda: put(operator, server))
    assert (seen["phase"], codes(seen)) == ("Blocked", ["Network"])
    [reason] = seen["reasons"]
    assert "public access is disabled, and no virtual network data gateway is named" in reason["message"]
    assert "FABRIC_GATEWAY" in reason["remedy"]
    assert calls(operator, server, "arm", "Servers_Update", "Configurations_Update", "Servers_Restart") == []
    nothing_of_ours_is_left(operator, server)

    gateway = operator.stack.control("fabric", "POST", "gateways", {"displayName": "vnet"})["id"]
    nowhere = after(operator, server, lambda: put(operator, server, {"gateway": str(uuid.uuid4())}))
    assert (nowhere["phase"], codes(nowhere)) == ("Blocked", ["PostgreSqlConnections"])
    assert "no virtual network data gateway" in nowhere["reasons"][0]["message"]
    assert "FABRIC_GATEWAY" in nowhere["reasons"][0]["remedy"]
    assert status(operator, WORKSPACE, item_of(mirrored(operator, server, {"gateway": gateway}))) == "Running"
    known = row(operator, "Mirrors", server)
    assert known
    link = fabric(operator, "GET", f"/connections/{known['connection']}")
    assert (link["connectivityType"], link["gatewayId"]) == ("VirtualNetworkGateway", gateway)
    group = fabric(operator, "GET", f"/connections/{link['id']}/roleAssignments/{CONNECTION_GROUP}")
    assert (group["principal"]["type"], group["role"]) == ("Group", "User")

    another = operator.stack.control("fabric", "POST", "gateways", {"displayName": "vnet-2"})["id"]
    seen = mirrored(operator, server, {"gateway": another})
    assert status(operator, WORKSPACE, item_of(seen)) == "Running"
    now_known = row(operator, "Mirrors", server)
    assert now_known
    assert fabric(operator, "GET", f"/connections/{known['connection']}") is None  # as nothing uses it any more
    assert fabric(operator, "GET", f"/connections/{now_known['connection']}")["gatewayId"] == another
    assert slots(operator, server) == {"shop": True}
    assert application.inabilities() == {}


@pytest.mark.parametrize(
    "story",
    [
        a_mirror_is_seeded_anew_only_when_that_is_meant,
        a_paused_capacity_is_told_and_its_mirror_starts_again_after_it,
        a_private_server_is_refused_untouched_and_mirrored_through_a_gateway,
    ],
    ids=lambda story: story.__name__,
)
def test_fabric(story: Story, at_once: Callable[[Story], None]) -> None:
    at_once(story)
