"""Fabric reaches a flexible server only as Azure lets it: firewall, public access, and the server's own identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from local.stack import Stack
from tests.component.azure_resource_manager import ADMINISTRATOR, PASSWORD, ask, change, create_server, server_path
from tests.component.fabric.callers import Caller, connection_body, definition, eventually

ROLE, ROLES_PASSWORD = "fabric_user", "a long password"
PARAMETERS = {"azure.extensions": "azure_cdc", "shared_preload_libraries": "azure_cdc", "wal_level": "logical"}


@pytest.fixture(scope="module")
def stack(stack_factory: Callable[..., Stack]) -> Stack:
    return stack_factory("front_door", "identity", "arm", "fabric", fresh=True)


@pytest.fixture
def app(stack: Stack, become: Callable[[Stack, str], None]) -> Caller:
    become(stack, "operator")
    stack.control("fabric", "PUT", "quota", {"calls": 100_000, "seconds": 60})
    stack.control("fabric", "PUT", "behaviour", {"initializingSeconds": 0})
    return Caller(stack.topology, "id-fabric-mirror")


def prepare(stack: Stack, name: str) -> str:
    """A server that is ready for mirroring but for its network and identity; its domain name."""
    address: str = create_server(stack, name)["properties"]["fullyQualifiedDomainName"]
    path = server_path(stack, name)
    for parameter, value in PARAMETERS.items():
        body = {"properties": {"value": value, "source": "user-override"}}
        assert change(stack, "PUT", f"{path}/configurations/{parameter}", body)["status"] == "Succeeded"
    assert change(stack, "POST", f"{path}/restart")["status"] == "Succeeded"
    with psycopg.connect(
        host=address, dbname="postgres", user=ADMINISTRATOR, password=PASSWORD, autocommit=True,
        sslmode="verify-full", sslrootcert=str(stack.topology.authority),
    ) as administrator:  # fmt: skip
        role = "CREATE ROLE fabric_user CREATEDB CREATEROLE LOGIN REPLICATION PASSWORD {}"
        administrator.execute(sql.SQL(role).format(sql.Literal(ROLES_PASSWORD)))
        administrator.execute("GRANT azure_cdc_admin TO fabric_user")
        administrator.execute("GRANT fabric_user TO CURRENT_USER")
        administrator.execute("CREATE DATABASE shop OWNER fabric_user")
    with psycopg.connect(
        host=address, dbname="shop", user=ROLE, password=ROLES_PASSWORD, autocommit=True,
        sslmode="verify-full", sslrootcert=str(stack.topology.authority),
    ) as owner:  # fmt: skip
        owner.execute("CREATE SCHEMA app CREATE TABLE orders (id int PRIMARY KEY)")
    return address


def allow_azure(stack: Stack, name: str) -> None:
    rule = {"properties": {"startIpAddress": "0.0.0.0", "endIpAddress": "0.0.0.0"}}
    path = f"{server_path(stack, name)}/firewallRules/AllowAllAzureServices"
    assert change(stack, "PUT", path, rule)["status"] == "Succeeded"


def test_from_a_closed_server_to_a_running_mirror(stack: Stack, app: Caller) -> None:
    address = prepare(stack, "pg-closed")
    body = connection_body("c", address, "shop", ROLE, ROLES_PASSWORD)
    refused = app.call("POST", "/connections", body)
    assert (refused.status_code, refused.json()["errorCode"]) == (400, "CreateGatewayConnectionFailed")
    assert "timed out" in refused.text
    allow_azure(stack, "pg-closed")
    connection = app.call("POST", "/connections", body).json()["id"]

    items = f"/workspaces/{stack.topology.workspace}/mirroredDatabases"
    new = {"displayName": "shop", "definition": definition(connection, "shop")}
    item = f"{items}/{app.call('POST', items, new).json()['id']}"

    def start(ends: str) -> dict[str, Any]:
        assert app.call("POST", f"{item}/startMirroring").status_code == 200
        return eventually(
            lambda: app.call("POST", f"{item}/getMirroringStatus").json(), lambda s: s["status"] == ends, 30
        )

    assert "identity is off" in str(start("Stopped")["error"]["moreDetails"])
    enable = {"identity": {"type": "SystemAssigned"}}
    assert change(stack, "PATCH", server_path(stack, "pg-closed"), enable)["status"] == "Succeeded"
    identity = ask(stack, "GET", server_path(stack, "pg-closed"))[2]["identity"]["principalId"]
    assert f"identity {identity} has no role" in str(start("Stopped")["error"]["moreDetails"])
    role = {"principal": {"id": identity, "type": "ServicePrincipal"}, "role": "Contributor"}
    added = app.call("POST", f"/workspaces/{stack.topology.workspace}/roleAssignments", role)
    assert added.status_code == 201
    assert "error" not in start("Running")


def test_private_server_needs_a_gateway(stack: Stack, app: Caller) -> None:
    created = create_server(stack, "pg-private", network={"publicNetworkAccess": "Disabled"})
    address = created["properties"]["fullyQualifiedDomainName"]
    body = connection_body("private", address, "postgres", ADMINISTRATOR, PASSWORD)
    assert app.call("POST", "/connections", body).json()["errorCode"] == "CreateGatewayConnectionFailed"
    gateway: Any = stack.control("fabric", "POST", "gateways", {"displayName": "gw"})
    through = body | {"connectivityType": "VirtualNetworkGateway", "gatewayId": gateway["id"]}
    assert app.call("POST", "/connections", through).status_code == 201


def test_unknown_server(app: Caller) -> None:
    body = connection_body("unknown", "127.0.0.248", "postgres", ADMINISTRATOR, PASSWORD)
    answer = app.call("POST", "/connections", body)
    assert answer.json()["errorCode"] == "CreateGatewayConnectionFailed"
    assert "no flexible server" in answer.text
