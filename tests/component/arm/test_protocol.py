"""How the stand-in for Azure Resource Manager speaks: long-running operations, events, errors, faults."""

from __future__ import annotations

import asyncio
import re
import time

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.mgmt.postgresqlflexibleservers.aio import PostgreSQLManagementClient
from azure.mgmt.postgresqlflexibleservers.models import Configuration

from local.cloud import tokens
from local.stack import Stack
from tests.component.arm.shared_server import GROUP, NAME, OVERRIDE, events, restarts, show
from tests.component.azure_resource_manager import ask, change, server_path


async def test_an_identity_is_a_long_running_operation_that_another_process_can_wait_for(
    stack: Stack, arm: PostgreSQLManagementClient
) -> None:
    started = await arm.servers.begin_update(GROUP, NAME, {"identity": {"type": "SystemAssigned"}})
    token = started.continuation_token()
    with pytest.raises(ResourceExistsError, match="is busy processing another operation") as refused:
        await arm.configurations.begin_update(GROUP, NAME, "work_mem", {"properties": {"value": "8192"}})
    assert refused.value.error.code == "ServerIsBusy"
    assert (await arm.servers.get(GROUP, NAME)).properties.state == "Updating"
    resumed = await arm.servers.begin_update(GROUP, NAME, {}, continuation_token=token)
    server = await resumed.result()
    assert resumed.status() == "Succeeded"
    assert re.fullmatch(r"[0-9a-f-]{36}", server.identity.principal_id)
    assert server.properties.state == "Ready"
    assert show(stack, server, "azure.service_principal_id") == server.identity.principal_id
    change(stack, "PATCH", server_path(stack, NAME), {"identity": {"type": "None"}})
    assert (await arm.servers.get(GROUP, NAME)).identity.principal_id is None
    change(stack, "PATCH", server_path(stack, NAME), {"identity": {"type": "SystemAssigned"}})
    assert (await arm.servers.get(GROUP, NAME)).identity.principal_id not in (None, server.identity.principal_id)


async def test_every_write_raises_an_event_with_the_callers_claims(
    stack: Stack, arm: PostgreSQLManagementClient
) -> None:
    operator = stack.topology.principals["operator"]
    raised = events(stack, "Microsoft.DBforPostgreSQL/flexibleServers/write", server_path(stack, NAME))[0]
    assert raised["eventType"] == "Microsoft.Resources.ResourceWriteSuccess"
    data = raised["data"]
    assert data["resourceUri"] == server_path(stack, NAME)
    assert data["claims"]["http://schemas.microsoft.com/identity/claims/objectidentifier"] == operator.object_id
    assert data["claims"]["appid"] == operator.client_id
    assert data["authorization"]["evidence"]["principalId"] == operator.object_id.replace("-", "")
    body = {"properties": {"value": "1000", "source": OVERRIDE}}
    name = "log_min_duration_statement"
    answer: Configuration = await (await arm.configurations.begin_update(GROUP, NAME, name, body)).result()
    assert answer.properties.value == "1000"
    parameter = f"{server_path(stack, NAME)}/configurations/log_min_duration_statement"
    assert events(stack, "Microsoft.DBforPostgreSQL/flexibleServers/configurations/write", parameter)


async def test_paths_are_read_without_regard_to_letter_case(stack: Stack) -> None:
    status, _, answer = ask(stack, "GET", server_path(stack, NAME).upper())
    assert (status, answer["name"]) == (200, NAME)


@pytest.mark.parametrize(
    ("how", "path", "expected"),
    [
        ({"principal": ""}, "", (401, "AuthenticationFailed")),
        ({"audience": tokens.KEY_VAULT}, "", (401, "InvalidAuthenticationToken")),
        ({"query": ""}, "", (400, "MissingApiVersionParameter")),
        ({}, "/backups", (501, "NotImplemented")),
    ],
)
async def test_refuses_strangers_and_says_what_it_does_not_implement(
    stack: Stack, how: dict[str, str], path: str, expected: tuple[int, str]
) -> None:
    status, headers, answer = ask(stack, "GET", server_path(stack, NAME) + path, **how)
    assert (status, answer["error"]["code"]) == expected
    if status == 401:
        assert "login.microsoftonline.com" in headers["WWW-Authenticate"]
    if status == 501:
        assert "/backups" in answer["error"]["message"]


async def test_knows_only_its_own_subscription_and_group(stack: Stack) -> None:
    assert ask(stack, "GET", "/subscriptions")[2]["value"][0]["subscriptionId"] == stack.topology.subscription
    stranger = server_path(stack, NAME).replace(stack.topology.subscription, "0" * 36)
    assert ask(stack, "GET", stranger)[2]["error"]["code"] == "SubscriptionNotFound"
    elsewhere = server_path(stack, NAME).replace(GROUP, "rg-other")
    assert ask(stack, "GET", elsewhere)[2]["error"]["code"] == "ResourceGroupNotFound"


async def test_faults_come_as_azure_would_send_them(stack: Stack, arm: PostgreSQLManagementClient) -> None:
    throttled = {"operation": "Servers_Get", "status": 429, "code": "TooManyRequests", "retry_after": 1, "times": 1}
    stack.control("arm", "POST", "faults", throttled)
    started = time.monotonic()
    await arm.servers.get(GROUP, NAME)
    assert time.monotonic() - started >= 1
    stack.control("arm", "POST", "faults", {"operation": "Servers_Restart", "fail_operation": True})
    before = restarts(stack)
    with pytest.raises(HttpResponseError, match="unexpected error"):
        await (await arm.servers.begin_restart(GROUP, NAME)).result()
    assert restarts(stack) == before
    assert (await arm.servers.get(GROUP, NAME)).properties.state == "Ready"


@pytest.mark.parametrize("child", ["databases/new", "firewallRules/new", "configurations/work_mem"])
async def test_one_change_at_a_time(stack: Stack, child: str) -> None:
    path = server_path(stack, NAME)
    status, headers, _ = ask(stack, "POST", f"{path}/restart")
    refused, _, answer = ask(stack, "PUT", f"{path}/{child}", {"properties": {"value": "8192"}})
    again, _, _ = ask(stack, "POST", f"{path}/restart")
    assert (status, refused, again) == (202, 409, 409)
    assert answer["error"]["code"] == "ServerIsBusy"
    assert ask(stack, "GET", f"{path}/configurations/work_mem")[0] == 200  # reads wait for PostgreSQL
    while ask(stack, "GET", headers["Azure-AsyncOperation"])[2]["status"] == "InProgress":
        await asyncio.sleep(0.02)
