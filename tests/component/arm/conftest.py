"""A stack with one flexible server, PostgreSQL 18, that all tests of this folder share, and the SDK's client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.postgresqlflexibleservers.aio import PostgreSQLManagementClient

from local.stack import Stack
from tests.component.arm.shared_server import NAME
from tests.component.azure_resource_manager import create_server


@pytest.fixture(scope="session")
def stack(stack_factory: Callable[..., Stack]) -> Stack:
    """A stack with one server, PostgreSQL 18, that the tests share."""
    stack = stack_factory("front_door", "identity", "eventgrid", "arm", fresh=True)
    create_server(stack, NAME, tags={"Team": "data"})
    return stack


@pytest.fixture
async def arm(stack: Stack, become: Callable[[Stack, str], None]) -> AsyncIterator[PostgreSQLManagementClient]:
    become(stack, "operator")
    trust = str(stack.topology.authority)
    async with (
        ManagedIdentityCredential() as credential,
        PostgreSQLManagementClient(
            credential, stack.topology.subscription, connection_verify=trust, retry_backoff_factor=0.01
        ) as client,
    ):
        yield client
