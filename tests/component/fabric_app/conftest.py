"""The app's Fabric side against the stand-in, with a real PostgreSQL 18 for the connections and mirrors."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import sql

from local import certificates
from local.postgres import PostgresServer
from local.stack import Stack
from local.topology import Topology
from shared.desired.server_id import ServerId
from shared.fabric import connection, mirror
from shared.fabric.credentials import Basic
from shared.fabric.definition import definition
from shared.platform import clients
from shared.platform.settings import settings
from shared.records import store
from shared.records.rows import MirrorRow
from shared.source.facts import Glance
from shared.source.refusals import not_found
from shared.steps import server_view
from tests.component.app import app_environment
from tests.component.fabric.callers import Caller, Control
from tests.component.fabric.source import ADMINISTRATOR, ADMINISTRATORS_PASSWORD, PASSWORD, ROLE, Source
from tests.real_parts import used, used_stack

PARTS = ["front_door", "identity", "azurite", "fabric"]


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    with Stack(tmp_path_factory.mktemp("fabric-app"), PARTS) as running:
        used_stack(PARTS)
        yield running.topology


@pytest.fixture(scope="package")
def source(stack: Topology, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    folder = tmp_path_factory.mktemp("source") / "18"
    server = PostgresServer.create(folder, "18", ADMINISTRATOR, ADMINISTRATORS_PASSWORD, certificates.load(stack.path))
    prepared = Source(server, stack)
    prepared.prepare()
    used("PostgreSQL", server.execute("SHOW server_version")[0]["server_version"])
    yield prepared
    server.drop()


@pytest.fixture(autouse=True)
async def app(stack: Topology, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """This process is the app, and the stand-in behaves and has a quota that nobody reaches."""
    app_environment(stack, monkeypatch, FABRIC_CALLS_PER_MINUTE="100000")
    yield
    await clients.close()
    settings.cache_clear()


@pytest.fixture(autouse=True)
def control(stack: Topology, app: None) -> Control:
    control = Control(stack)
    control("DELETE", "faults")
    control("PUT", "quota", {"calls": 1_000_000, "seconds": 60})
    control("PUT", "behaviour", {"initializingSeconds": 0, "operationSeconds": 0.1, "pageSize": 1, "longRunning": []})
    control("PUT", f"capacities/{stack.capacity}", {"state": "Active"})
    control("DELETE", "calls")
    return control


@pytest.fixture
def calls(control: Control) -> Callable[..., list[str]]:
    """`calls()`: the names of the operations that were called; `calls(writes=True)`: without those that only read."""

    def names(writes: bool = False) -> list[str]:
        made: list[dict[str, Any]] = control("GET", "calls")
        reading = ("Get", "List")
        return [c["operation"] for c in made if not writes or not c["operation"].partition("_")[2].startswith(reading)]

    return names


@pytest.fixture
def operator(stack: Topology) -> Caller:
    """A person: Admin of the workspace."""
    return Caller(stack, "operator")


@pytest.fixture
def myself(stack: Topology) -> Caller:
    """The app's identity, as somebody who works by hand with it."""
    return Caller(stack, "id-fabric-mirror")


@pytest.fixture
def workspace(operator: Caller, stack: Topology) -> str:
    """A workspace of its own, on the capacity, with the app as Member."""
    new = {"displayName": f"ws-{uuid.uuid4()}", "capacityId": stack.capacity}
    made: str = operator.call("POST", "/workspaces", new).json()["id"]
    principal = {"id": stack.principals["id-fabric-mirror"].object_id, "type": "ServicePrincipal"}
    operator.call("POST", f"/workspaces/{made}/roleAssignments", {"principal": principal, "role": "Member"})
    return made


@pytest.fixture
def server(stack: Topology) -> ServerId:
    return ServerId(stack.subscription, "rg-mirrors", f"pg-{uuid.uuid4().hex[:8]}")


@pytest.fixture
async def admitted(source: Source) -> None:
    """The app's identity as a role of the server: its token is the password, as with Microsoft Entra."""
    token = (await clients.credential().get_token(clients.cloud().postgresql_scope)).token
    name = sql.Identifier(settings().identity.name)
    source.server.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(name))
    source.server.execute(
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE azure_pg_admin, azure_cdc_admin").format(
            name, sql.Literal(token)
        )
    )


@pytest.fixture
def hosts(server: ServerId, source: Source, monkeypatch: pytest.MonkeyPatch) -> dict[ServerId, str]:
    """What Azure Resource Manager tells of servers, which these tests run without. It answers 404 for all others."""
    hosts = {server: source.server.address}

    async def glance(id: ServerId) -> Glance:
        if id not in hosts:
            raise not_found(f"Reading server {id.name!r} failed: there is no such server.")
        return Glance("Ready", 0, hosts[id])

    monkeypatch.setattr(server_view.flexible_server, "glance", glance)
    return hosts


@pytest.fixture
async def row(
    workspace: str, server: ServerId, source: Source, admitted: None, hosts: dict[ServerId, str]
) -> AsyncIterator[MirrorRow]:
    """A running mirror of a database with two tables, prepared an hour ago."""
    database = source.database("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
    source.server.execute("CREATE EXTENSION azure_cdc", database=database)
    name = connection.name_of(server, database)
    link = (await connection.ensure(name, source.server.address, database, Basic(ROLE, PASSWORD))).id
    made = await mirror.ensure(workspace, definition(link, database), name="shop", mark=name)
    await mirror.start(workspace, made.id)
    async with asyncio.timeout(15):
        while (await mirror.status(workspace, made.id)).status != "Running":
            await asyncio.sleep(0.1)
    yield await store.update_mirror(
        server,
        database,
        host=source.server.address,
        workspace=workspace,
        item=made.id,
        item_name=made.name,
        changed_at=datetime.now(UTC) - timedelta(hours=1),
    )
    await store.delete_mirror(server, database)
    await mirror.delete(workspace, made.id)
