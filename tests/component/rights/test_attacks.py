"""Attacks on what is promised of rights on tables: by other databases, crashes, and roles in odd relations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import psycopg
import pytest
from psycopg import sql

from shared.platform.errors import Blocked, Unavailable
from shared.records import store
from shared.source import default_privileges, owners
from shared.steps import asking
from shared.steps.holdings import Place
from tests.component.application import PASSWORD
from tests.component.rights.conftest import Shop

type NewShop = Callable[..., Awaitable[Shop]]


def second_database(shop: Shop, owner: str) -> Shop:
    """Another database of the same server, with one table of `owner`."""
    database = shop.app.postgres.fresh_database()
    shop.as_superuser(
        sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(database), sql.Identifier(owner))
    )
    with shop.app.postgres.connect(database, owner, PASSWORD) as link:
        link.execute("CREATE SCHEMA sales")
        link.execute("CREATE TABLE sales.bills (id int PRIMARY KEY)")
    app = msgspec.structs.replace(shop.app, database=database)
    return Shop(app, Place(shop.place.server, database, shop.place.host))


def grant(shop: Shop, role: str, member: str, options: str = "") -> None:
    names = sql.Identifier(role), sql.Identifier(member)
    shop.as_superuser(sql.SQL("GRANT {} TO {}").format(*names) + sql.SQL(options))  # type: ignore[arg-type]


def plain(shop: Shop) -> None:
    """Leave nothing in the shop that ownership would harm."""
    shop.as_superuser("DROP SCHEMA parts CASCADE", "DROP TABLE sales.orders CASCADE")


def tenant_of(shop: Shop) -> str:
    """A role that owns nothing in the shop's database, and that the fabric role must not become a member of."""
    tenant = f"tenant_{shop.app.reader}"
    names = sql.Identifier(tenant), sql.Literal(PASSWORD)
    shop.as_superuser(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(*names))
    grant(shop, tenant, "azure_pg_admin", " WITH ADMIN OPTION")
    grant(shop, "pg_monitor", tenant)
    return tenant


@pytest.mark.parametrize("first", ["shop", "tenant"])
async def test_a_former_owner_gets_no_rights_on_another_database(first: str, new_shop: NewShop) -> None:
    shop = await new_shop(18)
    plain(shop)
    tenant = tenant_of(shop)
    elsewhere = second_database(shop, tenant)
    one, other = (shop, elsewhere) if first == "shop" else (elsewhere, shop)
    await one.ensure()
    with pytest.raises(Blocked) as refused:
        await other.ensure()
    assert refused.value.code == "OwnershipWouldHarm"
    assert f"'{tenant}' would have the rights of" in refused.value.message
    with pytest.raises(psycopg.errors.InsufficientPrivilege), shop.app.connect(tenant) as link:
        link.execute("SELECT * FROM sales.customers")
    await one.release()
    await other.ensure()


