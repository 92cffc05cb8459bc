"""Taking tables and giving them back, on real PostgreSQL, by an administrator who is no superuser."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import psycopg
import pytest
from psycopg import sql

from shared.desired.takeover import TableName, Takeover
from shared.platform.errors import Blocked, Unavailable
from shared.source import connection, ownership, role, tables
from shared.source import identity as identity_of_tables
from shared.source.connection import Connection
from tests.component.application import IDENTITY, LONG, ODD, PASSWORD, Application, create_application, dump
from tests.component.conftest import VERSIONS, Postgres

SCHEMAS = ("sales", ODD)
FABRIC_PASSWORD = "f" * 40


@pytest.fixture
def app(
    request: pytest.FixtureRequest, postgres_server: Callable[[int], Postgres], monkeypatch: pytest.MonkeyPatch
) -> Application:
    postgres = postgres_server(request.param)
    monkeypatch.setenv("SSL_CERT_FILE", str(postgres.authority))
    return create_application(postgres)


@asynccontextmanager
async def identity(app: Application, database: str = "") -> AsyncIterator[Connection]:
    async with connection.connect_as(
        app.postgres.server.address, database or app.database, IDENTITY, PASSWORD
    ) as found:
        yield found


@asynccontextmanager
async def creator(app: Application) -> AsyncIterator[Connection]:
    """Who may create a role with REPLICATION: the identity, but on the community's 14 and 15 only a superuser."""
    user, password = (IDENTITY, PASSWORD) if app.postgres.version >= 16 else (
        app.postgres.administrator, app.postgres.password
    )  # fmt: skip
    async with connection.connect_as(app.postgres.server.address, app.database, user, password) as found:
        yield found


async def prepare(app: Application) -> Takeover:
    async with creator(app) as found:
        await role.ensure_role(found, app.fabric, FABRIC_PASSWORD)
    async with identity(app) as found:
        assert await role.ensure_database(found, app.fabric, SCHEMAS) == ()
        report = await tables.report(found, "fabric_user", 1000)
        takeover = await ownership.plan_take(found, app.fabric, (*report.eligible, TableName(ODD, LONG)))
        assert takeover.not_takeable == ()
        kept = msgspec.json.decode(msgspec.json.encode(takeover), type=Takeover)
        await ownership.apply_take(found, kept)
    return kept


async def release(app: Application, takeover: Takeover) -> None:
    async with identity(app) as found:
        await identity_of_tables.give_back(found, takeover.every_identity.values(), "")
        await ownership.give_back(found, takeover)
        await role.release_database(found, app.fabric)
    async with creator(app) as found:
        await role.drop_role(found, app.fabric)


def members(app: Application) -> set[str]:
    """The members of the fabric role, apart from the app's own identities."""
    rows = app.postgres.server.execute(
        "SELECT pg_get_userbyid(member) AS name FROM pg_auth_members WHERE pg_get_userbyid(roleid) = %s", (app.fabric,)
    )
    return {row["name"] for row in rows} - {IDENTITY, app.postgres.administrator}


def owners(app: Application) -> dict[str, str]:
    rows = app.postgres.server.execute(
        "SELECT relname, relowner::regrole::text AS owner FROM pg_class WHERE relkind = 'r' AND"
        " relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'azure_cdc')",
        None,
        app.database,
    )
    return {row["relname"]: row["owner"] for row in rows}


@pytest.mark.parametrize("app", VERSIONS, indirect=True)
async def test_after_taking_and_giving_back_everything_is_as_before(app: Application) -> None:
    before = dump(app)
    takeover = await prepare(app)
    assert {former.table.name for former in takeover.tables} == {"customers", "orders", "keyless", LONG}
    assert set(owners(app).values()) == {app.fabric}
    app.run(
        app.owner,
        "ALTER TABLE sales.customers REPLICA IDENTITY FULL",
        "ALTER TABLE sales.keyless REPLICA IDENTITY FULL",
    )
    await release(app, takeover)
    assert sorted(dump(app) ^ before) == []


