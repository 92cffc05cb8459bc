"""The app's passwords in Key Vault: made once, renewed, brought back, and what people read when the vault refuses."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from secrets import token_hex

import pytest
from azure.core.credentials import AccessToken

from local.stack import Stack
from shared.platform import clients, errors, secrets
from shared.platform.settings import settings
from tests.component.app import app_environment

TAGS = {"server": "pg-1"}


@pytest.fixture(scope="module")
def stack(stack_factory: Callable[..., Stack]) -> Stack:
    return stack_factory("front_door", "identity", "keyvault")


@pytest.fixture(autouse=True)
async def app(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    app_environment(stack.topology, monkeypatch)
    stack.control("keyvault", "DELETE", "faults")
    yield
    await clients.close()
    settings.cache_clear()


@pytest.fixture
def name() -> str:
    return f"secret-{token_hex(4)}"


async def test_a_password_is_made_once_rotated_once_deleted_and_made_anew(name: str) -> None:
    assert await secrets.read(name) is None
    first = await secrets.ensure(name, TAGS)
    assert len(first.value) == 40
    assert await secrets.ensure(name, TAGS) == await secrets.read(name) == first
    second = await secrets.ensure(name, TAGS, rotation=2)
    assert second.value != first.value
    assert second.version != first.version
    assert [await secrets.ensure(name, TAGS, rotation) for rotation in (2, 1, 0)] == [second, second, second]
    assert second.value not in repr(second)
    for _ in range(2):
        await secrets.delete(name)
    assert await secrets.read(name) is None
    assert (await secrets.ensure(name, TAGS)).value not in (first.value, second.value)


async def test_one_that_somebody_wrote_counts_until_the_next_rotation(name: str) -> None:
    await secrets.ensure(name, TAGS, rotation=1)
    await clients.vault().set_secret(name, "by-hand", tags={secrets.ROTATION: "soon"})
    assert (await secrets.ensure(name, TAGS)).value == "by-hand"
    assert (await secrets.ensure(name, TAGS, rotation=2)).value != "by-hand"


OPERATIONS = {
    "GetSecret": secrets.read,
    "SetSecret": lambda name: secrets.ensure(name, TAGS, rotation=9),
    "DeleteSecret": secrets.delete,
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_vault_that_refuses_says_which_role_is_missing(stack: Stack, name: str, operation: str) -> None:
    await secrets.ensure(name, TAGS)
    fault = {"operation": operation, "status": 403, "code": "Forbidden", "message": "Caller is not authorized."}
    stack.control("keyvault", "POST", "faults", fault)
    at = f"at secret '{name}' of {settings().services.key_vault}: .*Caller is not authorized"
    with pytest.raises(errors.NotAllowed, match=f"Key Vault refused the app's identity {at}") as refused:
        await OPERATIONS[operation](name)
    assert "Key Vault Secrets Officer" in refused.value.remedy
    assert not refused.value.retryable


async def test_a_vault_that_is_busy_is_asked_again_later(stack: Stack, name: str) -> None:
    busy = {"operation": "SetSecret", "status": 429, "retry_after": 0, "times": 9}
    stack.control("keyvault", "POST", "faults", busy)
    with pytest.raises(errors.Unavailable, match=f"Key Vault answered 429 at secret '{name}' of https://"):
        await secrets.ensure(name, TAGS)


async def test_a_vault_out_of_reach_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await clients.credential().get_token(clients.cloud().management_scope)
    monkeypatch.setattr(clients, "credential", _Credential)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(errors.Unavailable, match=f"Key Vault is out of reach at secret '{name}' of https://"):
        await secrets.read(name)


async def test_an_app_without_an_identity_says_so(stack: Stack, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app_environment(stack.topology, monkeypatch, AZURE_CLIENT_ID=str(uuid.uuid4()))
    with pytest.raises(errors.Unavailable, match="got no token for Key Vault: No User Assigned") as missing:
        await secrets.read(name)
    assert missing.value.code == "TokenMissing"


class _Credential:
    """A token without a question: only the vault is out of reach."""

    async def get_token(self, *_: str, **__: object) -> AccessToken:
        return AccessToken("token", 2**40)

    async def close(self) -> None: ...
