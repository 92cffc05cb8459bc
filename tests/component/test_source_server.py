"""The app's side of a flexible server, by the real management SDK against the stand-in of Azure Resource Manager."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from local.stack import Stack
from shared.decisions import parameters as server_parameters
from shared.desired.changes import (
    AddAdministrator,
    Change,
    EnableEntraAuthentication,
    EnableSystemIdentity,
    Restart,
    SetParameter,
)
from shared.desired.server_id import ServerId
from shared.platform import clients
from shared.platform.errors import Blocked, MirrorError, NotAllowed, NotFound, Unavailable
from shared.source import connection, parameter_list, server, slots
from shared.source.facts import Absence, ServerFacts
from shared.source.parameters import Used
from tests.component.app import IDENTITY, app_environment
from tests.component.azure_resource_manager import change, create_server, server_path

NAME = "pg-source"
USER_IDENTITY = "/subscriptions/x/resourceGroups/y/providers/Microsoft.ManagedIdentity/userAssignedIdentities/theirs"
WINDOW = {"customWindow": "Enabled", "dayOfWeek": 6, "startHour": 23, "startMinute": 30}


@pytest.fixture(scope="module")
def stack(stack_factory: Callable[..., Stack]) -> Stack:
    stack = stack_factory("front_door", "identity", "arm", fresh=True)
    create_server(
        stack, NAME, tags={"Team": "data"}, maintenanceWindow=WINDOW,
        identity={"type": "UserAssigned", "userAssignedIdentities": {USER_IDENTITY: {}}},
        authConfig={"activeDirectoryAuth": "Disabled", "passwordAuth": "Enabled"},
    )  # fmt: skip
    assert (
        change(stack, "PUT", f"{server_path(stack, NAME)}/databases/shop", {"properties": {}})["status"] == "Succeeded"
    )
    return stack


@pytest.fixture
async def id(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ServerId]:
    app_environment(stack.topology, monkeypatch)
    yield ServerId(stack.topology.subscription, stack.topology.resource_group, NAME)
    stack.control("arm", "DELETE", "faults")
    await clients.close()


async def carry_out(id: ServerId, change: Change) -> list[server.Progress]:
    """Start it and poll it to its end, each time as an activity would: from what JSON carries."""
    token = await server.begin(id, change)
    seen = []
    while True:
        again = msgspec.json.decode(msgspec.json.encode(change), type=Change)
        progress = await server.poll(id, again, token)
        token = progress.token
        seen.append(progress)
        if progress.done or progress.again:
            return seen
        await asyncio.sleep(0.05)


async def test_sees_the_server_as_it_is(stack: Stack, id: ServerId) -> None:
    facts = await server.observe(id)
    assert isinstance(facts, ServerFacts)
    assert (facts.id, facts.version, facts.state, facts.tier) == (id, 18, "Ready", "GeneralPurpose")
    assert (facts.high_availability, facts.replicas, facts.elastic_cluster) == ("Disabled", 0, False)
    assert facts.databases == ("shop",)
    assert facts.tags == {"Team": "data"}
    assert facts.maintenance_window == server.MaintenanceWindow(True, 6, 23, 30)
    assert facts.host.startswith("127.0.0.")
    assert facts.created_at
    assert not facts.azure_services_allowed
    rule = {"properties": {"startIpAddress": "0.0.0.0", "endIpAddress": "0.0.0.0"}}
    change(stack, "PUT", f"{server_path(stack, NAME)}/firewallRules/azure", rule)
    again = await server.observe(id)
    assert isinstance(again, ServerFacts)
    assert again.azure_services_allowed


async def test_a_server_that_does_not_exist_is_none_and_has_no_parameters(id: ServerId) -> None:
    missing = msgspec.structs.replace(id, name="pg-missing")
    assert await server.observe(missing) == Absence("ResourceNotFound")
    with pytest.raises(Unavailable, match="pg-missing"):
        await parameter_list.parameters(missing)


async def test_lists_the_servers_of_a_subscription_with_their_tags(id: ServerId) -> None:
    found = {found: tags async for found, tags in server.list_servers(id.subscription)}
    assert found[id] == {"Team": "data"}


async def test_enabling_the_identity_keeps_those_that_are_there(stack: Stack, id: ServerId) -> None:
    before = await server.observe(id)
    assert isinstance(before, ServerFacts)
    assert (before.identity_type, before.principal_id) == ("UserAssigned", "")
    await carry_out(id, EnableSystemIdentity())
    after = await server.observe(id)
    assert isinstance(after, ServerFacts)
    assert after.identity_type == "SystemAssigned,UserAssigned"
    assert len(after.principal_id) == 36


async def test_the_app_becomes_an_administrator_and_gets_in_with_its_token(stack: Stack, id: ServerId) -> None:
    who = stack.topology.principals[IDENTITY]
    await carry_out(id, EnableEntraAuthentication())
    await carry_out(id, AddAdministrator(who.object_id, IDENTITY, stack.topology.tenant))
    facts = await server.observe(id)
    assert isinstance(facts, ServerFacts)
    assert facts.entra_auth
    assert facts.password_auth
    assert facts.administrators == (server.Administrator(who.object_id, IDENTITY, "ServicePrincipal"),)
    async with connection.connect(facts.host, "shop") as found:
        row = await (
            await found.execute("SELECT current_user AS me, current_setting('search_path') AS path")
        ).fetchone()
        assert row == {"me": IDENTITY, "path": "pg_catalog,pg_temp"}
        assert await slots.tracked_publications(found) == ()
        assert found.info.dbname not in await slots.slots_by_database(found)
        assert await slots.slots_in_use(found, "fabric_user", []) == Used(0, 0)
    with pytest.raises(NotFound, match="no database 'nothing'"):
        async with connection.connect(facts.host, "nothing"):
            pass


async def test_a_server_that_does_not_know_the_app_refuses_it_with_what_to_do(
    stack: Stack, id: ServerId, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = await server.observe(id)
    assert isinstance(facts, ServerFacts)
    app_environment(stack.topology, monkeypatch, IDENTITY_NAME="id-unknown")
    with pytest.raises(Blocked, match="'id-unknown'") as caught:
        async with connection.connect(facts.host, "shop"):
            pass
    assert caught.value.code == "LoginRefused"
    assert "Entra administrator" in caught.value.remedy
    token = (await clients.credential().get_token(clients.cloud().postgresql_scope)).token
    assert token not in caught.value.message


async def test_the_planned_parameters_are_set_and_one_restart_applies_them(stack: Stack, id: ServerId) -> None:
    found = await parameter_list.parameters(id)
    assert found["wal_level"].value == "replica"
    planned = server_parameters.plan(found, ["shop"])
    assert planned.problems == ()
    for planned_change in planned.changes:
        await carry_out(id, SetParameter(planned_change.name, planned_change.needed))
    found = await parameter_list.parameters(id)
    assert server_parameters.plan(found, ["shop"], baseline=planned.baseline_worker_processes).changes == ()
    assert "wal_level" in server_parameters.pending_restart(found)
    await carry_out(id, Restart())
    assert server_parameters.pending_restart(await parameter_list.parameters(id)) == ()


async def test_polling_looks_once_and_never_waits(id: ServerId) -> None:
    token = await server.begin(id, Restart())
    started = time.monotonic()
    progress = await server.poll(id, Restart(), token)
    assert time.monotonic() - started < 1
    assert progress.token == token
    assert 0 < progress.retry_after <= 30
    while not (await server.poll(id, Restart(), token)).done:
        await asyncio.sleep(0.05)
    assert (await server.poll(id, Restart(), token)).done


async def test_a_continuation_token_carries_no_credential(id: ServerId) -> None:
    token = await server.begin(id, SetParameter("work_mem", "8192"))
    access = (await clients.credential().get_token(clients.cloud().management_scope)).token
    text = base64.b64decode(token).decode()
    assert access not in text
    assert "authorization" not in text.lower()
    assert "bearer" not in text.lower()
    assert set(json.loads(text)["data"]["request"]["headers"]) <= {"x-ms-client-request-id"}
    while not (await server.poll(id, SetParameter("work_mem", "8192"), token)).done:
        await asyncio.sleep(0.05)


async def test_a_busy_server_is_worth_retrying(id: ServerId) -> None:
    token = await server.begin(id, Restart())
    with pytest.raises(Unavailable, match="ServerIsBusy") as caught:
        await server.begin(id, SetParameter("work_mem", "4096"))
    assert caught.value.retry_after
    while not (await server.poll(id, Restart(), token)).done:
        await asyncio.sleep(0.05)


FAULTS: list[tuple[dict[str, Any], type[MirrorError], str]] = [
    ({"status": 429, "retry_after": 7}, Unavailable, "Unavailable"),
    ({"status": 503, "code": "ServiceUnavailable"}, Unavailable, "Unavailable"),
    ({"status": 409, "code": "ServerIsBusy"}, Unavailable, "Unavailable"),
    ({"drop": True}, Unavailable, "Unavailable"),
    ({"status": 403, "code": "AuthorizationFailed"}, NotAllowed, "NotAllowed"),
    ({"status": 401, "times": 2}, Unavailable, "TokenRefused"),
    ({"status": 400, "code": "InvalidParameterValue"}, Blocked, "InvalidParameterValue"),
    ({"status": 409, "code": "ResourceLocked"}, Blocked, "ResourceLocked"),
]


@pytest.mark.parametrize(
    ("fault", "kind", "code"), FAULTS, ids=lambda value: str(value) if isinstance(value, str) else ""
)
async def test_a_refusal_says_what_was_done_where_and_why(
    stack: Stack, id: ServerId, fault: dict[str, Any], kind: type[MirrorError], code: str
) -> None:
    stack.control("arm", "POST", "faults", {"operation": "Configurations_Update", **fault})
    with pytest.raises(kind) as caught:
        await server.begin(id, SetParameter("work_mem", "4096"))
    assert caught.value.code == code
    assert "Setting parameter 'work_mem' to '4096' on server 'pg-source'" in caught.value.message
    if "retry_after" in fault:
        assert caught.value.retry_after == fault["retry_after"]


async def test_an_operation_that_fails_in_the_end_says_so(stack: Stack, id: ServerId) -> None:
    stack.control("arm", "POST", "faults", {"operation": "Servers_Restart", "fail_operation": True})
    *_, last = await carry_out(id, Restart())
    assert last.again
    assert "Restarting server 'pg-source' failed" in last.again.message
    assert (last.again.code, bool(last.again.remedy)) == ("InternalServerError", True)


async def test_an_answer_that_is_cut_or_no_json_is_an_error_of_azure_and_is_asked_for_again(
    stack: Stack, id: ServerId
) -> None:
    for fault in ({"truncate": 40}, {"truncate": 40, "drop": True}, {"raw": "<html>", "content_type": "text/html"}):
        stack.control("arm", "POST", "faults", {"operation": "Servers_Get", **fault})
        assert isinstance(await server.observe(id), ServerFacts)
        stack.control("arm", "POST", "faults", {"operation": "Servers_Get", "times": 9, **fault})
        with pytest.raises(Unavailable, match="Azure Resource Manager"):
            await server.observe(id)
        stack.control("arm", "DELETE", "faults")


async def test_a_token_that_azure_refuses_is_replaced(stack: Stack, id: ServerId) -> None:
    stack.control("arm", "POST", "faults", {"operation": "Servers_Get", "status": 401, "code": "ExpiredToken"})
    assert isinstance(await server.observe(id), ServerFacts)


async def test_reading_survives_a_single_failure(stack: Stack, id: ServerId) -> None:
    stack.control("arm", "POST", "faults", {"operation": "Servers_Get", "status": 503})
    assert isinstance(await server.observe(id), ServerFacts)


async def test_a_stopped_server_is_seen_and_out_of_reach(stack: Stack, id: ServerId) -> None:
    change(stack, "POST", f"{server_path(stack, NAME)}/stop")
    try:
        facts = await server.observe(id)
        assert isinstance(facts, ServerFacts)
        assert facts.state == "Stopped"
        with pytest.raises(Unavailable, match=facts.host):
            async with connection.connect(facts.host, "shop"):
                pass
    finally:
        change(stack, "POST", f"{server_path(stack, NAME)}/start")
