"""What the tests of this folder ask of the server that they share."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from azure.mgmt.postgresqlflexibleservers.models import Server

from local.stack import Stack
from tests.component.azure_resource_manager import ADMINISTRATOR, PASSWORD, ask, change, server_path

GROUP = "rg-mirrors"
NAME = "pg-shared"
OVERRIDE = "user-override"


def connect(stack: Stack, server: Server, user: str = ADMINISTRATOR, password: str = PASSWORD) -> psycopg.Connection:
    assert server.properties
    return psycopg.connect(
        host=server.properties.fully_qualified_domain_name, dbname="postgres", user=user, password=password,
        sslmode="verify-full", sslrootcert=str(stack.topology.authority), autocommit=True,
    )  # fmt: skip


def show(stack: Stack, server: Server, parameter: str) -> str:
    with connect(stack, server) as connection:
        return connection.execute(f"SHOW {parameter}").fetchone()[0]  # type: ignore[index, arg-type]


def restarts(stack: Stack, name: str = NAME) -> int:
    return next(server["restarts"] for server in stack.control("arm", "GET", "servers") if server["name"] == name)


def set_parameter(stack: Stack, name: str, value: str | None) -> dict[str, Any]:
    """Set it without the SDK, which waits a whole second between two looks; its properties afterwards."""
    path = f"{server_path(stack, NAME)}/configurations/{name}"
    source = "system-default" if value is None else OVERRIDE
    operation = change(stack, "PUT", path, {"properties": {"value": value, "source": source}})
    assert operation["status"] == "Succeeded", operation
    return ask(stack, "GET", path)[2]["properties"]


def events(stack: Stack, operation: str, resource: str) -> list[dict[str, Any]]:
    """The events of an operation on a resource (without regard to letter case), once there is one."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        received = stack.control("eventgrid", "GET", "events?topic=system")
        found = [
            event for event in received
            if event["data"]["operationName"] == operation and event["subject"].lower() == resource.lower()
        ]  # fmt: skip
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"no event {operation} for {resource}")
