"""Connections of the Fabric stand-in: they really log in to PostgreSQL with what they were given."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from microsoft_fabric_api.generated.core import models
from psycopg import sql

from local.topology import SERVICE_PRINCIPAL, Topology
from tests.component.fabric.callers import Caller, Control, connection_body
from tests.component.fabric.source import PASSWORD, ROLE, Source
from tests.component.fabric.test_api import refused

FREE_ADDRESS = "127.0.0.249"


@pytest.fixture
def database(source: Source) -> str:
    return source.database("CREATE TABLE orders (id int PRIMARY KEY)")


def body(source: Source, database: str, **details: Any) -> dict[str, Any]:
    return connection_body(f"c-{uuid.uuid4()}", source.server.address, database, ROLE, PASSWORD, **details)


def test_types_are_discovered(app: Caller) -> None:
    types = {t.type: t for t in app.client.core.connections.list_supported_connection_types()}
    azure = types["AzurePostgreSQL"]
    assert [(p.name, p.data_type, p.required) for p in azure.creation_methods[0].parameters] == [
        ("server", "Text", True), ("database", "Text", True),
    ]  # fmt: skip
    assert "Basic" in azure.supported_credential_types
    assert [m.name for m in types["PostgreSQL"].creation_methods] == ["PostgreSQL"]
    every = app.client.core.connections.list_supported_connection_types(show_all_creation_methods=True)
    methods = next(t for t in every if t.type == "PostgreSQL").creation_methods
    assert [m.name for m in methods] == ["PostgreSQL", "PostgreSQL.Database"]


def test_connection_with_official_client(app: Caller, source: Source, database: str) -> None:
    connections = app.client.core.connections
    parameters = [
        models.ConnectionDetailsTextParameter(name="server", value=source.server.address),
        models.ConnectionDetailsTextParameter(name="database", value=database),
    ]
    request = models.CreateCloudConnectionRequest(
        display_name=f"official-{database}",
        connection_details=models.CreateConnectionDetails(
            type="AzurePostgreSQL", creation_method="AzurePostgreSQL", parameters=parameters
        ),
        privacy_level="Organizational",
        credential_details=models.CreateCredentialDetails(
            credentials=models.BasicCredentials(username=ROLE, password=PASSWORD),
            single_sign_on_type="None", connection_encryption="Encrypted", skip_test_connection=False,
        ),
    )  # fmt: skip
    made = connections.create_connection(request)
    seen = connections.get_connection(made.id)
    assert seen.connection_details.path == f"{source.server.address};{database}"
    assert made.id in [c.id for c in connections.list_connections()]
    assert connections.test_connection(made.id).status == "Online"
    with pytest.raises(HttpResponseError) as twice:
        connections.create_connection(request)
    assert (twice.value.status_code, twice.value.response.json()["errorCode"]) == (409, "DuplicateConnectionName")
    connections.delete_connection(made.id)
    refused(app.call("GET", f"/connections/{made.id}"), 404, "EntityNotFound", made.id)


def test_nothing_is_told_about_a_password(app: Caller, source: Source, database: str, topology: Topology) -> None:
    made = app.call("POST", "/connections", body(source, database))
    assert made.status_code == 201
    assert PASSWORD not in made.text
    assert PASSWORD not in app.call("GET", "/connections").text
    wrong = body(source, database)
    wrong["credentialDetails"]["credentials"]["password"] = secret = "a wrong one, and secret"
    assert secret not in app.call("POST", "/connections", wrong).text
    logged = topology.log("fabric").read_text()
    assert PASSWORD not in logged
    assert secret not in logged


def test_wrong_password_is_refused(app: Caller, source: Source, database: str) -> None:
    wrong = body(source, database)
    wrong["credentialDetails"]["credentials"]["password"] = "wrong"
    refused(
        app.call("POST", "/connections", wrong), 400, "IncorrectCredentials", ROLE, "password authentication failed"
    )
    wrong["credentialDetails"]["skipTestConnection"] = True
    made = app.call("POST", "/connections", wrong).json()
    tested = app.call("POST", f"/connections/{made['id']}/testConnection").json()
    assert tested["status"] == "Offline"
    assert tested["errors"][0]["errorCode"] == "IncorrectCredentials"


def test_what_cannot_be_reached_is_refused(app: Caller, source: Source) -> None:
    missing = app.call("POST", "/connections", body(source, "no_such_database"))
    refused(missing, 400, "CreateGatewayConnectionFailed", "no_such_database", "does not exist")
    nobody = connection_body("nobody", FREE_ADDRESS, "shop", ROLE, PASSWORD)
    refused(app.call("POST", "/connections", nobody), 400, "CreateGatewayConnectionFailed", FREE_ADDRESS)


def test_encryption_is_taken_seriously(app: Caller, source: Source, database: str) -> None:
    plain = body(source, database, connectionEncryption="NotEncrypted")
    refused(app.call("POST", "/connections", plain), 400, "CreateGatewayConnectionFailed", "no encryption")


def test_credentials_are_updated_and_tested(app: Caller, source: Source, database: str) -> None:
    made = app.call("POST", "/connections", body(source, database)).json()
    path = f"/connections/{made['id']}"
    change = {
        "connectivityType": "ShareableCloud",
        "credentialDetails": {
            "connectionEncryption": "Encrypted",
            "credentials": {"credentialType": "Basic", "username": ROLE, "password": "not yet set"},
        },
    }
    refused(app.call("PATCH", path, change), 400, "IncorrectCredentials")
    assert app.call("POST", f"{path}/testConnection").json()["status"] == "Online"
    change["credentialDetails"]["credentials"]["password"] = PASSWORD  # type: ignore[index]
    renamed = app.call("PATCH", path, change | {"displayName": f"renamed-{database}"}).json()
    assert renamed["displayName"] == f"renamed-{database}"


def test_connection_belongs_to_its_creator_until_shared(
    app: Caller, operator: Caller, source: Source, database: str
) -> None:
    path = f"/connections/{app.call('POST', '/connections', body(source, database)).json()['id']}"
    refused(operator.call("GET", path), 404, "EntityNotFound")
    share = {"principal": {"id": operator.object_id, "type": "User"}, "role": "User"}
    assert app.call("POST", f"{path}/roleAssignments", share).status_code == 201
    assert operator.call("GET", path).status_code == 200
    refused(operator.call("DELETE", path), 403, "InsufficientPermissionsToManageConnection", "Owner")
    listed = app.call("GET", f"{path}/roleAssignments").json()["value"]
    assert {a["id"]: a["role"] for a in listed} == {app.object_id: "Owner", operator.object_id: "User"}
    assert app.call("PATCH", f"{path}/roleAssignments/{operator.object_id}", {"role": "Owner"}).status_code == 200
    assert operator.call("DELETE", path).status_code == 200


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        ({"type": "Oracle"}, "InvalidConnectionDetails", "Oracle"),
        ({"creationMethod": "PostgreSQL.Tables"}, "InvalidConnectionDetails", "PostgreSQL.Tables"),
        (
            {"parameters": [{"dataType": "Text", "name": "server", "value": "x"}]},
            "InvalidConnectionDetails",
            "database",
        ),
        ({"parameters": [{"name": "server"}]}, "InvalidInput", "parameters"),
    ],
)
def test_connection_details_are_checked(
    app: Caller, source: Source, change: dict[str, Any], code: str, word: str
) -> None:
    wrong = body(source, "shop")
    wrong["connectionDetails"] |= change
    refused(app.call("POST", "/connections", wrong), 400, code, word)


def test_credentials_are_checked(app: Caller, source: Source) -> None:
    wrong = body(source, "shop", credentials={"credentialType": "Basic", "username": ROLE})
    refused(app.call("POST", "/connections", wrong), 400, "InvalidCredentialDetails", "password")
    entra = body(source, "shop", credentials={"credentialType": "OAuth2"})
    refused(app.call("POST", "/connections", entra), 501, "NotImplemented", "OAuth2")
    entra = body(source, "shop", credentials={"credentialType": "ServicePrincipal"})
    refused(app.call("POST", "/connections", entra), 400, "InvalidCredentialDetails", "servicePrincipalSecret")
    entra["connectionDetails"] |= {"type": "PostgreSQL", "creationMethod": "PostgreSQL"}
    refused(app.call("POST", "/connections", entra), 400, "InvalidCredentialDetails", "['Basic']")


def test_a_service_principal_logs_in_by_its_name_with_its_secret(app: Caller, source: Source, database: str) -> None:
    topology, principal = source.topology, source.topology.principals[SERVICE_PRINCIPAL]
    given = {
        "credentialType": "ServicePrincipal", "tenantId": topology.tenant,
        "servicePrincipalClientId": principal.client_id, "servicePrincipalSecret": principal.header,
    }  # fmt: skip
    source.server.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(principal.name)))
    unmapped = body(source, database, credentials=given)
    refused(app.call("POST", "/connections", unmapped), 400, "IncorrectCredentials", principal.name, "authentication")
    source.map_to(principal)
    for wrong, why in (
        ({"servicePrincipalSecret": "x"}, "AADSTS7000215"),
        ({"servicePrincipalClientId": str(uuid.uuid4())}, "AADSTS700016"),
        ({"tenantId": str(uuid.uuid4())}, "AADSTS90002"),
    ):
        answer = app.call("POST", "/connections", body(source, database, credentials=given | wrong))
        refused(answer, 400, "IncorrectCredentials", why)
    made = app.call("POST", "/connections", body(source, database, credentials=given))
    assert made.json()["credentialDetails"]["credentialType"] == "ServicePrincipal"
    assert principal.header not in made.text
    assert app.call("POST", f"/connections/{made.json()['id']}/testConnection").json()["status"] == "Online"


def test_a_workspace_identity_is_not_tested_and_has_no_gateway(
    app: Caller, source: Source, database: str, control: Control
) -> None:
    identity = {"credentialType": "WorkspaceIdentity"}
    refused(
        app.call("POST", "/connections", body(source, database, credentials=identity)), 400,
        "InvalidCredentialDetails", "skipTestConnection",
    )  # fmt: skip
    untested = body(source, database, credentials=identity, skipTestConnection=True)
    gateway = control("POST", "gateways", {"displayName": "no-identity"})
    by_gateway = {"connectivityType": "VirtualNetworkGateway", "gatewayId": gateway["id"]}
    refused(app.call("POST", "/connections", untested | by_gateway), 400, "InvalidCredentialDetails", "gateway")
    made = app.call("POST", "/connections", untested).json()
    refused(app.call("POST", f"/connections/{made['id']}/testConnection"), 400, "InvalidInput", "can't be checked")


def test_connection_through_a_gateway(app: Caller, source: Source, database: str, control: Control) -> None:
    gateway = control("POST", "gateways", {"displayName": "gw"})
    assert gateway["id"] in [g.id for g in app.client.core.gateways.list_gateways()]
    assert app.client.core.gateways.get_gateway(gateway["id"]).type == "VirtualNetwork"
    assert app.call("GET", "/connections/supportedConnectionTypes", gatewayId=gateway["id"]).status_code == 200
    wanted = body(source, database) | {"connectivityType": "VirtualNetworkGateway"}
    refused(app.call("POST", "/connections", wanted), 400, "InvalidInput", "gatewayId")
    made = app.call("POST", "/connections", wanted | {"gatewayId": gateway["id"]}).json()
    assert (made["connectivityType"], made["gatewayId"]) == ("VirtualNetworkGateway", gateway["id"])
    unknown = app.call("POST", "/connections", wanted | {"gatewayId": str(uuid.uuid4()), "displayName": "x"})
    refused(unknown, 404, "EntityNotFound", "gateway")
