"""The client itself: what is repeated and what is not, how refusals read, and that the quota holds."""

import asyncio
import logging
import uuid
from collections.abc import Callable

import msgspec
import pytest

from local.cloud import tokens
from local.topology import Topology
from shared.fabric import client, workspace
from shared.fabric.quota import background
from shared.platform import clients, errors
from tests.component.app import app_environment
from tests.component.fabric.callers import Control


class _Named(msgspec.Struct):
    id: str


async def test_pages_are_followed(calls: Callable[..., list[str]]) -> None:
    class Type(msgspec.Struct):
        type: str

    found = [row.type async for row in client.pages(Type, "/connections/supportedConnectionTypes")]
    assert "AzurePostgreSQL" in found
    assert len(set(found)) == len(found) == calls().count("Connections_ListSupportedConnectionTypes")


async def test_throttling_is_waited_out_when_short(
    stack: Topology, control: Control, calls: Callable[..., list[str]]
) -> None:
    fault = {"operation": "Workspaces_GetWorkspace", "status": 429, "retry_after": 0.1, "times": 2}
    control("POST", "faults", fault)
    assert await workspace.observe(stack.workspace)
    assert calls().count("Workspaces_GetWorkspace") == 3


async def test_throttling_for_long_is_left_to_the_caller(
    stack: Topology, control: Control, calls: Callable[..., list[str]]
) -> None:
    fault = {"operation": "Workspaces_GetWorkspace", "status": 429, "retry_after": 55, "code": "RequestBlocked"}
    control("POST", "faults", fault)
    with pytest.raises(errors.Unavailable, match="Fabric refused GET /workspaces/") as waiting:
        await workspace.observe(stack.workspace)
    assert (waiting.value.retry_after, waiting.value.code, waiting.value.retryable) == (55, "RequestBlocked", True)
    with pytest.raises(errors.Unavailable, match=r"this identity not to call for another 5[45] s") as held:
        await workspace.observe(stack.workspace)
    assert held.value.code == "Throttled"
    assert calls().count("Workspaces_GetWorkspace") == 1


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"drop": True}, {"status": 401}])
async def test_reads_are_repeated(stack: Topology, control: Control, fault: dict[str, object]) -> None:
    control("POST", "faults", {"operation": "Workspaces_GetWorkspace", **fault})
    assert await workspace.observe(stack.workspace)


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"drop": True}])
async def test_what_would_harm_is_not_repeated(
    stack: Topology, control: Control, calls: Callable[..., list[str]], fault: dict[str, object]
) -> None:
    control("POST", "faults", {"operation": "Connections_CreateConnection", **fault})
    with pytest.raises(errors.Unavailable, match="POST /connections") as failed:
        await client.write(_Named, "POST", "/connections", {})
    assert failed.value.retry_after
    assert calls().count("Connections_CreateConnection") <= 1
    assert control("GET", "faults") == []


async def test_refusals_carry_fabrics_code_message_and_request(stack: Topology, control: Control) -> None:
    fault = {"operation": "Workspaces_GetWorkspace", "status": 403, "code": "Unauthorized", "message": "Not you."}
    control("POST", "faults", fault)
    with pytest.raises(errors.NotAllowed, match=r"Not you\. \(Unauthorized, request [0-9a-f-]{36}\)") as refused:
        await workspace.observe(stack.workspace)
    assert refused.value.code == "Unauthorized"
    assert "'Service principals can use Fabric APIs'" in refused.value.remedy
    with pytest.raises(errors.Blocked, match="displayName"):
        await client.write(_Named, "POST", "/connections", {"connectivityType": "ShareableCloud"})
    with pytest.raises(errors.NotFound, match="EntityNotFound"):
        await client.read(_Named, f"/connections/{uuid.uuid4()}")


async def test_an_answer_in_another_form_is_named(stack: Topology) -> None:
    class Wrong(msgspec.Struct):
        no_such_field: int

    with pytest.raises(
        errors.Unavailable, match=r"at https://api\.fabric\.microsoft\.com/v1/workspaces/.*no_such_field.*\(request "
    ):
        await client.read(Wrong, f"/workspaces/{stack.workspace}")


async def test_no_identity_says_so(stack: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    app_environment(stack, monkeypatch, AZURE_CLIENT_ID=str(uuid.uuid4()))
    with pytest.raises(errors.Unavailable, match="got no token for Fabric") as refused:
        await workspace.observe(stack.workspace)
    assert refused.value.code == "TokenMissing"
    assert "AZURE_CLIENT_ID" in refused.value.remedy


async def test_fabric_out_of_reach_says_so(stack: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    await clients.credential().get_token(clients.cloud().fabric_scope)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(
        errors.Unavailable, match=r"out of reach at POST /connections: .*\(client request [0-9a-f-]{36}\)"
    ):
        await client.write(_Named, "POST", "/connections", {})


async def test_neither_tokens_nor_bodies_are_logged(stack: Topology, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="azure.core.pipeline.policies.http_logging_policy")
    token = (await clients.credential().get_token(clients.cloud().fabric_scope)).token
    with pytest.raises(errors.MirrorError):
        await client.write(_Named, "POST", "/connections", {"secret": "in the body"})
    assert tokens.verify(stack, token, (tokens.FABRIC,))
    assert token not in caplog.text
    assert "in the body" not in caplog.text
    assert "fabric-mirror/" in caplog.text


async def test_a_sweep_stays_within_the_quota_and_lets_others_pass(
    stack: Topology, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quota and its time are scaled down together, here and there: 40 calls a second stand for 200 a minute."""
    app_environment(stack, monkeypatch, FABRIC_CALLS_PER_MINUTE="2400", FABRIC_WINDOW_SECONDS="1")
    await workspace.observe(stack.workspace)
    await asyncio.sleep(1)
    control("PUT", "quota", {"calls": 40, "seconds": 1})
    control("DELETE", "calls")

    async def sweep() -> None:
        with background():
            looks = (client.read(_Named, f"/workspaces/{stack.workspace}") for _ in range(120))
            await asyncio.gather(*looks)

    sweeping = asyncio.create_task(sweep())
    await asyncio.sleep(0.5)
    await client.read(_Named, f"/workspaces/{stack.workspace}")
    assert not sweeping.done(), "who asks in between does not wait for the sweep"
    await sweeping
    assert 429 not in [call["status"] for call in control("GET", "calls")]