@pytest.mark.parametrize("app", VERSIONS, indirect=True)
async def test_the_application_does_all_that_it_did_before(app: Application) -> None:
    await prepare(app)
    app.run(
        app.owner,
        "INSERT INTO sales.customers (name) VALUES ('Edsger')",
        "INSERT INTO sales.orders (customer, total) VALUES (3, 30)",
        "UPDATE sales.customers SET name = 'Edsger D.' WHERE id = 3",
        "SELECT nextval('sales.customers_id_seq'), setval('sales.orders_id_seq', 99)",
        "SELECT * FROM sales.totals",
        "ALTER TABLE sales.customers ADD COLUMN email text",
        "CREATE INDEX ON sales.customers (email)",
        "CREATE TABLE sales.notes (customer bigint REFERENCES sales.customers)",
        "GRANT SELECT ON sales.keyless TO {reader}",
        "INSERT INTO {odd}.{long} ({odd}) VALUES ('y')",
        "DELETE FROM sales.customers WHERE id = 3",
        "TRUNCATE sales.keyless",
        "DROP TABLE sales.keyless",
    )
    app.run(app.other, "ALTER TABLE {odd}.{long} ADD COLUMN more int", "INSERT INTO {odd}.{long} (more) VALUES (1)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.run(app.owner, "TRUNCATE sales.orders")
    app.run(app.reader, "SELECT * FROM sales.customers", "SELECT * FROM sales.totals", "SELECT * FROM sales.notes")


@pytest.mark.parametrize("app", VERSIONS, indirect=True)
async def test_the_fabric_role_can_publish_what_was_taken_and_says_what_it_lacks(app: Application) -> None:
    wanted = [TableName("sales", "customers"), TableName("sales", "keyless"), TableName(ODD, LONG)]
    async with creator(app) as found:
        await role.ensure_role(found, app.fabric, FABRIC_PASSWORD)
    async with connection.connect_as(app.postgres.server.address, app.database, app.fabric, FABRIC_PASSWORD) as found:
        lacking = await role.verify(found, SCHEMAS, wanted)
        assert f"CREATE ON DATABASE {app.database}" in lacking
        assert {"USAGE ON SCHEMA sales", "RIGHTS OF THE OWNER OF TABLE sales.keyless"} < set(lacking)
    await prepare(app)
    async with connection.connect_as(app.postgres.server.address, app.database, app.fabric, FABRIC_PASSWORD) as found:
        assert await role.verify(found, SCHEMAS, wanted) == ()
        await found.execute("CREATE PUBLICATION mirror FOR TABLE sales.customers, sales.keyless")
        await found.execute("DROP PUBLICATION mirror")


@pytest.mark.parametrize("app", [18], indirect=True)
async def test_on_16_and_later_a_former_owner_cannot_become_the_fabric_role(app: Application) -> None:
    await prepare(app)
    with app.connect(app.owner) as found, pytest.raises(psycopg.errors.InsufficientPrivilege):
        found.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(app.fabric)))


@pytest.mark.parametrize("app", VERSIONS, indirect=True)
async def test_taking_and_giving_back_can_be_repeated_and_cut(app: Application) -> None:
    before = dump(app)
    takeover = await prepare(app)
    async with identity(app) as found:
        half = Takeover(app.fabric, takeover.tables[:2])
        await ownership.give_back(found, half, still_members={app.owner})
        again = await ownership.plan_take(found, app.fabric, [former.name for former in takeover.tables])
        assert {former.name for former in again.tables} == {former.name for former in half.tables}
        taken = dump(app)
        await ownership.apply_take(found, again)
        await ownership.apply_take(found, again)
        kept = again.after(takeover)
        assert {former.name for former in kept.tables} == {former.name for former in takeover.tables}
        assert dump(app) != taken
    await release(app, kept)
    async with identity(app) as found:
        await ownership.give_back(found, Takeover(IDENTITY, kept.tables))
    assert sorted(dump(app) ^ before) == []


@pytest.mark.parametrize("app", VERSIONS, indirect=True)
async def test_tables_renamed_moved_dropped_or_regranted_meanwhile(app: Application) -> None:
    takeover = await prepare(app)
    app.run(
        app.owner,
        "ALTER TABLE sales.customers RENAME TO clients",
        "DROP TABLE sales.keyless",
        "GRANT INSERT ON sales.clients TO {other}",
    )
    app.postgres.server.execute(
        sql.SQL("REVOKE CREATE ON SCHEMA sales FROM {}").format(sql.Identifier(app.owner)),
        None,
        app.database,
    )
    await release(app, takeover)
    assert app.owner in owners(app)["clients"].replace('""', '"')
    (row,) = app.postgres.server.execute(
        "SELECT has_table_privilege(%s, 'sales.clients', 'INSERT') AS kept", (app.other,), app.database
    )
    assert row["kept"]
    with app.connect(app.owner) as found:
        assert found.execute("SELECT has_schema_privilege('sales', 'CREATE')").fetchone() == (False,)


