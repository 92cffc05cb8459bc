"""Key Vault's stand-in, driven by the real secrets client as the app drives it."""

import secrets
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest
from azure.core.credentials import AccessTokenInfo
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity.aio import ManagedIdentityCredential
from azure.keyvault.secrets.aio import SecretClient

from local.stack import Stack


@pytest.fixture(scope="module")
def stack(stack_factory: Callable[..., Stack]) -> Stack:
    return stack_factory("front_door", "identity", "keyvault")


@pytest.fixture
async def vault(stack: Stack, become: Callable[[Stack, str], None]) -> AsyncIterator[SecretClient]:
    become(stack, "id-fabric-mirror")
    trust = str(stack.topology.authority)
    async with (
        ManagedIdentityCredential() as credential,
        SecretClient(
            stack.topology.vault_url, credential, connection_verify=trust, retry_backoff_factor=0.01
        ) as client,
    ):
        yield client


@pytest.fixture
def name() -> str:
    return f"secret-{secrets.token_hex(4)}"


async def test_a_secret_comes_back_with_all_its_properties(vault: SecretClient, name: str) -> None:
    expires = datetime(2030, 1, 2, tzinfo=UTC)
    made = await vault.set_secret(
        name, "s3cret", tags={"server": "pg-1"}, content_type="text/plain", expires_on=expires
    )
    found = await vault.get_secret(name)
    assert found.value == "s3cret"
    assert (found.properties.tags, found.properties.content_type) == ({"server": "pg-1"}, "text/plain")
    assert found.properties.expires_on == expires
    assert found.properties.enabled
    assert found.properties.version == made.properties.version
    assert found.properties.vault_url == vault.vault_url
    assert found.properties.recovery_level == "Recoverable+Purgeable"


async def test_setting_again_adds_a_version_and_keeps_the_old_one(vault: SecretClient, name: str) -> None:
    first = await vault.set_secret(name, "one")
    second = await vault.set_secret(name, "two")
    assert (await vault.get_secret(name)).value == "two"
    assert (await vault.get_secret(name, first.properties.version)).value == "one"
    versions = [p.version async for p in vault.list_properties_of_secret_versions(name)]
    assert versions == [first.properties.version, second.properties.version]


async def test_properties_change_without_the_value(vault: SecretClient, name: str) -> None:
    made = await vault.set_secret(name, "kept", tags={"a": "1"})
    await vault.update_secret_properties(name, made.properties.version, content_type="text/x")
    await vault.update_secret_properties(name, tags={"b": "2"})
    found = await vault.get_secret(name)
    assert (found.value, found.properties.tags, found.properties.content_type) == ("kept", {"b": "2"}, "text/x")


async def test_a_disabled_secret_is_not_given_out(vault: SecretClient, name: str) -> None:
    await vault.set_secret(name, "hidden", enabled=False)
    with pytest.raises(HttpResponseError, match="not allowed on a disabled secret") as refused:
        await vault.get_secret(name)
    assert refused.value.status_code == 403


async def test_a_deleted_secret_keeps_its_name_until_it_is_purged(vault: SecretClient, name: str) -> None:
    await vault.set_secret(name, "old")
    deleted = await vault.delete_secret(name)
    assert deleted.deleted_date is not None
    with pytest.raises(ResourceNotFoundError):
        await vault.get_secret(name)
    with pytest.raises(ResourceExistsError, match="deleted but recoverable state"):
        await vault.set_secret(name, "new")
    assert name in [d.name async for d in vault.list_deleted_secrets()]
    assert name not in [p.name async for p in vault.list_properties_of_secrets()]
    await vault.purge_deleted_secret(name)
    with pytest.raises(ResourceNotFoundError):
        await vault.get_deleted_secret(name)
    assert (await vault.set_secret(name, "new")).value == "new"


