"""Azurite as the stack starts it: over TLS, opened with identities, with the operations that the app's store uses."""

import secrets
from collections.abc import AsyncIterator, Callable

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceModifiedError
from azure.data.tables import TableTransactionError
from azure.data.tables.aio import TableClient, TableServiceClient
from azure.identity.aio import ManagedIdentityCredential

from local.stack import Stack

SCRIPT = """
import asyncio, os
from azure.data.tables.aio import TableServiceClient
from azure.identity.aio import ManagedIdentityCredential

async def main():
    async with ManagedIdentityCredential() as credential:
        async with TableServiceClient(os.environ["TABLES"], credential=credential) as service:
            table = await service.create_table_if_not_exists("FromOutside")
            await table.upsert_entity({"PartitionKey": "p", "RowKey": "r", "n": 1})
            print((await table.get_entity("p", "r"))["n"])

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def stack(stack_factory: Callable[..., Stack]) -> Stack:
    return stack_factory("front_door", "identity", "azurite")


@pytest.fixture
async def table(stack: Stack, become: Callable[[Stack, str], None]) -> AsyncIterator[TableClient]:
    become(stack, "id-fabric-mirror")
    trust = str(stack.topology.authority)
    async with (
        ManagedIdentityCredential() as credential,
        TableServiceClient(
            stack.topology.table_endpoint, credential=credential, connection_verify=trust, retry_total=0
        ) as service,
    ):
        yield await service.create_table(f"T{secrets.token_hex(6)}")


async def test_batches_of_a_hundred_and_queries_over_several_pages(table: TableClient) -> None:
    for start in range(0, 1200, 100):
        rows = [{"PartitionKey": "w", "RowKey": f"{n:05}", "n": n} for n in range(start, start + 100)]
        await table.submit_transaction([("upsert", row) for row in rows])
    assert len([e async for e in table.query_entities("PartitionKey eq 'w'")]) == 1200
    chosen = table.query_entities("PartitionKey eq 'w' and RowKey ge '00100' and n lt 103", select=["n"])
    assert [e["n"] async for e in chosen] == [100, 101, 102]


async def test_an_outdated_etag_is_refused(table: TableClient) -> None:
    made = await table.create_entity({"PartitionKey": "p", "RowKey": "r", "n": 1})
    await table.update_entity({"PartitionKey": "p", "RowKey": "r", "n": 2})
    with pytest.raises(ResourceModifiedError):
        await table.update_entity(
            {"PartitionKey": "p", "RowKey": "r", "n": 3},
            etag=made["etag"],
            match_condition=MatchConditions.IfNotModified,
        )
    assert (await table.get_entity("p", "r"))["n"] == 2


async def test_the_services_rules_hold(table: TableClient) -> None:
    await table.create_entity({"PartitionKey": "p", "RowKey": "there"})
    with pytest.raises(TableTransactionError):
        await table.submit_transaction([("create", {"PartitionKey": "p", "RowKey": row}) for row in ("new", "there")])
    assert [e["RowKey"] async for e in table.query_entities("PartitionKey eq 'p'")] == ["there"]
    with pytest.raises(HttpResponseError):
        await table.create_entity({"PartitionKey": "p", "RowKey": "a/b"})


async def test_a_token_for_another_service_is_refused(stack: Stack, table: TableClient) -> None:
    trust = str(stack.topology.authority)
    async with (
        ManagedIdentityCredential() as credential,
        TableServiceClient(
            stack.topology.table_endpoint,
            credential=credential, audience="https://management.azure.com", connection_verify=trust, retry_total=0,
        ) as service,
    ):  # fmt: skip
        with pytest.raises(ClientAuthenticationError):
            await service.create_table("Refused")


def test_an_unchanged_program_reaches_it_by_its_environment(stack: Stack, run_as: Callable[..., str]) -> None:
    assert run_as(stack, "operator", SCRIPT, TABLES=stack.topology.table_endpoint) == "1\n"


def test_it_listens_on_this_machine_only(stack: Stack) -> None:
    assert f"on 127.0.0.1:{stack.topology.ports['azurite']}" in stack.tail("azurite", 1000)
