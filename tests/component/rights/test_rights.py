"""The promises about rights on tables: the application stays as it is, and a release leaves no trace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import psycopg
import pytest
from psycopg import sql

from shared.decisions.login import password_name
from shared.desired.takeover import TableName
from shared.platform import secrets
from shared.platform.errors import Blocked
from shared.platform.settings import Rights
from shared.records import store
from shared.steps import rights
from shared.steps.holdings import Choice, Place
from shared.steps.undo import give_back_surplus
from tests.component.application import PASSWORD
from tests.component.conftest import VERSIONS
from tests.component.rights.conftest import IDENTITY, Shop

type NewShop = Callable[..., Awaitable[Shop]]


async def fabric(shop: Shop) -> psycopg.Connection[object]:
    secret = await secrets.read(password_name(shop.place.server))
    assert secret
    return shop.fabric(secret.value)


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_role_becomes_a_member_and_nothing_of_the_application_changes(
    version: int, new_shop: NewShop
) -> None:
    shop = await new_shop(version)
    before = shop.dump()
    await shop.ensure()
    changed = [line for line in shop.dump() ^ before if shop.app.fabric not in line]
    assert changed == []
    assert shop.memberships() == {shop.app.owner, shop.app.other}
    row = await shop.row()
    assert (row.rights, row.word, row.prerequisites) == ("membership", "content", ())
    with await fabric(shop) as link:
        link.execute("CREATE PUBLICATION up FOR TABLE sales.customers, sales.orders, sales.keyless")
        link.execute("ALTER TABLE sales.keyless REPLICA IDENTITY FULL")
        link.execute("DROP PUBLICATION up")
    await shop.ensure()
    await shop.release()
    assert shop.dump() == before
    assert shop.memberships() == set()


@pytest.mark.parametrize("version", [16, 18])
async def test_the_role_inherits_the_rights_of_an_owner_and_cannot_become_it(version: int, new_shop: NewShop) -> None:
    shop = await new_shop(version)
    await shop.ensure()
    with await fabric(shop) as link:
        assert link.execute("SELECT count(*) FROM sales.customers").fetchone() == (2,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            link.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(shop.app.owner)))


async def test_an_owner_that_the_app_may_not_grant_is_one_reason_with_one_statement_that_works(
    new_shop: NewShop,
) -> None:
    shop = await new_shop(18, within_reach=False)
    before = shop.dump()
    with pytest.raises(Blocked) as refused:
        await shop.ensure()
    assert refused.value.code == "OwnerNotGrantable"
    assert shop.dump() == before
    postgres = shop.app.postgres
    for statement in refused.value.remedy.removeprefix(f"Run as {postgres.administrator}: ").split(
        f" Run as {postgres.administrator}: "
    ):
        shop.run(statement, postgres.administrator, postgres.password)
    await shop.ensure()
    assert shop.memberships() == {shop.app.owner, shop.app.other}


async def test_the_tables_of_an_administrator_are_handed_over_and_the_role_does_not_become_one(
    new_shop: NewShop,
) -> None:
    shop = await new_shop(18)
    postgres = shop.app.postgres
    shop.as_superuser(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(postgres.administrator)))
    shop.run("CREATE TABLE public.bills (id int PRIMARY KEY)", postgres.administrator, postgres.password)
    with pytest.raises(Blocked) as refused:
        await shop.ensure("membership")
    assert refused.value.code == "OwnerTooStrong"
    with pytest.raises(Blocked) as refused:
        await shop.ensure()
    assert refused.value.code == "TableNotTakeable"
    assert postgres.administrator not in shop.memberships()
    statements = refused.value.remedy.removeprefix("Run: ").removesuffix(f" (as {postgres.administrator})")
    shop.run(statements, postgres.administrator, postgres.password)
    await shop.ensure()
    assert (await shop.row()).rights == "membership"
    assert f"{shop.app.database}_owner" in shop.memberships()


async def test_an_owner_that_reaches_beyond_its_application_is_not_granted(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    shop.as_superuser(sql.SQL("GRANT pg_read_all_data TO {}").format(sql.Identifier(shop.app.other)))
    with pytest.raises(Blocked) as refused:
        await shop.ensure()
    assert refused.value.code == "OwnershipWouldHarm"
    assert "'pg_read_all_data'" in refused.value.message
    assert shop.memberships() == set()


@pytest.mark.parametrize("character", ["ownership", "silent"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_where_ownership_would_harm_nothing_is_left_changed(
    character: str, version: int, new_shop: NewShop
) -> None:
    shop = await new_shop(version)
    shop.character(character)
    before = shop.dump()
    with pytest.raises(Blocked) as refused:
        await shop.ensure()
    assert refused.value.code == "OwnershipWouldHarm"
    assert shop.memberships() == set()
    assert [line for line in shop.dump() ^ before if shop.app.fabric not in line] == []


@pytest.mark.parametrize("character", ["ownership", "silent"])
async def test_ownership_is_taken_where_the_service_insists_and_nothing_is_harmed(
    character: str, new_shop: NewShop
) -> None:
    shop = await new_shop(18)
    shop.character(character)
    shop.as_superuser("DROP SCHEMA parts CASCADE", "DROP TABLE sales.orders CASCADE")
    before = shop.dump()
    await shop.ensure()
    row = await shop.row()
    assert row.takeover
    assert (row.rights, row.takeover.consent, row.takeover.joined) == ("ownership", "", ())
    assert shop.owners() == {shop.app.fabric}
    await shop.ensure()
    assert shop.owners() == {shop.app.fabric}
    await shop.release()
    assert shop.dump() == before


@pytest.mark.parametrize("version", VERSIONS)
async def test_ownership_is_taken_where_somebody_named_it_and_given_back(version: int, new_shop: NewShop) -> None:
    shop = await new_shop(version)
    shop.character("ownership")
    before = shop.dump()
    await shop.ensure("ownership")
    assert shop.owners() == {shop.app.fabric}
    row = await shop.row()
    assert row.takeover
    assert (row.rights, row.takeover.consent) == ("ownership", "tag fabric-mirror-rights")
    await shop.release()
    assert shop.dump() == before


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_server_changes_from_one_way_to_the_other_and_back(version: int, new_shop: NewShop) -> None:
    shop = await new_shop(version)
    before = shop.dump()
    await shop.ensure("ownership")
    with await fabric(shop) as link:
        link.execute("CREATE PUBLICATION up FOR TABLE sales.customers, sales.orders")
        await shop.ensure("membership")
        assert shop.owners() == {shop.app.owner, shop.app.other}
        assert shop.memberships() == {shop.app.owner, shop.app.other}
        await shop.ensure("ownership")
        assert shop.owners() == {shop.app.fabric}
        assert shop.memberships() == set()
        await shop.ensure("membership")
        assert link.execute("SELECT count(*) FROM pg_publication_tables WHERE pubname = 'up'").fetchone() == (2,)
        link.execute("DROP PUBLICATION up")
    await shop.release()
    assert shop.dump() == before


async def test_a_table_that_is_published_keeps_its_replica_identity_whatever_the_rights(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    shop.app.run(shop.app.owner, "CREATE TABLE sales.visits (page text)", "INSERT INTO sales.visits VALUES ('/')")
    before = shop.dump()
    await shop.ensure("ownership")
    with await fabric(shop) as link:
        link.execute("ALTER TABLE sales.visits REPLICA IDENTITY FULL")
        link.execute("CREATE PUBLICATION up FOR TABLE sales.visits, sales.orders")
        for way in ("membership", "ownership", "membership"):
            await shop.ensure(way)
            shop.app.run(shop.app.owner, "UPDATE sales.visits SET page = page", "DELETE FROM sales.visits WHERE false")
        only_orders = (TableName("sales", "orders"),)
        await give_back_surplus(shop.place, only_orders)
        shop.app.run(shop.app.owner, "UPDATE sales.visits SET page = page")
        link.execute("ALTER PUBLICATION up DROP TABLE sales.visits")
        await give_back_surplus(shop.place, only_orders)
        link.execute("DROP PUBLICATION up")
    assert [line for line in shop.dump() ^ before if shop.app.fabric not in line and "visits" in line] == []
    await shop.release()
    assert shop.dump() == before


async def test_what_gives_tables_back_survives_a_lost_table_store(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    before = shop.dump()
    await shop.ensure("ownership")
    await store.delete_mirror(shop.place.server, shop.place.database)
    await shop.ensure("ownership")
    await shop.release()
    assert shop.dump() == before


@pytest.mark.parametrize("way", ["membership", "ownership"])
async def test_a_replica_identity_that_does_not_fit_is_changed_and_given_back(way: Rights, new_shop: NewShop) -> None:
    shop = await new_shop(18)
    shop.app.run(
        shop.app.owner,
        "ALTER TABLE sales.orders REPLICA IDENTITY NOTHING",
        "CREATE TABLE sales.log (line text)",
    )
    before = shop.dump()
    await shop.ensure(way)
    await shop.ensure(way)
    row = await shop.row()
    assert row.takeover
    record = {it.name: it.identity for it in row.takeover.every_identity.values()}
    assert (record["orders"], record["log"]) == ("NOTHING", "DEFAULT")
    with await fabric(shop) as link:
        link.execute("CREATE PUBLICATION up FOR TABLE sales.orders, sales.log")
        shop.as_superuser("UPDATE sales.orders SET total = 3", "INSERT INTO sales.log VALUES ('a')")
        shop.as_superuser("UPDATE sales.log SET line = 'b'")
        link.execute("DROP PUBLICATION up")
    await shop.ensure("membership")
    await give_back_surplus(shop.place, [TableName("sales", "orders")])
    row = await shop.row()
    assert row.takeover
    assert {it.name for it in row.takeover.every_identity.values()} == {"orders"}
    await shop.release()
    assert shop.dump() == before


async def test_what_the_service_refuses_once_it_can_be_asked_is_left_out_and_refused_where_it_was_chosen(
    new_shop: NewShop,
) -> None:
    shop = await new_shop(18)
    shop.app.run(shop.app.owner, "CREATE TABLE sales.hosts (id inet PRIMARY KEY)")
    chosen = Choice((TableName("sales", "hosts"), TableName("sales", "orders")), "auto", "")
    with pytest.raises(Blocked) as refused:
        await rights.ensure(shop.place, chosen)
    assert refused.value.code == "TableRefused"
    assert "sales.hosts" in refused.value.message
    assert shop.memberships() == set()
    await shop.ensure()
    assert shop.memberships() == {shop.app.owner, shop.app.other}


async def test_only_administrators_read_what_is_kept(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    await shop.ensure("ownership")
    for user in (shop.app.owner, shop.app.reader, shop.app.fabric):
        shop.as_superuser(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(user), sql.Literal(PASSWORD)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege), shop.app.connect(user) as link:
            link.execute("SELECT * FROM fabric_mirror.takeovers")


async def test_a_planted_keepsake_is_not_read(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    shop.app.run(
        shop.app.owner,
        "CREATE SCHEMA fabric_mirror",
        "CREATE FUNCTION fabric_mirror.run() RETURNS jsonb LANGUAGE plpgsql AS"
        " 'BEGIN CREATE ROLE mallory; RETURN NULL; END'",
        "CREATE VIEW fabric_mirror.takeovers AS SELECT ''::text AS role, fabric_mirror.run() AS takeover",
    )
    with pytest.raises(Blocked) as refused:
        await shop.ensure()
    assert refused.value.code == "KeepsakeTaken"
    assert shop.app.postgres.server.execute("SELECT 1 FROM pg_roles WHERE rolname = 'mallory'") == []


async def test_a_former_owner_that_is_gone_holds_up_no_other_table(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    gone = sql.Identifier(f"gone_{shop.app.reader}")
    shop.as_superuser(
        sql.SQL("CREATE ROLE {}").format(gone),
        sql.SQL("GRANT {} TO azure_pg_admin WITH ADMIN OPTION").format(gone),
        sql.SQL("CREATE SCHEMA late AUTHORIZATION {}").format(gone),
        "CREATE TABLE late.one (id int PRIMARY KEY)",
        sql.SQL("ALTER TABLE late.one OWNER TO {}").format(gone),
    )
    await shop.ensure("ownership")
    shop.as_superuser(
        sql.SQL("ALTER SCHEMA late OWNER TO {}").format(sql.Identifier(shop.app.owner)),
        sql.SQL("DROP OWNED BY {}").format(gone),
        sql.SQL("DROP ROLE {}").format(gone),
    )
    with pytest.raises(Blocked) as refused:
        await shop.release()
    assert refused.value.code == "FormerOwnerGone"
    assert shop.owners() == {shop.app.owner, shop.app.other, shop.app.fabric}
    statements = refused.value.remedy.removeprefix("Run as an administrator: ").partition(" Then ")[0]
    shop.run(statements, shop.app.postgres.administrator, shop.app.postgres.password)
    await shop.release()
    assert shop.owners() == {shop.app.owner, shop.app.other, f"gone_{shop.app.reader}"}


async def test_a_membership_that_somebody_else_granted_stays(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    postgres = shop.app.postgres
    grant = sql.SQL("GRANT {} TO {} WITH INHERIT TRUE, SET FALSE GRANTED BY {}").format(
        sql.Identifier(shop.app.owner), sql.Identifier(shop.app.fabric), sql.Identifier(postgres.administrator)
    )
    shop.as_superuser(grant)
    await shop.ensure()
    await shop.release()
    assert shop.memberships() == {shop.app.owner}


async def test_an_owner_of_two_databases_is_left_with_the_second(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    second = shop.app.postgres.fresh_database()
    shop.as_superuser(
        sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(second), sql.Identifier(shop.app.owner))
    )
    with shop.app.postgres.connect(second, shop.app.owner, PASSWORD) as link:
        link.execute("CREATE SCHEMA sales")
        link.execute("CREATE TABLE sales.bills (id int PRIMARY KEY)")
    elsewhere = Shop(
        msgspec.structs.replace(shop.app, database=second), Place(shop.place.server, second, shop.place.host)
    )
    await shop.ensure()
    await elsewhere.ensure()
    await shop.release()
    assert shop.memberships() == {shop.app.owner}
    await elsewhere.release()
    assert shop.memberships() == set()


async def test_a_new_owner_is_taken_up_by_the_next_look_and_left_when_it_has_no_table(new_shop: NewShop) -> None:
    shop = await new_shop(18)
    await shop.ensure()
    reader = sql.Identifier(shop.app.reader)
    shop.as_superuser(
        sql.SQL("CREATE SCHEMA late AUTHORIZATION {}").format(reader),
        "CREATE TABLE late.one (id int PRIMARY KEY)",
        sql.SQL("ALTER TABLE late.one OWNER TO {}").format(reader),
    )
    await shop.ensure()
    assert shop.app.reader in shop.memberships()
    shop.as_superuser("DROP TABLE late.one")
    await give_back_surplus(shop.place, ())
    assert shop.app.reader not in shop.memberships()
    assert IDENTITY not in shop.memberships()
