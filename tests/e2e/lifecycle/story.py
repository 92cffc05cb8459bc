"""What the stories of servers' lives have in common: making a server, waiting for what the app makes of a change, and
looking at what is there."""

from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
import requests
from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import TableClient
from azure.keyvault.secrets import SecretClient
from azure.mgmt.postgresqlflexibleservers import models
from psycopg.rows import dict_row

from local.application import Application, Database
from local.cloud import tokens
from local.scenario import ADMINISTRATOR, ENDED, Operator, Server, eventually
from local.topology import APP
from tests import catalogue, real_parts

type Story = Callable[[Operator], None]
type Seen = dict[str, Any]


class Shared:
    """A server that several stories share, since it takes long to prepare. The first story prepares it. They are told
    one after the other, each under its own name."""

    def __init__(self, make: Callable[[Operator], tuple[Any, ...]]):
        self._make = functools.cache(make)
        self._turn = threading.Lock()

    def story(self, claim: Callable[..., None]) -> Story:
        """`claim` as a story; it is called with the operator, and with the server and whatever else `make` gave."""

        @functools.wraps(claim)
        def tell(operator: Operator) -> None:
            with self._turn:
                server, *others = self._make(operator)
                eventually(lambda: operator.mailbox(server), lambda box: not box["running"], SECONDS)
                claim(operator, server, *others)

        return tell


WORKSPACES = tuple(str(uuid.UUID(int=0xA1 + number)) for number in range(3))
WORKSPACE, OTHER_WORKSPACE, PAUSED_WORKSPACE = WORKSPACES
"""Each is on a capacity of its own. Only the last one's is ever paused."""
CONNECTION_GROUP = str(uuid.UUID(int=0xC0))
"""Sees the Fabric connections of all servers."""
FABRIC = "https://api.fabric.microsoft.com/v1"
ROLE = "fabric_user"
MAINTENANCE_DATABASE = "postgres"
SECONDS = 240


def new_server(operator: Operator, name: str, version: int, *databases: str, **properties: Any) -> Server:
    """A server that the app has looked at once already, because it was made. The stack is shared: so is the name."""
    assert name not in {found["name"] for found in operator.control("arm", "servers")}
    server = operator.create_server(name, version, *databases, **properties)
    eventually(lambda: operator.mailbox(server), lambda box: box["runs"] and not box["running"], SECONDS)
    return server


def with_shop(operator: Operator, name: str, version: int, **properties: Any) -> tuple[Server, Application]:
    """Such a server with an application in its database `shop`."""
    server = new_server(operator, name, version, "shop", **properties)
    application = operator.install(server, "shop")
    real_parts.used("PostgreSQL", application.server_version())
    return server, application


def put(operator: Operator, server: Server, body: Any = None) -> None:
    answer = operator.call("PUT", operator.door(server), body)
    assert answer.status == 202, answer


def delete(operator: Operator, server: Server) -> None:
    answer = operator.call("DELETE", operator.door(server))
    assert answer.status == 202, answer


def after(operator: Operator, server: Server, change: Callable[[], object]) -> Seen:
    """What the app tells of a server when the run that `change` leads to, and any after it, has ended."""
    runs = operator.mailbox(server)["runs"]
    change()
    eventually(lambda: operator.mailbox(server), lambda box: box["runs"] > runs and not box["running"], SECONDS)
    seen = operator.mirroring(server)
    assert not seen or seen["phase"] in (*ENDED, "Deleted"), seen
    return seen


def mirrored(operator: Operator, server: Server, body: Any = None) -> Seen:
    """Have the server mirrored; what the app tells then."""
    seen = after(operator, server, lambda: put(operator, server, body))
    assert seen["phase"] == "Mirrored", seen["reasons"]
    assert seen["reasons"] == []
    return seen


def waiting(operator: Operator, server: Server) -> Seen:
    """What the app tells when a run waits for its restart."""
    return eventually(
        lambda: operator.mirroring(server),
        lambda seen: seen.get("phase") == "Waiting" and (seen["progress"] or {}).get("waiting_for"),
        SECONDS,
    )


def decide(operator: Operator, server: Server, restart: bool) -> None:
    answer = operator.call("POST", operator.door(server, "mirroring/restart-decision"), {"restart": restart})
    assert answer.status == 202, answer


def page(operator: Operator) -> str:
    """The dashboard, which has to be there whatever the servers go through."""
    answer = operator.call("GET", "/api/dashboard")
    assert answer.status == 200, answer.body
    return str(answer.body)


def codes(seen: Seen) -> list[str]:
    return [reason["code"] for reason in seen["reasons"]]


def parameter(operator: Operator, server: Server, name: str) -> models.ConfigurationProperties:
    found = operator.management.configurations.get(operator.topology.resource_group, server.name, name).properties
    assert found is not None
    return found