async def test_a_deleted_secret_can_be_recovered(vault: SecretClient, name: str) -> None:
    await vault.set_secret(name, "kept")
    await vault.delete_secret(name)
    await vault.recover_deleted_secret(name)
    assert (await vault.get_secret(name)).value == "kept"


async def test_names_ignore_letter_case(vault: SecretClient, name: str) -> None:
    await vault.set_secret(name, "one")
    assert (await vault.get_secret(name.upper())).value == "one"


async def test_lists_come_in_pages(vault: SecretClient) -> None:
    prefix = f"page-{secrets.token_hex(4)}"
    for number in range(60):
        await vault.set_secret(f"{prefix}-{number:02}", "x")
    pages = [[p.name async for p in page] async for page in vault.list_properties_of_secrets().by_page()]
    assert len(pages) > 2
    assert all(len(page) <= 25 for page in pages)
    assert [n for page in pages for n in page if n.startswith(prefix)] == [f"{prefix}-{n:02}" for n in range(60)]


@pytest.mark.parametrize("bad", ["under_score", "a.b", "x" * 128, "münchen"])
async def test_a_bad_name_is_refused(vault: SecretClient, bad: str) -> None:
    with pytest.raises(HttpResponseError, match=f"invalid name: {bad}") as refused:
        await vault.set_secret(bad, "x")
    assert refused.value.status_code == 400


async def test_what_is_too_large_is_refused(vault: SecretClient, name: str) -> None:
    with pytest.raises(HttpResponseError, match="longer than 25600 bytes"):
        await vault.set_secret(name, "x" * 25_601)
    with pytest.raises(HttpResponseError, match="at most 15 tags"):
        await vault.set_secret(name, "x", tags={str(n): "" for n in range(16)})
    with pytest.raises(ResourceNotFoundError):
        await vault.get_secret(name)


async def test_an_unknown_secret_is_named(vault: SecretClient, name: str) -> None:
    for asked in (vault.get_secret(name), vault.delete_secret(name), vault.get_secret(name, "0" * 32)):
        with pytest.raises(ResourceNotFoundError, match=f"{name}.* was not found in this key vault"):
            await asked


async def test_what_nobody_here_needs_is_not_pretended(vault: SecretClient, name: str) -> None:
    await vault.set_secret(name, "x")
    with pytest.raises(HttpResponseError, match=f"does not implement POST /secrets/{name}/backup") as refused:
        await vault.backup_secret(name)
    assert refused.value.status_code == 501


async def test_a_token_for_another_service_is_refused(stack: Stack, vault: SecretClient, name: str) -> None:
    class Wrong(ManagedIdentityCredential):
        async def get_token_info(self, *_: str, **__: object) -> AccessTokenInfo:
            return await super().get_token_info("https://management.azure.com/.default")

    trust = str(stack.topology.authority)
    async with Wrong() as credential, SecretClient(vault.vault_url, credential, connection_verify=trust) as client:
        with pytest.raises(HttpResponseError) as refused:
            await client.get_secret(name)
    assert refused.value.status_code == 401


async def test_an_ordered_fault_is_retried_by_the_client(stack: Stack, vault: SecretClient, name: str) -> None:
    stack.control("keyvault", "DELETE", "calls")
    stack.control("keyvault", "POST", "faults", {"operation": "SetSecret", "status": 503, "times": 2})
    assert (await vault.set_secret(name, "x")).value == "x"
    calls = stack.control("keyvault", "GET", "calls")
    assert isinstance(calls, list)
    assert [call["status"] for call in calls if call["operation"] == "SetSecret" and call["caller"]] == [503, 503, 200]


async def test_no_value_is_in_the_log(stack: Stack, vault: SecretClient, name: str) -> None:
    value = secrets.token_urlsafe(32)
    await vault.set_secret(name, value)
    await vault.get_secret(name)
    log = stack.topology.log("keyvault").read_text()
    assert f"/secrets/{name}" in log
    assert value not in log
