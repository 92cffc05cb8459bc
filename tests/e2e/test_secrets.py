"""The password that Fabric logs in with is in Key Vault and in PostgreSQL, and nowhere else."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from azure.data.tables import TableServiceClient
from azure.keyvault.secrets import SecretClient

from local.application import Database
from local.scenario import Operator
from tests.e2e.conftest import Prepared

ROLE = "fabric_user"


@pytest.fixture
def password(operator: Operator, prepared: Prepared) -> str:
    """The fabric role's password on the prepared server, as Key Vault has it: it is proved to log in."""
    [name] = {row["secret"] for row in operator.rows("Mirrors") if prepared.server.name in row["PartitionKey"]}
    with SecretClient(operator.topology.vault_url, operator.credential) as vault:
        value = vault.get_secret(name).value
    assert value
    where = Database(prepared.server.address, "shop", operator.topology.authority)
    where.connect(ROLE, value).close()
    return value


def test_no_password_anywhere_but_key_vault_and_postgresql(operator: Operator, password: str) -> None:
    operator.sweep()
    forms = {password, quote(password, safe=""), base64.b64encode(password.encode()).decode(), password[:16]}
    places = dict(everything(operator))
    assert [place for place, text in places.items() for form in forms if form in text] == []
    searched = {place.partition(" ")[0] for place in places}
    assert searched == {"history", "entity", "table", "file", "events", "answer", "calls"}
    for kind in searched:  # and it was the real content that was searched
        assert any("pg-prepared" in text for place, text in places.items() if place.startswith(kind)), kind


def everything(operator: Operator) -> Iterator[tuple[str, str]]:
    """Every place that something may have been written to, and what is there."""
    for instance in pages(operator, "instances", "top=100&showInput=true"):
        asked = "showHistory=true&showHistoryOutput=true&showInput=true"
        seen = operator.durable(f"instances/{quote(instance['instanceId'], safe='')}?{asked}").body
        assert seen["historyEvents"], instance
        yield f"history {instance['instanceId']}", plain([instance, seen])
    for entity in pages(operator, "entities/server_mailbox", "top=100&fetchState=true"):
        yield f"entity {entity['entityId']}", plain(entity)
    with TableServiceClient(operator.topology.table_endpoint, credential=operator.credential) as service:
        for table in service.list_tables():
            yield f"table {table.name}", plain(operator.rows(table.name))
    for file in sorted(operator.topology.path.rglob("*")):
        if file.is_file():
            yield f"file {file.relative_to(operator.topology.path)}", file.read_bytes().decode("utf-8", "replace")
    for what in ("events", "deliveries", "dead-letters"):
        yield f"events {what}", plain(operator.control("eventgrid", what))
    for part in ("arm", "fabric", "keyvault", "identity"):
        yield f"calls {part}", plain(operator.control(part, "calls"))
    for path in answers(operator):
        answer = operator.call("GET", path)
        assert answer.status == 200, answer
        yield f"answer {path}", plain([answer.body, dict(answer.headers)])


def answers(operator: Operator) -> Iterator[str]:
    """The app's doors that tell something of the prepared server."""
    yield operator.door("pg-prepared")
    yield operator.door("pg-prepared", "readiness")
    yield "/api/mirrors"
    for row in operator.rows("MirrorHealth"):
        yield f"/api/mirrors/{row['PartitionKey']}/{row['RowKey']}"


def pages(operator: Operator, path: str, query: str) -> Iterator[dict[str, Any]]:
    """All items of a paged list of the durable management API."""
    token = ""
    while True:
        answer = operator.durable(f"{path}?{query}", **({"x-ms-continuation-token": token} if token else {}))
        assert answer.status == 200, answer
        yield from answer.body
        token = answer.headers.get("x-ms-continuation-token", "")
        if not token:
            return


def plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
