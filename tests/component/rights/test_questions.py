"""The service is asked as often as it takes; whatever dies meanwhile, every table ends where it belongs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest
from psycopg import sql

from shared.platform.errors import Blocked
from shared.records import store
from shared.source import ownership
from shared.steps import asking
from tests.component.rights.conftest import Shop

type NewShop = Callable[..., Awaitable[Shop]]
VERSIONS = [18, *(pytest.param(version, marks=pytest.mark.exhaustive) for version in (14, 15, 16, 17))]


async def taken_by_an_earlier_version(shop: Shop) -> set[str]:
    """Version 0.1 took all tables. It did not ask the service. The answer is what the catalogue says then."""
    await shop.ensure("ownership")
    row = await shop.row()
    assert row.takeover
    old = msgspec.structs.replace(row.takeover, consent="")
    await store.update_mirror(shop.place.server, shop.place.database, rights="", word="unasked", takeover=old)
    async with shop.identity() as link:
        await link.execute("DROP SCHEMA fabric_mirror CASCADE")
    return shop.dump()


async def dies(*_: object) -> None:
    raise OSError("the worker died")


async def blocked(shop: Shop) -> str:
    with pytest.raises(Blocked) as refused:
        await shop.ensure()
    return refused.value.code


@pytest.mark.parametrize("character", ["ownership", "silent"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_service_that_comes_to_accept_members_is_taken_at_its_new_word(
    version: int, character: str, new_shop: NewShop
) -> None:
    shop = await new_shop(version)
    before = shop.dump()
    shop.character(character)
    for _ in range(2):
        assert await blocked(shop) == "OwnershipWouldHarm"
        assert shop.memberships() == set()
    shop.character("membership")
    if character == "silent":  # its next version has the functions
        shop.as_superuser("DROP EXTENSION azure_cdc")
    await shop.ensure()
    assert ((await shop.row()).rights, (await shop.row()).word) == ("membership", "content")
    await shop.release()
    assert shop.dump() == before


async def test_tables_that_were_taken_for_its_word_stay_until_somebody_names_membership(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    shop.as_superuser("DROP SCHEMA parts CASCADE", "DROP TABLE sales.orders CASCADE")
    before = shop.dump()
    shop.character("ownership")
    await shop.ensure()
    shop.character("membership")
    for _ in range(2):
        await shop.ensure()
        assert shop.owners() == {shop.app.fabric}
    await shop.ensure("membership")
    await shop.ensure()
    assert (shop.owners(), (await shop.row()).rights) == ({shop.app.owner}, "membership")
    await shop.release()
    assert shop.dump() == before


@pytest.mark.parametrize("version", VERSIONS)
async def test_tables_of_an_earlier_version_are_taken_again_though_the_worker_died_before_the_answer(
    version: int, new_shop: NewShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await new_shop(version)
    before = shop.dump()
    taken = await taken_by_an_earlier_version(shop)
    shop.character("ownership")
    with monkeypatch.context() as patched:
        patched.setattr(asking, "ask", dies)
        with pytest.raises(OSError, match="died"):
            await shop.ensure()
    assert shop.owners() == {shop.app.owner, shop.app.other}
    await shop.ensure()
    assert (shop.owners(), shop.memberships()) == ({shop.app.fabric}, set())
    assert {line for line in shop.dump() ^ taken if "fabric_mirror" not in line} == set()
    row = await shop.row()
    assert row.takeover
    assert (row.word, row.takeover.returned) == ("insists", ())
    await shop.release()
    assert shop.dump() == before


async def test_they_are_taken_again_though_the_worker_died_on_the_way_back_of_a_refused_preparation(
    new_shop: NewShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await new_shop(18)
    await taken_by_an_earlier_version(shop)
    shop.character("ownership")
    shop.app.run(
        shop.app.owner,
        "CREATE TABLE sales.late (id int PRIMARY KEY, customer bigint REFERENCES sales.customers ON DELETE CASCADE)",
        "CREATE FUNCTION sales.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
        "CREATE TRIGGER note BEFORE DELETE ON sales.late FOR EACH ROW EXECUTE FUNCTION sales.note()",
    )
    with monkeypatch.context() as patched:
        patched.setattr(ownership, "apply_take", dies)
        with pytest.raises(OSError, match="died"):
            await shop.ensure()
    assert shop.app.fabric not in shop.owners()
    assert await blocked(shop) == "OwnershipWouldHarm"
    shop.as_superuser("DROP TABLE sales.late")
    assert (shop.owners(), shop.memberships()) == ({shop.app.fabric}, set())


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_owner_that_has_become_strong_is_left_and_told(version: int, new_shop: NewShop) -> None:
    shop = await new_shop(version)
    before = shop.dump()
    await shop.ensure()
    grant = sql.SQL("GRANT pg_monitor TO {}").format(sql.Identifier(shop.app.other))
    shop.as_superuser(grant)
    assert await blocked(shop) == "OwnershipWouldHarm"
    assert shop.memberships() == {shop.app.owner}
    shop.as_superuser(sql.SQL("REVOKE pg_monitor FROM {}").format(sql.Identifier(shop.app.other)))
    await shop.ensure()
    assert shop.memberships() == {shop.app.owner, shop.app.other}
    await shop.release()
    assert shop.dump() == before


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_owner_that_has_another_name_by_now_is_left(version: int, new_shop: NewShop) -> None:
    shop = await new_shop(version)
    before = shop.dump()
    await shop.ensure()
    name, other = sql.Identifier(f"{shop.app.other}_new"), sql.Identifier(shop.app.other)
    shop.as_superuser(sql.SQL("ALTER ROLE {} RENAME TO {}").format(other, name))
    await shop.release()
    assert shop.memberships() == set()
    shop.as_superuser(sql.SQL("ALTER ROLE {} RENAME TO {}").format(name, other))
    assert shop.dump() == before
