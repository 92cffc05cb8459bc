"""A Fabric stand-in in a stack of its own, and how the tests speak to it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import requests
from azure.core.credentials import AccessToken
from microsoft_fabric_api import FabricClient

from local.cloud import tokens
from local.topology import Topology

API = "https://api.fabric.microsoft.com/v1"


class Credential:
    """Tokens of one principal of the stack, for whatever audience is asked."""

    def __init__(self, topology: Topology, principal: str):
        self.topology, self.principal = topology, topology.principals[principal]

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken(*tokens.mint(self.topology, self.principal, scopes[0].removesuffix("/.default")))


class Caller:
    """One principal, with the official client (`client`) and with plain requests."""

    def __init__(self, topology: Topology, principal: str):
        self.topology = topology
        self.object_id = topology.principals[principal].object_id
        credential = Credential(topology, principal)
        self.client = FabricClient(credential)
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {credential.get_token(tokens.FABRIC).token}"

    def call(self, method: str, path: str, body: Any = None, **query: str) -> requests.Response:
        return self.session.request(method, API + path, json=body, params=query, timeout=30)


class Control:
    """What tests may order of the stand-in, through the front door as everybody does."""

    def __init__(self, topology: Topology):
        self.topology = topology

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        url = f"http://127.0.0.1:{self.topology.ports['front_door']}/control/fabric/{path}"
        headers = {"x-control-key": self.topology.control_key}
        response = requests.request(method, url, json=body, headers=headers, timeout=30)
        assert response.ok, response.text
        return response.json()


def connection_body(name: str, server: str, database: str, user: str, password: str, **details: Any) -> dict[str, Any]:
    return {
        "connectivityType": "ShareableCloud",
        "displayName": name,
        "connectionDetails": {
            "type": "AzurePostgreSQL",
            "creationMethod": "AzurePostgreSQL",
            "parameters": [
                {"dataType": "Text", "name": "server", "value": server},
                {"dataType": "Text", "name": "database", "value": database},
            ],
        },
        "privacyLevel": "Organizational",
        "credentialDetails": {
            "singleSignOnType": "None",
            "connectionEncryption": "Encrypted",
            "skipTestConnection": False,
            "credentials": {"credentialType": "Basic", "username": user, "password": password},
        }
        | details,
    }


def definition(connection: str, database: str, tables: list[tuple[str, str]] | None = None, **target: Any) -> Any:
    """The definition of a mirrored database; without `tables`, of all its tables."""
    properties: dict[str, Any] = {
        "source": {"type": "AzurePostgreSql", "typeProperties": {"connection": connection, "database": database}},
        "target": {
            "type": "MountedRelationalDatabase",
            "typeProperties": {"defaultSchema": "public", "format": "Delta"} | target,
        },
    }
    if tables is not None:
        properties["mountedTables"] = [
            {"source": {"typeProperties": {"schemaName": schema, "tableName": name}}} for schema, name in tables
        ]
    payload = base64.b64encode(json.dumps({"properties": properties}).encode()).decode()
    return {"parts": [{"path": "mirroring.json", "payload": payload, "payloadType": "InlineBase64"}]}


def eventually[T](look: Callable[[], T], wanted: Callable[[T], bool], seconds: float = 15.0) -> T:
    """What `look` sees once it is as wanted; fails with the last sight otherwise."""
    end = time.monotonic() + seconds
    while True:
        seen = look()
        if wanted(seen):
            return seen
        assert time.monotonic() < end, f"still {seen} after {seconds:g} s"
        time.sleep(0.05)