async def test_two_databases_change_their_way_one_after_the_other(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    shop.as_superuser("DROP SCHEMA parts CASCADE")
    elsewhere = second_database(shop, shop.app.other)
    before = shop.dump()
    for way, back in (("membership", "ownership"), ("ownership", "auto"), ("auto", "ownership")):
        await shop.ensure(way)
        await elsewhere.ensure(way)
        for _ in range(2):
            for database in (shop, elsewhere):
                with suppress(Unavailable):
                    await database.ensure(back)
        await shop.ensure(back)
        await elsewhere.ensure(back)
        rows = [await shop.row(), await elsewhere.row()]
        assert {row.rights for row in rows} == {"ownership" if back == "ownership" else "membership"}
    await shop.release()
    await elsewhere.release()
    assert shop.dump() == before


async def test_an_owner_reached_through_another_one_is_joined_itself(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    grant(shop, shop.app.owner, shop.app.other)
    other = sql.Identifier(shop.app.other)
    for name in ("customers", "orders", "keyless"):
        shop.as_superuser(sql.SQL("ALTER TABLE sales.{} OWNER TO {}").format(sql.Identifier(name), other))
    await shop.ensure()
    assert shop.memberships() == {shop.app.other}
    shop.as_superuser(sql.SQL("ALTER TABLE sales.customers OWNER TO {}").format(sql.Identifier(shop.app.owner)))
    await shop.ensure()
    assert shop.memberships() == {shop.app.other, shop.app.owner}


async def test_a_cut_off_preparation_that_ends_blocked_leaves_nothing(
    new_shop: NewShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await new_shop(18)
    shop.character("ownership")
    real = asking.ask

    async def cut_off(*arguments: object) -> None:
        raise OSError("the worker died")

    monkeypatch.setattr(asking, "ask", cut_off)
    with pytest.raises(OSError, match="the worker died"):
        await shop.ensure()
    monkeypatch.setattr(asking, "ask", real)
    with pytest.raises(Blocked):
        await shop.ensure()
    assert shop.memberships() == set()


async def test_tables_that_an_earlier_version_took_stay_taken_where_the_service_insists(
    new_shop: NewShop,
) -> None:
    shop = await new_shop(18)
    before = shop.dump()
    await shop.ensure("ownership")
    row = await shop.row()
    assert row.takeover
    old = msgspec.structs.replace(row.takeover, consent="")
    await store.update_mirror(shop.place.server, shop.place.database, rights="", takeover=old)
    taken = shop.dump()
    shop.character("ownership")
    for _ in range(2):
        await shop.ensure()
        assert shop.dump() == taken
    shop.app.run(
        shop.app.owner,
        "CREATE TABLE sales.late (id int PRIMARY KEY, customer bigint REFERENCES sales.customers ON DELETE CASCADE)",
        "CREATE FUNCTION sales.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
        "CREATE TRIGGER note BEFORE DELETE ON sales.late FOR EACH ROW EXECUTE FUNCTION sales.note()",
    )
    with pytest.raises(Blocked) as refused:
        await shop.ensure()
    assert refused.value.code == "OwnershipWouldHarm"
    with pytest.raises(Blocked) as refused:
        await shop.ensure("membership")
    assert refused.value.code == "ServiceWantsOwnership"
    assert shop.owners() == {shop.app.owner, shop.app.other}
    shop.app.run(shop.app.owner, "DROP TABLE sales.late", "DROP FUNCTION sales.note")
    await shop.release()
    assert shop.dump() == before


async def test_an_owner_that_is_the_roles_member_by_a_group_is_told(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    group = f"group_{shop.app.reader}"
    shop.as_superuser(sql.SQL("CREATE ROLE {}").format(sql.Identifier(group)))
    grant(shop, shop.app.fabric, group)
    grant(shop, group, shop.app.other)
    before = shop.dump()
    with pytest.raises(Blocked) as refused:
        await shop.ensure()
    assert refused.value.code == "MembershipInTheWay"
    assert shop.dump() == before
    await shop.ensure("ownership")
    await shop.release()


async def test_ownership_where_the_role_is_a_member_by_a_group_is_told(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    group = f"group_{shop.app.reader}"
    shop.as_superuser(sql.SQL("CREATE ROLE {}").format(sql.Identifier(group)))
    grant(shop, shop.app.other, group)
    grant(shop, group, shop.app.fabric)
    owners = shop.owners()
    with pytest.raises(Blocked) as refused:
        await shop.ensure("ownership")
    assert refused.value.code == "MembershipInTheWay"
    assert shop.owners() == owners
    shop.as_superuser(sql.SQL(refused.value.remedy.removeprefix("Run as who granted it: ")))  # type: ignore[arg-type]
    await shop.ensure("ownership")
    assert shop.owners() == {shop.app.fabric}


async def test_a_table_of_pg_database_owner(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    shop.as_superuser(
        "CREATE TABLE public.bills (id int PRIMARY KEY)", "ALTER TABLE public.bills OWNER TO pg_database_owner"
    )
    for way in ("auto", "membership", "ownership"):
        with pytest.raises(Blocked) as refused:
            await shop.ensure(way)
        assert refused.value.code == "OwnerTooStrong"
        assert shop.memberships() == set()


async def test_a_schema_of_somebody_else_does_not_hold_up_a_release(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    before = shop.dump()
    await shop.ensure()
    shop.app.run(shop.app.owner, "CREATE SCHEMA fabric_mirror")
    await shop.release()
    shop.app.run(shop.app.owner, "DROP SCHEMA fabric_mirror")
    assert shop.dump() == before


async def test_a_taken_table_that_was_renamed_goes_back_when_the_way_changes(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    shop.as_superuser("DROP SCHEMA parts CASCADE")
    await shop.ensure("ownership")
    shop.as_superuser(
        "ALTER TABLE sales.customers RENAME TO clients", "DROP TABLE sales.orders CASCADE", "DROP TABLE sales.keyless"
    )
    await shop.ensure("membership")
    assert shop.app.fabric not in shop.owners()


async def test_a_former_owner_that_has_another_name_by_now_gets_its_tables_back(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    before = shop.dump()
    owner, other_name = sql.Identifier(shop.app.owner), sql.Identifier(f"new_{shop.app.reader}")
    await shop.ensure("ownership")
    shop.as_superuser(sql.SQL("ALTER ROLE {} RENAME TO {}").format(owner, other_name))
    shop.as_superuser(sql.SQL("CREATE ROLE {}").format(owner))
    await shop.release()
    shop.as_superuser(sql.SQL("DROP ROLE {}").format(owner))
    shop.as_superuser(sql.SQL("ALTER ROLE {} RENAME TO {}").format(other_name, owner))
    assert shop.dump() == before


async def test_an_owner_that_the_app_may_not_act_for_holds_up_no_table_of_others(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    before = shop.dump()
    await shop.ensure("ownership")
    names = sql.Identifier(shop.app.owner)
    with shop.app.postgres.connect() as administrator:
        administrator.execute(sql.SQL("REVOKE {} FROM azure_pg_admin CASCADE").format(names))
    with pytest.raises(Blocked) as refused:
        await shop.release()
    assert refused.value.code == "NotPermitted"
    assert shop.owners() == {shop.app.fabric, shop.app.other}
    by, _, statement = refused.value.remedy.removesuffix(" Then look again.").partition(": ")
    assert by == f"Run as {shop.app.postgres.administrator}"
    with shop.app.postgres.connect() as administrator:
        administrator.execute(statement.encode())
    await shop.release()
    with shop.app.postgres.connect() as administrator:
        administrator.execute(sql.SQL("GRANT {} TO azure_pg_admin WITH ADMIN OPTION").format(names))
    assert shop.dump() == before


async def test_default_privileges_that_a_former_owner_gave_the_role_are_taken_back(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    before = shop.dump()
    await shop.ensure("ownership")
    shop.app.run(
        shop.app.owner,
        "ALTER DEFAULT PRIVILEGES FOR ROLE {fabric} GRANT SELECT ON TABLES TO {reader}, PUBLIC",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {fabric} REVOKE ALL ON FUNCTIONS FROM PUBLIC, {fabric}",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {fabric} REVOKE ALL ON TYPES FROM PUBLIC",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {fabric} IN SCHEMA sales GRANT ALL ON SEQUENCES TO {reader}",
    )
    await shop.release()
    async with shop.identity() as link:
        await default_privileges.reset(link, shop.app.fabric)
    assert shop.dump() == before


@pytest.mark.parametrize("version", [14, 18])
async def test_databases_that_share_an_owner_are_prepared_at_the_same_time(version: int, new_shop: NewShop) -> None:
    """The membership that another database made since the look is no membership of somebody else."""
    shop = await new_shop(version)
    elsewhere = second_database(shop, shop.app.other)
    async with shop.identity() as link:
        before = await owners.plan_join(link, shop.app.fabric, shop.app.other)
        await elsewhere.ensure()
        assert (await elsewhere.row()).takeover
        with pytest.raises(Unavailable, match="for another database"):
            await owners.plan_join(link, shop.app.fabric, shop.app.other)
    await shop.ensure()
    row = await shop.row()
    assert row.takeover
    assert before in row.takeover.joined