def admit_the_app(operator: Operator, server: Server) -> None:
    """Make the app's identity an administrator, as it does itself where nobody did it before."""
    app = operator.topology.principals[APP]
    operator.management.administrators_microsoft_entra.begin_create_or_update(
        operator.topology.resource_group,
        server.name,
        app.object_id,
        models.AdministratorMicrosoftEntraAdd(
            properties=models.AdministratorMicrosoftEntraPropertiesForAdd(
                principal_type="ServicePrincipal", principal_name=app.name, tenant_id=operator.topology.tenant
            )
        ),
    ).result()


def query(
    operator: Operator, server: Server, statement: LiteralString, *values: object, database: str = "shop"
) -> list[dict[str, Any]]:
    """What a statement of the server's administrator gives."""
    where = Database(server.address, database, operator.topology.authority)
    with where.connect(ADMINISTRATOR, server.password) as connection:
        connection.row_factory = dict_row
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def dump(operator: Operator, server: Server, databases: Iterable[str] = ("shop",)) -> dict[str, set[str]]:
    """All that the databases say about roles, owners and privileges."""
    asked: LiteralString = "SELECT current_setting('server_version_num')::int / 10000 AS major"
    [version] = query(operator, server, asked, database=MAINTENANCE_DATABASE)

    def of(database: str) -> set[str]:
        return catalogue.dump(lambda asked: query(operator, server, asked, database=database), version["major"])

    return {database: of(database) for database in databases}


def owners(operator: Operator, server: Server, database: str = "shop") -> dict[str, str]:
    """Who owns which table of schema `sales`."""
    rows = query(operator, server, "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'sales'",
                 database=database)  # fmt: skip
    return {row["tablename"]: row["tableowner"] for row in rows}


def slots(operator: Operator, server: Server) -> dict[str, bool]:
    """The replication slots of the server by database, and whether each is active."""
    rows = query(
        operator, server, "SELECT database::text, active FROM pg_replication_slots", database=MAINTENANCE_DATABASE
    )
    return {row["database"]: row["active"] for row in rows}


def fabric(operator: Operator, method: str, path: str) -> Any:
    """Ask Fabric as the app, which alone sees its connections; None for what is not there."""
    token, _ = tokens.mint(operator.topology, operator.topology.principals[APP], tokens.FABRIC)
    answer = requests.request(method, FABRIC + path, headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert answer.ok or answer.status_code == 404, answer.text
    return answer.json() if answer.ok and answer.content else None


def calls(operator: Operator, server: Server, part: str, *operations: str) -> list[str]:
    """Those of the operations that the app has asked of ARM for a server, in order."""
    app = operator.topology.principals[APP].object_id
    return [
        call["operation"]
        for call in operator.control(part, "calls")
        if call["caller"] == app and call["operation"] in operations and f"/{server.name}" in call["path"]
    ]


def row(operator: Operator, table: str, server: Server) -> dict[str, Any] | None:
    """The server's row in Servers, or its first one in Mirrors."""
    column = {"Servers": "id", "Mirrors": "server"}[table]
    return next((found for found in operator.rows(table) if found[column].lower() == server.id.lower()), None)


def lose_record(operator: Operator, server: Server) -> None:
    """The app's rows about a server and its mirrors are gone."""
    for table, column in (("Servers", "id"), ("Mirrors", "server")):
        with TableClient(operator.topology.table_endpoint, table, credential=operator.credential) as client:
            for found in list(client.list_entities()):
                if found[column].lower() == server.id.lower():
                    client.delete_entity(found)


def password(operator: Operator, secret: str) -> str | None:
    with SecretClient(operator.topology.vault_url, operator.credential) as vault:
        try:
            return vault.get_secret(secret).value
        except ResourceNotFoundError:
            return None


def opens(operator: Operator, server: Server, password: str) -> bool:
    """Whether the fabric role logs in with this password."""
    where = Database(server.address, "shop", operator.topology.authority)
    try:
        where.connect(ROLE, password).close()
    except psycopg.OperationalError:
        return False
    return True


def nothing_of_ours_is_left(operator: Operator, server: Server, database: str = "shop") -> None:
    """The server is released: no slot, publication, role, connection, row or secret."""
    assert slots(operator, server) == {}
    assert query(operator, server, "SELECT 1 FROM pg_publication", database=database) == []
    assert query(operator, server, "SELECT 1 FROM pg_roles WHERE rolname = %s", ROLE, database=database) == []
    assert row(operator, "Mirrors", server) is None
    assert not any(server.name in found["displayName"] for found in fabric(operator, "GET", "/connections")["value"])


def now() -> datetime:
    return datetime.now(UTC)