def copy_of(app: Application) -> Application:
    """Another database of the same server with the same owners."""
    second = msgspec.structs.replace(app, database=f"{app.database} 2")
    app.postgres.server.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER azure_pg_admin").format(
            sql.Identifier(second.database), sql.Identifier(app.database)
        )
    )
    return second


@pytest.mark.parametrize("app", VERSIONS, indirect=True)
async def test_databases_of_one_server_that_share_owners_can_be_taken_at_the_same_time(app: Application) -> None:
    second = copy_of(app)
    before = dump(app), dump(second)
    async with creator(app) as found:
        await role.ensure_role(found, app.fabric, FABRIC_PASSWORD)
    taken = await asyncio.gather(prepare(app), prepare(second))
    async with identity(app) as found:
        await ownership.give_back(found, taken[0], still_members={former.owner for former in taken[1].tables})
        await role.release_database(found, app.fabric)
    await release(second, taken[1])
    assert sorted(dump(app) ^ before[0]) == []
    assert sorted(dump(second) ^ before[1]) == []


@pytest.mark.parametrize("app", VERSIONS, indirect=True)
async def test_former_owners_leave_the_fabric_role_with_their_last_table_and_not_before(app: Application) -> None:
    second = copy_of(app)
    first_taken = await prepare(app)
    second_taken = await prepare(second)
    async with identity(app) as found:
        await ownership.give_back(found, first_taken, still_members={former.owner for former in second_taken.tables})
    second.run(app.owner, "ALTER TABLE sales.customers ADD COLUMN still_mine text")
    assert members(app) == {app.owner, app.other}
    async with identity(second) as found:
        await ownership.give_back(found, second_taken)
    assert members(app) == set()


