"""Azure Resource Manager's stand-in, asked by hand: for what the SDK can't say, and to make servers quickly."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from typing import Any

from local.cloud import tokens
from local.stack import Stack
from tests import real_parts

PASSWORD = "Correct-horse-7"
ADMINISTRATOR = "pgadmin"


def server_path(stack: Stack, name: str) -> str:
    topology = stack.topology
    group = f"/subscriptions/{topology.subscription}/resourceGroups/{topology.resource_group}"
    return f"{group}/providers/Microsoft.DBforPostgreSQL/flexibleServers/{name}"


def ask(
    stack: Stack, method: str, path: str, body: object = None, *, principal: str = "operator",
    audience: str = tokens.ARM, query: str = "api-version=2026-10-01",
) -> tuple[int, dict[str, str], Any]:  # fmt: skip
    """Status, headers and JSON of one call with a token of `principal`; no token for an empty `principal`."""
    url = path if path.startswith("https:") else f"{stack.topology.address('arm')}{path}?{query}"
    request = urllib.request.Request(url, json.dumps(body).encode() if body is not None else None, method=method)
    if principal:
        token, _ = tokens.mint(stack.topology, stack.topology.principals[principal], audience)
        request.add_header("Authorization", f"Bearer {token}")
    trust = ssl.create_default_context(cafile=str(stack.topology.authority))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), json.loads(answer.read() or "null")
    except urllib.error.HTTPError as refused:
        return refused.code, dict(refused.headers), json.loads(refused.read() or "null")


def change(stack: Stack, method: str, path: str, body: object = None, **how: str) -> dict[str, Any]:
    """Make a long-running call and wait for its end; the last state of the operation."""
    status, headers, answer = ask(stack, method, path, body, **how)
    assert status == 202, answer
    while True:
        _, _, operation = ask(stack, "GET", headers["Azure-AsyncOperation"])
        if operation["status"] != "InProgress":
            return operation
        time.sleep(0.02)


def create_server(stack: Stack, name: str, version: str = "18", **extra: Any) -> dict[str, Any]:
    """A new server, ready; `extra` are properties of its document, or `sku`, `identity`, `tags`."""
    top = {key: extra.pop(key) for key in ("sku", "identity", "tags") if key in extra}
    properties = {
        "version": version,
        "administratorLogin": ADMINISTRATOR,
        "administratorLoginPassword": PASSWORD,
        "authConfig": {"activeDirectoryAuth": "Enabled", "passwordAuth": "Enabled"},
    }
    body = {"location": stack.topology.location, "properties": properties | extra} | top
    operation = change(stack, "PUT", server_path(stack, name), body)
    assert operation["status"] == "Succeeded", operation
    real_parts.used("PostgreSQL", version)
    _, _, document = ask(stack, "GET", server_path(stack, name))
    return document
