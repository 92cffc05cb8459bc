"""A server of which the app has no record any more is given back by what the server itself has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from psycopg import sql

from shared.platform.settings import Rights, settings
from shared.records import store
from shared.source import connection, role
from shared.source.facts import Administrator, ServerFacts
from shared.steps import recovery
from tests.component.rights.conftest import Shop
from tests.unit.facts import server

type NewShop = Callable[..., Awaitable[Shop]]


def facts(shop: Shop) -> ServerFacts:
    """What Azure Resource Manager would show of the server."""
    app = Administrator(settings().identity.object_id, settings().identity.name, "ServicePrincipal")
    return server(id=shop.place.server, host=shop.place.host, administrators=(app,))


@pytest.mark.parametrize("way", ["membership", "ownership"])
@pytest.mark.parametrize("version", [18, *(pytest.param(it, marks=pytest.mark.exhaustive) for it in (14, 16))])
async def test_a_server_without_a_record_is_given_back(version: int, way: Rights, new_shop: NewShop) -> None:
    shop = await new_shop(version)
    before = shop.dump()
    await shop.ensure(way)
    await store.delete_mirror(shop.place.server, shop.place.database)
    assert await recovery.databases_of_ours(facts(shop)) == (shop.app.database,)
    await store.update_mirror(shop.place.server, shop.place.database, host=shop.place.host)
    await shop.release()
    assert await recovery.databases_of_ours(facts(shop)) == ()
    async with connection.connect(shop.place.host, "postgres") as link:
        await role.drop_role(link, shop.app.fabric)
    assert await recovery.databases_of_ours(facts(shop)) is None
    assert [line for line in shop.dump() ^ before if shop.app.fabric not in line] == []
    assert shop.memberships() == set()


async def test_a_role_without_our_comment_is_ours_where_it_owns_tables_that_we_took(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    fabric = sql.Identifier(shop.app.fabric)
    shop.as_superuser(sql.SQL("COMMENT ON ROLE {} IS 'of somebody'").format(fabric))
    assert await recovery.databases_of_ours(facts(shop)) is None
    shop.as_superuser(sql.SQL("COMMENT ON ROLE {} IS {}").format(fabric, sql.Literal(role.COMMENT)))
    await shop.ensure("ownership")
    shop.as_superuser(sql.SQL("COMMENT ON ROLE {} IS NULL").format(fabric))
    assert await recovery.databases_of_ours(facts(shop)) == (shop.app.database,)
