"""Fabric logs in as a Microsoft Entra principal, to servers that may take no passwords at all."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from azure.keyvault.secrets import SecretClient

from local.application import Application
from local.scenario import Operator, Server, acting_as
from local.stack import PARTS, ROOT
from local.topology import SERVICE_PRINCIPAL, WORKSPACE_IDENTITY
from shared.decisions.login import password_name
from shared.desired import server_id
from tests import real_parts
from tests.conftest import StackFactory
from tests.e2e.lifecycle.story import (
    after,
    calls,
    codes,
    delete,
    fabric,
    mirrored,
    new_server,
    password,
    put,
    query,
    row,
    slots,
)  # fmt: skip

NO_PASSWORDS = {"activeDirectoryAuth": "Enabled", "passwordAuth": "Disabled"}


@contextlib.contextmanager
def company(stack_factory: StackFactory, kind: str, role: str) -> Iterator[Operator]:
    """A stack whose app has Fabric log in with credentials of this kind."""
    settings = {"FABRIC_CREDENTIALS": kind, "FABRIC_ROLE": role, "POLL_SECONDS": "0.3"}
    stack = stack_factory(*PARTS, settings=settings, fresh=True)
    stack.control("fabric", "PUT", "behaviour", {"initializingSeconds": 0})
    with acting_as(stack, "operator"):
        person = Operator(stack)
        yield person
        person.close()


def passwordless(operator: Operator, name: str, version: int) -> tuple[Server, Application]:
    server = new_server(operator, name, version, "shop", authConfig=NO_PASSWORDS)
    application = operator.install(server, "shop")
    real_parts.used("PostgreSQL", application.server_version())
    return server, application


def credentials_of(operator: Operator, server: Server) -> str:
    known = row(operator, "Mirrors", server)
    assert known
    return str(fabric(operator, "GET", f"/connections/{known['connection']}")["credentialDetails"]["credentialType"])


def runs_without_a_password(operator: Operator, server: Server, application: Application, role: str) -> None:
    """The mirror follows the application, the principal's role has the owner's rights, and there is no password."""
    assert slots(operator, server) == {"shop": True}
    [reached] = query(operator, server, "SELECT pg_has_role(%s::name, 'shop_app', 'USAGE') AS reached", role)
    assert reached["reached"]
    [attributes] = query(
        operator, server,
        "SELECT rolcreatedb AND rolcreaterole AND rolreplication AS all_of_them FROM pg_roles WHERE rolname = %s", role,
    )  # fmt: skip
    assert attributes["all_of_them"]
    assert password(operator, password_name(server_id.parse(server.id))) is None
    assert application.inabilities() == {}
    assert operator.restarts(server) == 1


def rotate(operator: Operator, server: Server) -> None:
    answer = operator.call("POST", operator.door(server, "mirroring/rotate-password"))
    assert answer.status == 202, answer


def everything_kept(operator: Operator) -> str:
    """All rows of the app, and all logs of the stack."""
    rows: list[Any] = [operator.rows(table) for table in ("Servers", "Mirrors")]
    logs = (operator.topology.path / "logs").glob("*.log")
    return str(rows) + "".join(log.read_text(errors="replace") for log in logs)


def released(operator: Operator, server: Server, role: str) -> None:
    seen = after(operator, server, lambda: delete(operator, server))
    assert seen["phase"] == "Released"
    assert slots(operator, server) == {}
    assert query(operator, server, "SELECT 1 FROM pg_roles WHERE rolname = %s", role) == []


def everything_released(operator: Operator, server: Server) -> None:
    """`make release-all`, as a person who may write tags runs it before the app is taken down."""
    environment = {"APP_URL": operator.topology.address("host"), "KEY": operator.topology.host_keys["default"]}
    command = [sys.executable, "-m", "infra.release_all", "--yes"]
    for said in (f"✓ {server.id}\n1 of 1 servers are released.\n", "No server is mirrored.\n"):
        done = subprocess.run(
            command, env=os.environ | environment | {"APP_ID": "not asked"}, cwd=ROOT, capture_output=True, text=True,
            timeout=180, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith(said)
    assert slots(operator, server) == {}
    tags = operator.management.servers.get(operator.topology.resource_group, server.name).tags
    assert tags == {"fabric-mirror": "disabled", "team": "sales"}


def test_as_a_service_principal(stack_factory: StackFactory) -> None:
    with company(stack_factory, "ServicePrincipal", SERVICE_PRINCIPAL) as operator:
        server, application = passwordless(operator, "pg-principal", 16)
        blocked = after(operator, server, lambda: put(operator, server))
        assert (blocked["phase"], codes(blocked)) == ("Blocked", ["PrincipalSecret"])
        assert f"Key Vault has no secret '{SERVICE_PRINCIPAL}'" in blocked["reasons"][0]["message"]
        assert calls(operator, server, "arm", "Servers_Update", "Configurations_Update", "Servers_Restart") == []

        fault = {"operation": "GetSecret", "status": 403, "code": "Forbidden", "message": "Not authorized."}
        operator.stack.control("keyvault", "POST", "faults", fault)
        asked = operator.call("GET", operator.door(server, "readiness"))
        assert (asked.status, asked.body["code"]) == (403, "NotAllowed")
        assert "Key Vault refused the app's identity at secret" in asked.body["detail"]
        assert "Key Vault Secrets Officer" in asked.body["remedy"]

        secret = operator.topology.principals[SERVICE_PRINCIPAL].header
        with SecretClient(operator.topology.vault_url, operator.credential) as vault:
            vault.set_secret(SERVICE_PRINCIPAL, secret)
        mirrored(operator, server)
        assert credentials_of(operator, server) == "ServicePrincipal"
        runs_without_a_password(operator, server, application, SERVICE_PRINCIPAL)

        rotated = after(operator, server, lambda: rotate(operator, server))
        assert (rotated["phase"], rotated["reasons"]) == ("Mirrored", [])
        updates = [call["operation"].endswith("UpdateConnection") for call in operator.control("fabric", "calls")]
        assert sum(updates) == 1  # with the client secret that Key Vault has now
        after(operator, server, lambda: operator.tag(server, fabric_mirror="enabled", team="sales"))
        everything_released(operator, server)
        assert query(operator, server, "SELECT 1 FROM pg_roles WHERE rolname = %s", SERVICE_PRINCIPAL) == []
        assert password(operator, SERVICE_PRINCIPAL) == secret  # it is not ours to delete
        assert secret not in everything_kept(operator)


@pytest.mark.exhaustive
def test_as_the_identity_of_the_workspace(stack_factory: StackFactory) -> None:
    with company(stack_factory, "WorkspaceIdentity", WORKSPACE_IDENTITY) as operator:
        server, application = passwordless(operator, "pg-workspace", 18)
        mirrored(operator, server)
        assert credentials_of(operator, server) == "WorkspaceIdentity"
        runs_without_a_password(operator, server, application, WORKSPACE_IDENTITY)
        released(operator, server, WORKSPACE_IDENTITY)
