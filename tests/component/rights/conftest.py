"""The app's steps for rights on tables, on real PostgreSQL, Table Storage and Key Vault."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, LiteralString
from uuid import uuid4

import msgspec
import psycopg
import pytest
from psycopg import sql

from local.stack import Stack
from local.topology import Topology
from shared.decisions.login import password_name
from shared.desired.server_id import ServerId
from shared.platform import clients, secrets
from shared.platform.settings import Rights, settings
from shared.records import store
from shared.records.rows import MirrorRow
from shared.source import connection, role
from shared.source.connection import Connection
from shared.steps import rights
from shared.steps.holdings import Choice, Place
from shared.steps.undo import undo
from tests.component.app import app_environment
from tests.component.application import Application, create_application, dump
from tests.component.conftest import Postgres
from tests.real_parts import used_stack

PARTS = ["front_door", "identity", "azurite", "keyvault"]
IDENTITY = "id-rights"
"""The app's role here. Other tests have an identity of their own on the same servers."""
BESIDES = ("azure_cdc", "extension", IDENTITY)


class Shop(msgspec.Struct, frozen=True):
    """A database with two applications on a server that the app prepares."""

    app: Application
    place: Place

    async def ensure(self, rights_: Rights = "auto") -> None:
        """What a run does for the database."""
        await rights.ensure(self.place, Choice((), rights_, "tag fabric-mirror-rights"))

    async def release(self) -> None:
        async with self.identity() as link:
            await undo(link, await self.row())
            await role.release_database(link, self.app.fabric)
        await store.delete_mirror(self.place.server, self.place.database)

    async def row(self) -> MirrorRow:
        row = await store.read_mirror(self.place.server, self.place.database)
        assert row
        return row

    @asynccontextmanager
    async def identity(self) -> AsyncIterator[Connection]:
        async with connection.connect(self.place.host, self.place.database) as link:
            yield link

    def character(self, character: str) -> None:
        """Let the server's azure_cdc be of this character."""
        self.app.postgres.server.set_parameters({"local.azure_cdc": character})

    def fabric(self, password: str) -> psycopg.Connection[Any]:
        link: psycopg.Connection[Any] = self.app.postgres.connect(self.app.database, self.app.fabric, password)
        return link

    def as_superuser(self, *statements: LiteralString | sql.Composed) -> None:
        for statement in statements:
            self.app.postgres.server.execute(statement, None, self.app.database)

    def run(self, statements: str, user: str, password: str) -> None:
        """Run statements as a reason's remedy gives them."""
        with self.app.postgres.connect(self.app.database, user, password) as link:
            link.execute(statements.encode())

    def dump(self) -> set[str]:
        """The catalogue's word on roles, owners and privileges, without the extension's own and the fabric role."""
        return {line for line in dump(self.app) if not any(name in line for name in BESIDES)}

    def owners(self) -> set[str]:
        query = (
            "SELECT DISTINCT pg_get_userbyid(relowner)::text AS owner FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace::regnamespace::text IN ('sales', 'parts', 'late')"
        )
        return {row["owner"] for row in self._rows(query)}

    def memberships(self) -> set[str]:
        """The roles that the fabric role is a member of, but azure_cdc_admin."""
        rows = self._rows(
            "SELECT pg_get_userbyid(roleid)::text AS owner FROM pg_auth_members"
            " WHERE pg_get_userbyid(member) = %s AND pg_get_userbyid(roleid) <> 'azure_cdc_admin'", self.app.fabric
        )  # fmt: skip
        return {row["owner"] for row in rows}

    def _rows(self, query: LiteralString, *values: str) -> Any:
        return self.app.postgres.server.execute(query, values or None, self.app.database)


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    with Stack(tmp_path_factory.mktemp("rights"), PARTS) as running:
        used_stack(PARTS)
        yield running.topology


@pytest.fixture
async def as_app(stack: Topology, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[pytest.MonkeyPatch]:
    """This process is the app."""
    app_environment(stack, monkeypatch, IDENTITY_NAME=IDENTITY)
    yield monkeypatch
    await clients.close()
    settings.cache_clear()


@pytest.fixture
async def new_shop(
    as_app: pytest.MonkeyPatch, stack: Topology, postgres_server: Callable[[int], Postgres]
) -> AsyncIterator[Callable[..., Any]]:
    """`await new_shop(18)`: a new database, whose fabric role is there already."""
    made: list[Shop] = []

    async def make(version: int, within_reach: bool = True) -> Shop:
        postgres = postgres_server(version)
        _prepare(postgres)
        app = create_application(postgres, within_reach)
        app.run(app.other, "CREATE SCHEMA parts", "CREATE TABLE parts.stock (id serial PRIMARY KEY, name text)")
        _trust(as_app, postgres, stack)
        as_app.setenv("FABRIC_ROLE", app.fabric)
        settings.cache_clear()
        await _admit(postgres)
        server = ServerId(stack.subscription, "rg-rights", f"pg-{uuid4().hex[:8]}")
        shop = Shop(app, Place(server, app.database, postgres.server.address))
        password = (await secrets.ensure(password_name(server), {})).value
        user, own = (IDENTITY, await _token()) if version >= 16 else (postgres.administrator, postgres.password)
        async with connection.connect_as(shop.place.host, "postgres", user, own) as link:
            await role.ensure_role(link, app.fabric, password)
        made.append(shop)
        return shop

    yield make
    for shop in made:
        others = {"local.azure_cdc": None, "azure.service_principal_id": None}  # other tests use the server too
        shop.app.postgres.server.set_parameters(others)


def _prepare(postgres: Postgres) -> None:
    """What the service asks of a server."""
    if postgres.server.parameters.get("max_worker_processes") != "16":
        postgres.server.set_parameters({"max_worker_processes": "16"})
        postgres.server.restart()
    postgres.server.set_parameters({"azure.service_principal_id": str(uuid4())})


def _trust(patch: pytest.MonkeyPatch, postgres: Postgres, stack: Topology) -> None:
    """The servers and the stack have authorities of their own: trust both."""
    both = postgres.authority.with_name("both.pem")
    both.write_bytes(postgres.authority.read_bytes() + stack.authority.read_bytes())
    patch.setenv("SSL_CERT_FILE", str(both))


async def _admit(postgres: Postgres) -> None:
    """Make the app's identity an administrator of the server, with its token as the password."""
    name, server = sql.Identifier(IDENTITY), postgres.server
    if not server.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (IDENTITY,)):
        server.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE REPLICATION").format(name))
        server.execute(sql.SQL("GRANT azure_pg_admin TO {} WITH ADMIN OPTION").format(name))
    server.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(await _token())))


async def _token() -> str:
    return (await clients.credential().get_token(clients.cloud().postgresql_scope)).token
