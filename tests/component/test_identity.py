"""The managed identity endpoint, asked by the real credentials and by hand."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

from local.cloud import tokens
from local.stack import Stack

ARM = "https://management.azure.com"


@pytest.fixture(scope="module")
def stack(stack_factory: Callable[..., Stack]) -> Stack:
    return stack_factory("front_door", "identity", "keyvault")


def ask(stack: Stack, header: str | None = None, **query: str) -> tuple[int, dict[str, str]]:
    who = stack.topology.principals["operator"]
    asked = {"resource": ARM, "api-version": "2019-08-01"} | {name.replace("__", "-"): v for name, v in query.items()}
    request = urllib.request.Request(
        f"{stack.topology.address('identity')}/msi/token?{urllib.parse.urlencode(asked)}",
        headers={"X-IDENTITY-HEADER": who.header if header is None else header},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read())


@pytest.mark.parametrize("principal", ["id-fabric-mirror", "operator"])
def test_the_sdk_gets_a_token_of_whoever_the_environment_names(
    stack: Stack, become: Callable[[Stack, str], None], principal: str
) -> None:
    become(stack, principal)
    who = stack.topology.principals[principal]
    with ManagedIdentityCredential(client_id=who.client_id) as credential:
        token = credential.get_token(f"{ARM}/.default")
    claims = tokens.verify(stack.topology, token.token, (ARM,))
    assert (claims["oid"], claims["appid"], claims["tid"]) == (who.object_id, who.client_id, stack.topology.tenant)
    assert time.time() + 3000 < token.expires_on == claims["exp"]


def test_the_default_credential_of_a_tool_finds_it(stack: Stack, become: Callable[[Stack, str], None]) -> None:
    become(stack, "operator")
    with DefaultAzureCredential(exclude_cli_credential=True) as credential:
        token = credential.get_token("https://api.fabric.microsoft.com/.default").token
    assert tokens.verify(stack.topology, token, (tokens.FABRIC,))["aud"] == tokens.FABRIC


def test_a_token_is_for_one_audience_and_one_stack(stack: Stack) -> None:
    token = ask(stack)[1]["access_token"]
    with pytest.raises(jwt.InvalidAudienceError):
        tokens.verify(stack.topology, token, (tokens.FABRIC,))
    forged = jwt.encode(jwt.decode(token, options={"verify_signature": False}), "x" * 32, algorithm="HS256")
    with pytest.raises(jwt.InvalidTokenError):
        tokens.verify(stack.topology, forged, (ARM,))


def test_the_answer_has_app_services_shape(stack: Stack) -> None:
    status, body = ask(stack, resource=f"{ARM}/")
    assert status == 200
    assert body["token_type"] == "Bearer"
    assert body["resource"] == f"{ARM}/"
    assert body["client_id"] == stack.topology.principals["operator"].client_id
    assert body["expires_on"].isdecimal()


def test_an_identity_is_found_by_each_of_its_names(stack: Stack) -> None:
    who, t = stack.topology.principals["operator"], stack.topology
    resource_id = (
        f"/subscriptions/{t.subscription}/resourcegroups/{t.resource_group}"
        "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/operator"
    )
    for selector in ({"client_id": who.client_id.upper()}, {"principal_id": who.object_id}, {"mi_res_id": resource_id}):
        assert ask(stack, **selector)[0] == 200


def test_nobody_gets_somebody_elses_token(stack: Stack, become: Callable[[Stack, str], None]) -> None:
    other = stack.topology.principals["id-fabric-mirror"].client_id
    status, body = ask(stack, client_id=other)
    assert status == 400
    assert body["message"].startswith("No User Assigned or Delegated Managed Identity found")
    become(stack, "operator")
    with (
        pytest.raises(ClientAuthenticationError, match="No User Assigned or Delegated"),
        ManagedIdentityCredential(client_id=other) as credential,
    ):
        credential.get_token(f"{ARM}/.default")


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ({"header": "wrong"}, 401, "X-IDENTITY-HEADER is missing or wrong"),
        ({"header": ""}, 401, "X-IDENTITY-HEADER is missing or wrong"),
        ({"api__version": "2017-09-01"}, 400, "api-version must be 2019-08-01, not '2017-09-01'"),
        ({"resource": "https://example.com"}, 400, "resource principal named https://example.com was not found"),
        ({"resource": ""}, 400, "was not found"),
    ],
)
def test_a_bad_request_is_told_why(stack: Stack, query: dict[str, str], status: int, message: str) -> None:
    got, body = ask(stack, **query)
    assert got == status
    assert message in body["message"]
    assert body["statusCode"] == status


def test_faults_can_be_ordered(stack: Stack) -> None:
    fault = {"operation": "ManagedIdentity_GetToken", "status": 429, "retry_after": 1, "message": "slow down"}
    stack.control("identity", "POST", "faults", fault)
    status, body = ask(stack)
    assert (status, body["message"]) == (429, "slow down")
    assert ask(stack)[0] == 200
