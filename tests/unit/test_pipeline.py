"""What the app makes of tokens that are refused or missing, and of answers that are no JSON: for every service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from shared.desired.changes import Restart
from shared.platform import clients, identity, secrets
from shared.platform.errors import NotAllowed, Unavailable
from shared.platform.identity import NoToken
from shared.platform.table import View
from shared.records.rows import ServerRow
from shared.source import server
from shared.source.parameter_list import parameters
from tests.unit.facts import SERVER
from tests.unit.wire import HTML, JSON, Says, Wired, wired

__all__ = ["wired"]

TABLE_JSON = {"Content-Type": "application/json;odata=minimalmetadata"}


async def read_table() -> object:
    return [row async for row in View("Servers", ServerRow).query()]


READS: dict[str, Callable[[], Awaitable[object]]] = {
    "Azure Resource Manager": lambda: parameters(SERVER),
    "Key Vault": lambda: secrets.read("s"),
    "Table Storage": read_table,
}
EMPTY = {
    "Azure Resource Manager": Says(200, b'{"value": []}'),
    "Key Vault": Says(200, b'{"value": "v", "id": "https://v.vault.azure.net/secrets/s/1", "attributes": {}}'),
    "Table Storage": Says(200, b'{"value": []}', TABLE_JSON),
}
SERVICES = list(READS)


def error(status: int, code: str, headers: dict[str, str] = JSON) -> Says:
    return Says(status, b'{"error": {"code": "%s", "message": "Why."}}' % code.encode(), headers)


@pytest.fixture(autouse=True)
def tables_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class All:
        def __contains__(self, _: object) -> bool:
            return True

    monkeypatch.setattr("shared.platform.table._created", All())


@pytest.mark.parametrize("service", SERVICES)
async def test_a_token_that_is_refused_is_replaced_by_a_new_one(wired: Wired, service: str) -> None:
    wire = wired(error(401, "ExpiredAuthenticationToken"), EMPTY[service])
    await READS[service]()
    assert wire.tokens == ["Bearer t1", "Bearer t2"]


@pytest.mark.parametrize("service", SERVICES)
async def test_a_new_token_that_is_refused_too_is_no_missing_role(wired: Wired, service: str) -> None:
    wire = wired(error(401, "InvalidAuthenticationToken"))
    with pytest.raises(Unavailable, match=f"{service} refused the app's token, and a new one") as refused:
        await READS[service]()
    assert refused.value.code == "TokenRefused"
    assert "role" not in refused.value.remedy
    assert len(wire.sent) == 2


@pytest.mark.parametrize("service", SERVICES)
async def test_a_missing_token_is_not_a_missing_role(
    wired: Wired, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    async def none(*_: str, **__: Any) -> object:
        raise NoToken("no endpoint")

    wire = wired(EMPTY[service])
    monkeypatch.setattr(clients.credential(), "get_token_info", none)
    with pytest.raises(Unavailable, match=f"got no token for {service}: no endpoint") as missing:
        await READS[service]()
    assert missing.value.code == "TokenMissing"
    assert "AZURE_CLIENT_ID" in missing.value.remedy
    assert wire.sent == []


@pytest.mark.parametrize("service", SERVICES)
async def test_a_403_is_a_missing_role(wired: Wired, service: str) -> None:
    wired(error(403, "AuthorizationFailed"))
    with pytest.raises(NotAllowed) as refused:
        await READS[service]()
    assert "role" in refused.value.remedy


GARBLED = {
    "truncated": Says(200, b'{"value": [{"id"'),
    "null": Says(200, b"null"),
    "a list": Says(200, b"[]"),
    "nothing": Says(200),
    "not UTF-8": Says(200, b'{"value": "\xe9'),
    "HTML": Says(200, b"<html><title>Sign in</title>", HTML),
    "HTML that says it is JSON": Says(200, b"<html>"),
    "a 404 of a gateway": Says(404, b"<html>", HTML),
    "a 403 of a gateway": Says(403, b"<html>", HTML),
}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("what", GARBLED)
async def test_what_is_no_json_is_an_error_of_the_service(wired: Wired, service: str, what: str) -> None:
    wire = wired(GARBLED[what])
    with pytest.raises(Unavailable, match=f"{service} gave an answer that the app can't read") as garbled:
        await READS[service]()
    assert f"HTTP {GARBLED[what].status}" in garbled.value.message
    assert garbled.value.remedy
    assert len(wire.sent) > 1, "what may be repeated is repeated"
    wired(GARBLED[what], EMPTY[service])
    await READS[service]()


async def test_a_change_that_is_answered_with_no_json_is_not_sent_twice(wired: Wired) -> None:
    wire = wired(Says(202, b"<html>", HTML))
    with pytest.raises(Unavailable, match="Restarting server 'pg-shop': Azure Resource Manager gave an answer"):
        await server.begin(SERVER, Restart())
    assert [method for method, *_ in wire.sent] == ["POST"]


async def test_a_change_that_is_refused_for_its_token_is_sent_a_second_time_alone(wired: Wired) -> None:
    wire = wired(error(401, "ExpiredAuthenticationToken"), error(503, "ServiceUnavailable"))
    with pytest.raises(Unavailable, match="ServiceUnavailable"):
        await server.begin(SERVER, Restart())
    assert [method for method, *_ in wire.sent] == ["POST", "POST"]


@pytest.mark.parametrize(
    "answer",
    [Says(500), Says(400, b'{"message": "no"}'), Says(200, b"null"), Says(200, b"<html>", HTML), Says(200, b"{}")],
)
async def test_an_endpoint_without_tokens(wired: Wired, monkeypatch: pytest.MonkeyPatch, answer: Says) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://localhost/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "h")
    wired(answer)
    mine = identity.ManagedIdentity("c")
    for ask in (mine.get_token, mine.get_token_info):
        with pytest.raises(NoToken) as none:
            await ask("https://vault.azure.net/.default")
        assert isinstance(none.value.__cause__, Exception)


async def test_a_token_is_kept_until_it_is_renewed(wired: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://localhost/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "h")
    body = {"access_token": "t", "expires_on": "4102444800", "resource": "https://vault.azure.net", "token_type": "B"}
    wire = wired(Says(200, msgspec.json.encode(body)))
    mine = identity.ManagedIdentity("c")
    for _ in range(2):
        assert (await mine.get_token("https://vault.azure.net/.default")).token == "t"
    assert len(wire.sent) == 1
    mine.renew()
    await mine.get_token("https://vault.azure.net/.default")
    assert len(wire.sent) == 2
    await mine.close()
