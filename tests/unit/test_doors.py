"""What every HTTP door does with a request that it can't read, before anything behind it is asked."""

from __future__ import annotations

import html
import json
from typing import Any

import azure.functions as func
import pytest

from functions import api_document, bodies
from tests.unit.http_doors import doors

GUID = "00000000-0000-0000-0000-0000000000a1"
PLACE = {"subscription": GUID, "resource_group": "rg", "server": "pg-shop", "workspace": GUID, "mirror": GUID}


DOORS = [pytest.param(function, method, path, id=f"{method} {path}") for method, path, function in doors()]


CLIENT = '{"rpcBaseUrl": "http://127.0.0.1:1"}'
"""What the binding gives of a Durable extension that nobody asks."""


async def ask(function: Any, method: str, body: bytes = b"", **query: str) -> tuple[int, str, str]:
    """The status of the answer, its text, and the code where it has one."""
    request = func.HttpRequest(
        method=method, url="https://app/api/dashboard", params=query, route_params=PLACE, body=body
    )
    needs_client = any(binding.type == "durableClient" for binding in function.get_bindings())
    answer = await function.get_user_function()(request, **({"client": CLIENT} if needs_client else {}))
    text = answer.get_body().decode()
    is_page = answer.mimetype == "text/html"
    return answer.status_code, html.unescape(text), "" if is_page else json.loads(text)["code"]


def known(method: str, path: str) -> list[str]:
    """The parameters that the API's document gives the door."""
    operation = api_document.document("https://app/api")["paths"][path][method.lower()]  # type: ignore[index]
    return sorted(parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query")


@pytest.mark.parametrize(("function", "method", "path"), DOORS)
async def test_an_unknown_parameter_is_refused_with_the_known_ones(function: Any, method: str, path: str) -> None:
    status, text, code = await ask(function, method, code="key", serach="shop", **{"x" * 5000: "1"})
    assert (status, code) in ((400, "InvalidQuery"), (400, ""))
    assert "unknown parameters: 'serach', 'xxx" in text
    names = known(method, path)
    assert (f"known are {', '.join(names)}." if names else "this address takes none.") in text
    assert len(text) < 30_000


@pytest.mark.parametrize(("function", "method", "path"), DOORS)
async def test_a_body_that_is_too_large_is_refused_before_it_is_read(function: Any, method: str, path: str) -> None:
    body = b"\xff" * (bodies.MOST_BYTES + 1)
    status, text, code = await ask(function, method, body)
    assert (status, code) in ((413, "BodyTooLarge"), (413, ""))
    assert "262,145 bytes; at most 262,144" in text
    operation = api_document.document("https://app/api")["paths"][path][method.lower()]  # type: ignore[index]
    assert {"400", "413"} <= set(operation["responses"])


def door(name: str) -> Any:
    return next(function for _, _, function in doors() if function.get_function_name() == name)


DEEP = b'{"restart":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
DEEP_VALUE = b'{"workspace":' + b"[" * 900 + b"]" * 900 + b"}"
UNREADABLE = [
    b'{"restart": "\xff"}',
    b"\xff\xfe{}",
    b"\x00",
    b"null",
    b"[]",
    b'"now"',
    DEEP,
    DEEP_VALUE,
    b'{"a":' * 9000,
]


@pytest.mark.parametrize("body", UNREADABLE, ids=lambda body: repr(body[:20]))
@pytest.mark.parametrize("name", ["put_mirroring", "post_restart_decision", "post_restart"])
async def test_a_body_that_cant_be_read_is_the_callers_fault(
    body: bytes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.facts import ENVIRONMENT

    for variable, value in ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    status, text, code = await ask(door(name), "PUT" if name.startswith("put") else "POST", body)
    assert (status, code) == (400, "ReseedNotConfirmed" if name == "post_restart" else "InvalidBody")
    assert len(text) < 2000


async def test_a_workspace_that_is_not_allowed_is_refused_at_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Azure is asked: there is none here."""
    from tests.unit.facts import ENVIRONMENT

    for variable, value in ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    body = b'{"workspace": "00000000-0000-0000-0000-00000000dead"}'
    status, text, code = await ask(door("put_mirroring"), "PUT", body)
    assert (status, code) == (403, "WorkspaceNotAllowed")
    assert "00000000dead" in text


async def test_a_continuation_that_is_too_deep_is_refused() -> None:
    import base64

    from shared.dashboard import query
    from shared.platform.errors import InvalidInput

    deep = base64.urlsafe_b64encode(b"[" * 60_000).decode().rstrip("=")
    with pytest.raises(InvalidInput, match="The parameter continuation is"):
        query.after([], lambda _: (), deep, 10)