async def test_the_record_of_many_tables_stays_small(
    postgres_server: Callable[[int], Postgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = postgres_server(18)
    monkeypatch.setenv("SSL_CERT_FILE", str(postgres.authority))
    tables = 100
    app = create_application(postgres)
    app.run(
        app.owner,
        f"DO $$BEGIN FOR i IN 1..{tables} LOOP"
        " EXECUTE format('CREATE TABLE sales.t%s (id bigserial PRIMARY KEY)', i); END LOOP; END$$",
    )
    async with creator(app) as found:
        await role.ensure_role(found, app.fabric, FABRIC_PASSWORD)
        await role.ensure_database(found, app.fabric, ["sales"])
        names = [TableName("sales", f"t{number}") for number in range(1, tables + 1)]
        takeover = await ownership.plan_take(found, app.fabric, names)
        assert len(msgspec.json.encode(takeover)) < 500 * tables
        await ownership.apply_take(found, takeover)
        assert (await ownership.plan_take(found, app.fabric, names)).tables == ()
        await ownership.give_back(found, takeover)


@pytest.mark.parametrize("app", VERSIONS, indirect=True)
async def test_a_busy_table_delays_the_taking_and_not_the_application(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "PAUSES", (0.1, 0.1))
    async with creator(app) as found:
        await role.ensure_role(found, app.fabric, FABRIC_PASSWORD)
    async with identity(app) as found:
        await role.ensure_database(found, app.fabric, SCHEMAS)
        takeover = await ownership.plan_take(found, app.fabric, [TableName("sales", "customers")])
        with app.connect(app.owner) as busy:
            busy.execute("SET application_name = 'billing'")
            with busy.transaction():
                busy.execute("SELECT * FROM sales.customers")
                started = time.monotonic()
                work = asyncio.create_task(ownership.apply_take(found, takeover))
                await asyncio.sleep(0.2)
                longest = await asyncio.to_thread(_longest_read, app)
                pid = busy.info.backend_pid
                holder = rf"session {pid} of 'billing' \(role '{app.owner}', idle in transaction\), since 20"
                with pytest.raises(Unavailable, match=rf"sales\.customers has to wait: .*held by {holder}") as locked:
                    await work
                assert locked.value.code == "TableLocked"
                assert f"pg_terminate_backend({pid})" in locked.value.remedy
            assert longest < 1
            assert time.monotonic() - started < 5
        await ownership.apply_take(found, takeover)
    assert owners(app)["customers"] == app.fabric


def _longest_read(app: Application) -> float:
    longest = 0.0
    with app.connect(app.reader) as found:
        for _ in range(10):
            started = time.monotonic()
            found.execute("SELECT count(*) FROM sales.customers")
            longest = max(longest, time.monotonic() - started)
            time.sleep(0.05)
    return longest


async def test_names_the_statement_for_a_table_that_it_may_not_take(
    postgres_server: Callable[[int], Postgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = postgres_server(18)
    monkeypatch.setenv("SSL_CERT_FILE", str(postgres.authority))
    app = create_application(postgres, within_reach=False)
    async with identity(app) as found:
        await role.ensure_role(found, app.fabric, FABRIC_PASSWORD)
        lacking = await role.ensure_database(found, app.fabric, ["sales"])
        assert [missing.subject for missing in lacking] == ["USAGE ON SCHEMA sales", "CREATE ON SCHEMA sales"]
        assert app.owner in lacking[0].run_as
        takeover = await ownership.plan_take(found, app.fabric, [TableName("sales", "orders")])
        assert takeover.tables == ()
        (refused,) = takeover.not_takeable
        assert (refused.schema, refused.table, refused.owner) == ("sales", "orders", app.owner)
        assert refused.run_as == (postgres.administrator,)
        with postgres.connect() as administrator:
            administrator.execute(refused.statement)
        for missing in lacking:
            with app.connect(app.owner) as owner:
                owner.execute(missing.statement)
        assert await role.ensure_database(found, app.fabric, ["sales"]) == ()
        before = dump(app)
        takeover = await ownership.plan_take(found, app.fabric, [TableName("sales", "orders")])
        await ownership.apply_take(found, takeover)
        assert owners(app)["orders"] == app.fabric
        await ownership.give_back(found, takeover)
    assert sorted(dump(app) ^ before) == []


@pytest.mark.parametrize("app", [18], indirect=True)
async def test_tables_of_the_servers_own_administrator_are_taken_once_it_hands_them_over(app: Application) -> None:
    with app.postgres.connect(app.database) as administrator:
        administrator.execute("CREATE TABLE public.settings (id serial PRIMARY KEY)")
        async with creator(app) as found:
            await role.ensure_role(found, app.fabric, FABRIC_PASSWORD)
            assert await role.ensure_database(found, app.fabric, ["public"]) == ()
            takeover = await ownership.plan_take(found, app.fabric, [TableName("public", "settings")])
            (refused,) = takeover.not_takeable
            assert f'REASSIGN OWNED BY "{app.postgres.administrator}" TO "{app.database}_owner";' in refused.statement
            assert refused.run_as == (app.postgres.administrator,)
            administrator.execute(refused.statement)
            before = dump(app)
            takeover = await ownership.plan_take(found, app.fabric, [TableName("public", "settings")])
            await ownership.apply_take(found, takeover)
            administrator.execute("ALTER TABLE public.settings ADD COLUMN more text")
            administrator.execute("INSERT INTO public.settings (more) VALUES ('x')")
            await ownership.give_back(found, takeover)
    assert sorted(dump(app) ^ before) == []


@pytest.mark.parametrize("app", VERSIONS, indirect=True)
async def test_tables_of_the_identity_itself_are_taken_and_given_back(app: Application) -> None:
    async with creator(app) as found:
        await role.ensure_role(found, app.fabric, FABRIC_PASSWORD)
    async with identity(app) as found:
        await found.execute("CREATE SCHEMA own")
        await found.execute("CREATE TABLE own.things (id serial PRIMARY KEY)")
        assert await role.ensure_database(found, app.fabric, ["own"]) == ()
        before = dump(app)
        takeover = await ownership.plan_take(found, app.fabric, [TableName("own", "things")])
        await ownership.apply_take(found, takeover)
        assert owners(app)["things"] == app.fabric
        await found.execute("INSERT INTO own.things DEFAULT VALUES")
        await ownership.give_back(found, takeover)
    assert sorted(dump(app) ^ before) == []


@pytest.mark.parametrize("app", [18], indirect=True)
async def test_an_owner_that_is_gone_is_named(app: Application) -> None:
    takeover = await prepare(app)
    (former, *_) = takeover.tables
    gone = msgspec.structs.replace(former, table=msgspec.structs.replace(former.table, owner="nobody_left"))
    async with identity(app) as found:
        with pytest.raises(Blocked, match="nobody_left") as caught:
            await ownership.give_back(found, Takeover(app.fabric, (gone,)))
    assert caught.value.code == "FormerOwnerGone"
    await release(app, takeover)
