"""Fabric on a server whose `azure_cdc` accepts members of a table's owner, or insists on the owner."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.component.fabric.source import ORDERS, ROLE, Mirror, Source


@pytest.fixture
def insisting(source: Source) -> Iterator[Source]:
    """A server whose `azure_cdc` takes nobody but the owner of a table; an application's role is there."""
    source.server.set_parameters({"local.azure_cdc": "ownership"})
    with source.connect("postgres") as administrator:
        administrator.execute("CREATE ROLE shop_app")
        administrator.execute(f"GRANT shop_app TO {ROLE} WITH INHERIT TRUE, SET FALSE")
    yield source
    source.server.set_parameters({"local.azure_cdc": None})


def test_membership_in_the_owner_is_enough_or_not(mirror_of: Callable[..., Mirror], insisting: Source) -> None:
    database = insisting.database(ORDERS)
    insisting.server.execute("CREATE TABLE bare (note text)", database=database)
    insisting.server.execute("ALTER TABLE bare OWNER TO shop_app", database=database)
    mirror = mirror_of(insisting, database)
    mirror.start()
    mirror.until("Running")
    bare = mirror.tables()["bare"]
    assert bare["error"]["errorCode"] == "NOT_TABLE_OWNER"
    assert bare["error"]["message"] == "The current user is not the owner of table public.bare."
    published = "SELECT tablename FROM pg_publication_tables"
    assert insisting.server.execute(published, database=database) == [{"tablename": "orders"}]
    insisting.server.execute("ALTER TABLE orders OWNER TO shop_app", database=database)
    mirror.start()
    failed = mirror.until("Stopped", error=True)
    assert failed["error"]["errorCode"] == "InternalError"
    assert {table["error"]["errorCode"] for table in mirror.tables().values()} == {"NOT_TABLE_OWNER"}

    insisting.server.set_parameters({"local.azure_cdc": "membership"})
    mirror.start()
    mirror.until("Running")
    assert {name: table["status"] for name, table in mirror.tables().items()} == {
        "bare": "Replicating",
        "orders": "Replicating",
    }
