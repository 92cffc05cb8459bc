"""Entra administrators' logins on real PostgreSQL, over the day on which tokens change."""

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
from local.topology import Principal, Topology
from tests.component.conftest import Postgres

APP = Principal("id-app", str(uuid.uuid4()), str(uuid.uuid4()), "")


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    certificates.create(tmp_path)
    return Topology(
        folder=str(tmp_path), tenant=str(uuid.uuid4()), subscription="", resource_group="", location="", capacity="",
        workspace="", vault="", storage_account="", storage_key="", control_key="", host_keys={},
        principals={APP.name: APP}, ports={},
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


def test_the_next_days_token_replaces_todays(topology: Topology, postgres_server: Callable[[int], Postgres]) -> None:
    postgres = postgres_server(18)
    logins = EntraLogins(topology)
    server = FlexibleServer("/servers/pg", {"name": "pg", "properties": {"state": "Ready"}})
    server.postgres = postgres.server
    server.administrators[APP.object_id] = {"principalName": APP.name}
    today = logins.password(APP.object_id)
    assert today
    postgres.server.create_administrator(APP.name, today)
    postgres.connect("postgres", APP.name, today).close()
    age(topology, tokens.LIFETIME_SECONDS + 60)
    logins.renew(server)
    tomorrow = logins.password(APP.object_id)
    postgres.connect("postgres", APP.name, tomorrow).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        postgres.connect("postgres", APP.name, today)


def test_who_has_no_identity_here_has_no_token(topology: Topology) -> None:
    assert EntraLogins(topology).password(str(uuid.uuid4())) is None
