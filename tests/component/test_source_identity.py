"""The replica identity that the app sets on real PostgreSQL, and the application's statements once it is published."""

from __future__ import annotations

from collections.abc import Callable
from typing import LiteralString

import pytest
from psycopg import errors

from shared.desired.takeover import TableName
from shared.platform.errors import Blocked
from shared.source import connection, identity
from tests.component.application import IDENTITY, PASSWORD, Application, create_application
from tests.component.conftest import VERSIONS, Postgres

# Table → what its replica identity is before, and what it is to be; "": it fits.
TABLES: dict[LiteralString, tuple[str, str]] = {
    "CREATE TABLE s.fits (id int PRIMARY KEY)": ("DEFAULT", ""),
    "CREATE TABLE s.by_row (id int PRIMARY KEY); ALTER TABLE s.by_row REPLICA IDENTITY FULL": ("FULL", ""),
    "CREATE TABLE s.nothing (id int PRIMARY KEY); ALTER TABLE s.nothing REPLICA IDENTITY NOTHING": (
        "NOTHING", "DEFAULT"
    ),
    'CREATE TABLE s.indexed (id int NOT NULL); CREATE UNIQUE INDEX "In dex" ON s.indexed (id)': (
        "DEFAULT", "USING INDEX In dex"
    ),
    "CREATE TABLE s.chosen (id int NOT NULL); CREATE UNIQUE INDEX here ON s.chosen (id);"
    " ALTER TABLE s.chosen REPLICA IDENTITY USING INDEX here": ("USING INDEX here", ""),
    "CREATE TABLE s.lost (id int NOT NULL); CREATE UNIQUE INDEX gone ON s.lost (id);"
    " ALTER TABLE s.lost REPLICA IDENTITY USING INDEX gone; DROP INDEX s.gone": ("DEFAULT", "FULL"),
    "CREATE TABLE s.keyless (id int)": ("DEFAULT", "FULL"),
    "CREATE TABLE s.deferred (id int PRIMARY KEY DEFERRABLE)": ("DEFAULT", "FULL"),
    "CREATE TABLE s.generated (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED);"
    " ALTER TABLE s.generated REPLICA IDENTITY FULL": ("FULL", "DEFAULT"),
}  # fmt: skip


@pytest.fixture(params=VERSIONS)
def app(
    request: pytest.FixtureRequest, postgres_server: Callable[[int], Postgres], monkeypatch: pytest.MonkeyPatch
) -> Application:
    postgres = postgres_server(request.param)
    monkeypatch.setenv("SSL_CERT_FILE", str(postgres.authority))
    app = create_application(postgres)
    app.run(app.owner, "CREATE SCHEMA s", *TABLES)
    return app


def named(statement: str) -> TableName:
    return TableName("s", statement.split()[2].removeprefix("s."))


def identities(app: Application) -> dict[str, str]:
    rows = app.postgres.server.execute(
        "SELECT relname::text AS name, relreplident::text AS kind FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 's'::regnamespace", None, app.database,
    )  # fmt: skip
    return {row["name"]: row["kind"] for row in rows}


async def test_every_table_gets_an_identity_that_fits_and_its_own_back(app: Application) -> None:
    before = identities(app)
    names = [named(statement) for statement in TABLES]
    async with connection.connect_as(app.postgres.server.address, app.database, IDENTITY, PASSWORD) as link:
        changes = await identity.plan(link, [*names, TableName("s", "missing")])
        assert {it.before.name: (it.before.identity, it.fitting) for it in changes} == {
            named(statement).name: expected for statement, expected in TABLES.items() if expected[1]
        }
        await identity.apply(link, changes)
        assert await identity.plan(link, names) == ()
        published = ", ".join(map(str, names))
        app.postgres.server.execute(f"CREATE PUBLICATION up FOR TABLE {published}", None, app.database)
        with app.connect(app.owner) as owner:
            for name in names:
                owner.execute(f"INSERT INTO {name} (id) VALUES (1)".encode())
                owner.execute(f"UPDATE {name} SET id = 2".encode())
                owner.execute(f"DELETE FROM {name}".encode())
        app.postgres.server.execute("DROP PUBLICATION up", None, app.database)
        record = [change.before for change in changes]
        assert await identity.give_back(link, record, app.fabric) == ()
        assert await identity.give_back(link, record, app.fabric) == ()
    after = identities(app)
    assert (before.pop("lost"), after.pop("lost")) == ("i", "d")  # an index that is gone can't be chosen again
    assert after == before


async def test_without_it_updates_of_published_tables_fail(app: Application) -> None:
    app.postgres.server.execute("CREATE PUBLICATION up FOR TABLE s.nothing, s.lost, s.deferred", None, app.database)
    with app.connect(app.owner) as owner:
        for name in ("nothing", "lost", "deferred"):
            owner.execute(f"INSERT INTO s.{name} VALUES (1)".encode())
            with pytest.raises(errors.ObjectNotInPrerequisiteState, match="replica identity"):
                owner.execute(f"UPDATE s.{name} SET id = 2".encode())


async def test_an_identity_that_somebody_set_meanwhile_is_not_replaced(app: Application) -> None:
    async with connection.connect_as(app.postgres.server.address, app.database, IDENTITY, PASSWORD) as link:
        [change] = await identity.plan(link, [TableName("s", "nothing")])
        app.run(app.owner, "ALTER TABLE s.nothing REPLICA IDENTITY FULL")
        await identity.apply(link, [change])
        assert identities(app)["nothing"] == "f"
        app.run(app.owner, "DROP TABLE s.nothing")
        assert await identity.give_back(link, [change.before], app.fabric) == ()


async def test_an_owner_that_the_app_may_not_act_for_is_told_with_the_statement(
    postgres_server: Callable[[int], Postgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = postgres_server(18)
    monkeypatch.setenv("SSL_CERT_FILE", str(postgres.authority))
    app = create_application(postgres, within_reach=False)
    app.run(app.owner, "CREATE TABLE sales.n (id int PRIMARY KEY)", "ALTER TABLE sales.n REPLICA IDENTITY NOTHING")
    async with connection.connect_as(postgres.server.address, app.database, IDENTITY, PASSWORD) as link:
        changes = await identity.plan(link, [TableName("sales", "n")])
        with pytest.raises(Blocked) as refused:
            await identity.apply(link, changes)
    assert refused.value.remedy == f'Run as {app.owner}: ALTER TABLE ONLY "sales"."n" REPLICA IDENTITY DEFAULT;'
