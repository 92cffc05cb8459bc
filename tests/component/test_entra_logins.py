"""Logins of Entra administrators and other principals on real PostgreSQL, over the day on which tokens change."""

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from local import certificates
from local.cloud import tokens
from local.cloud.arm.entra import EntraLogins
from local.cloud.arm.servers import FlexibleServer
from local.topology import IN_MEMORY, Principal, Topology
from tests.component.conftest import Postgres

APP = Principal("id-app", str(uuid.uuid4()), str(uuid.uuid4()), "")
READER = Principal("reader", str(uuid.uuid4()), str(uuid.uuid4()), "")


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    certificates.create(tmp_path)
    return Topology(
        folder=str(tmp_path), tenant=str(uuid.uuid4()), subscription="", resource_group="", location="", capacity="",
        workspace="", vault="", storage_account="", storage_key="", control_key="", instrumentation_key="",
        host_keys={}, principals={APP.name: APP, READER.name: READER}, ports={}, engine=IN_MEMORY, worker_key="",
    )  # fmt: skip


def age(topology: Topology, seconds: float) -> None:
    """Let the stack have begun `seconds` ago."""
    then = time.time() - seconds
    os.utime(topology.file("signing.pem"), (then, then))


def test_everybody_gets_the_same_token_until_shortly_before_it_expires(topology: Topology) -> None:
    first, expires = tokens.mint(topology, APP, tokens.POSTGRESQL)
    assert tokens.mint(topology, APP, tokens.POSTGRESQL) == (first, expires)
    assert tokens.mint(topology, APP, tokens.ARM)[0] != first
    age(topology, tokens.LIFETIME_SECONDS - tokens.RENEWAL_SECONDS - 5)
    _, last = tokens.mint(topology, APP, tokens.POSTGRESQL)
    assert 0 < last - time.time() - tokens.RENEWAL_SECONDS <= 6
    age(topology, tokens.LIFETIME_SECONDS - tokens.RENEWAL_SECONDS + 5)
    token, following = tokens.mint(topology, APP, tokens.POSTGRESQL)
    assert following - last > tokens.LIFETIME_SECONDS - 60
    assert tokens.verify(topology, token, (tokens.POSTGRESQL,))["oid"] == APP.object_id


@pytest.fixture
def server(topology: Topology, postgres_server: Callable[[int], Postgres]) -> FlexibleServer:
    """A server of which the app is a Microsoft Entra administrator."""
    server = FlexibleServer("/servers/pg", {"name": "pg", "properties": {"state": "Ready"}})
    server.postgres = postgres_server(18).server
    EntraLogins(topology).admit(server, APP.name, APP.object_id, "ServicePrincipal")
    return server


def log_in(server: FlexibleServer, topology: Topology, principal: Principal, role: str = "") -> psycopg.Connection:
    token, _ = tokens.mint(topology, principal, tokens.POSTGRESQL)
    return psycopg.connect(
        host=server.engine.address, dbname="postgres", user=role or principal.name, password=token, sslmode="require",
        autocommit=True,
    )  # fmt: skip


def test_the_next_days_token_replaces_todays(topology: Topology, server: FlexibleServer) -> None:
    map_role(server, topology, READER.name)
    today, _ = tokens.mint(topology, APP, tokens.POSTGRESQL)
    age(topology, tokens.LIFETIME_SECONDS + 60)
    EntraLogins(topology).renew(server)
    log_in(server, topology, APP).close()
    log_in(server, topology, READER).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host=server.engine.address, dbname="postgres", user=APP.name, password=today)


def map_role(server: FlexibleServer, topology: Topology, role: str) -> None:
    with log_in(server, topology, APP) as administrator:
        administrator.execute("DROP ROLE IF EXISTS reader")
        administrator.execute(
            "SELECT * FROM pgaadauth_create_principal_with_oid(%s, %s, 'service', false, false)",
            (role, READER.object_id),
        )


def test_an_administrator_maps_a_role_to_a_principal_which_then_logs_in_by_that_name(
    topology: Topology, server: FlexibleServer
) -> None:
    map_role(server, topology, READER.name)
    with log_in(server, topology, READER) as reader:
        assert reader.execute("SELECT current_user").fetchone() == (READER.name,)
        listed = reader.execute("SELECT rolename, objectid, isadmin FROM pgaadauth_list_principals(false)").fetchall()
        assert {(APP.name, APP.object_id, 1), (READER.name, READER.object_id, 0)} <= set(listed)
        administrators = reader.execute("SELECT rolename FROM pgaadauth_list_principals(true)").fetchall()
        assert ((APP.name,) in administrators, (READER.name,) in administrators) == (True, False)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        log_in(server, topology, APP, READER.name)


def test_nobody_else_maps_roles(topology: Topology, server: FlexibleServer) -> None:
    map_role(server, topology, READER.name)
    server.engine.execute("ALTER ROLE reader CREATEROLE")
    with (
        log_in(server, topology, READER) as reader,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="reader is no Microsoft Entra administrator"),
    ):
        reader.execute("SELECT pgaadauth_create_principal_with_oid('x', 'y', 'service', false, false)")
    for function in ("open(NULL)", "renew('{}')"):
        with log_in(server, topology, READER) as reader, pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(f"SELECT azure_entra.{function}")  # type: ignore[arg-type]


def test_an_administrator_that_is_dismissed_is_out(topology: Topology, server: FlexibleServer) -> None:
    EntraLogins(topology).dismiss(server, APP.name)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        log_in(server, topology, APP)


def test_who_has_no_identity_here_can_be_administrator_and_not_log_in(
    topology: Topology, server: FlexibleServer
) -> None:
    stranger = Principal("stranger", str(uuid.uuid4()), str(uuid.uuid4()), "")
    EntraLogins(topology).admit(server, stranger.name, stranger.object_id, "User")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        log_in(server, topology, stranger)
