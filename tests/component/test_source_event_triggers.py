"""Event triggers on real PostgreSQL: what the app says of them, and that it runs none of a stranger's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import LiteralString

import pytest
from psycopg import errors, sql

from shared.desired.takeover import TableName
from shared.platform.errors import Blocked, Unavailable
from shared.source import connection, event_triggers, identity, role
from shared.source.connection import Connection
from shared.source.facts import EventTrigger
from tests.component.application import IDENTITY, PASSWORD, Application, create_application
from tests.component.conftest import VERSIONS, Postgres

FORBID = """
    CREATE FUNCTION public.forbid() RETURNS event_trigger LANGUAGE plpgsql {options} AS $$
    BEGIN IF tg_tag = 'ALTER TABLE' THEN RAISE EXCEPTION 'no DDL in production' {using}; END IF; END $$;
    CREATE EVENT TRIGGER forbid ON ddl_command_start EXECUTE FUNCTION public.forbid();
"""


@pytest.fixture(params=VERSIONS)
def app(
    request: pytest.FixtureRequest, postgres_server: Callable[[int], Postgres], monkeypatch: pytest.MonkeyPatch
) -> Application:
    postgres = postgres_server(request.param)
    monkeypatch.setenv("SSL_CERT_FILE", str(postgres.authority))
    app = create_application(postgres)
    app.run(app.owner, "ALTER TABLE sales.orders REPLICA IDENTITY NOTHING")
    return app


@pytest.fixture
async def link(app: Application) -> AsyncIterator[Connection]:
    address = app.postgres.server.address
    async with connection.connect_as(address, app.database, IDENTITY, PASSWORD) as link:
        yield link


async def set_identity(link: Connection) -> None:
    await identity.apply(link, await identity.plan(link, [TableName("sales", "orders")]))


@pytest.mark.parametrize(
    ("options", "using"), [("", ""), ("SET search_path = public", ""), ("", "USING ERRCODE = 'insufficient_privilege'")]
)
async def test_an_event_trigger_that_refuses_a_command_is_named_with_its_function_and_a_statement_that_helps(
    app: Application, link: Connection, options: str, using: str
) -> None:
    app.postgres.server.execute(FORBID.format(options=options, using=using), None, app.database)
    [trigger] = await event_triggers.look(link)
    assert trigger == EventTrigger(
        name="forbid", event="ddl_command_start", tags=(), function="public.forbid()", owner=trigger.owner, trusted=True
    )
    with pytest.raises(Blocked) as refused:
        async with event_triggers.guarded(link):
            await set_identity(link)
    assert refused.value.code == "EventTriggerRefused"
    assert "Event trigger 'forbid' (function public.forbid())" in refused.value.message
    assert "no DDL in production" in refused.value.message
    statement = refused.value.remedy.partition("or run: ")[2].partition(" Then")[0]
    assert statement == 'ALTER EVENT TRIGGER "forbid" DISABLE;'
    app.postgres.server.execute(statement, None, app.database)
    assert await event_triggers.look(link) == ()
    async with event_triggers.guarded(link):
        await set_identity(link)


async def test_an_event_trigger_that_raises_what_usually_passes_is_named_and_tried_again(
    app: Application, link: Connection
) -> None:
    app.postgres.server.execute(FORBID.format(options="", using="USING ERRCODE = 'object_in_use'"), None, app.database)
    with pytest.raises(Unavailable, match=r"Event trigger 'forbid' .*no DDL in production") as refused:
        async with event_triggers.guarded(link):
            await set_identity(link)
    assert refused.value.code == "EventTriggerRefused"
    assert "DISABLE;" in refused.value.remedy


async def test_the_error_of_a_missing_right_that_an_event_trigger_raises_is_no_missing_right(
    app: Application, link: Connection
) -> None:
    forbid = FORBID.replace("'ALTER TABLE'", "'GRANT'")
    using = "USING ERRCODE = 'insufficient_privilege'"
    app.postgres.server.execute(forbid.format(options="", using=using), None, app.database)
    app.postgres.server.execute('CREATE ROLE "seldom_granted"')
    with pytest.raises(Blocked, match="Event trigger 'forbid'") as refused:
        async with event_triggers.guarded(link):
            await role.ensure_database(link, "seldom_granted", ["sales"])
    assert refused.value.code == "EventTriggerRefused"


async def test_another_refusal_stays_what_it_is(app: Application, link: Connection) -> None:
    app.postgres.server.execute(FORBID.format(options="", using=""), None, app.database)
    with pytest.raises(errors.UndefinedTable):
        async with event_triggers.guarded(link):
            await link.execute("SELECT FROM sales.nowhere")
    with pytest.raises(Blocked) as refused:
        async with event_triggers.guarded(link):
            raise Blocked("Something else.", code="Else")
    assert refused.value.code == "Else"


async def test_a_function_of_somebody_who_is_no_administrator_never_runs_as_the_app(
    app: Application, link: Connection
) -> None:
    app.postgres.server.execute(
        FORBID.format(options="", using="").replace("RAISE EXCEPTION", "RAISE WARNING"), None, app.database
    )
    owner = sql.SQL("ALTER FUNCTION public.forbid() OWNER TO {}").format(sql.Identifier(app.owner))
    app.postgres.server.execute(owner, None, app.database)
    [trigger] = await event_triggers.look(link)
    assert (trigger.owner, trigger.trusted) == (app.owner, False)
    with pytest.raises(Blocked) as refused:
        async with event_triggers.guarded(link):
            pytest.fail("nothing may be sent")
    assert refused.value.code == "EventTriggerNotTrusted"
    assert repr(app.owner) in refused.value.message
    app.postgres.server.execute("ALTER FUNCTION public.forbid() OWNER TO azure_pg_admin", None, app.database)
    async with event_triggers.guarded(link):
        assert await role.plan_database(link, app.fabric, ["sales"], [], owning=False) == ()


@pytest.mark.parametrize("closed", ["ALLOW_CONNECTIONS false", "CONNECTION LIMIT 0"])
async def test_a_closed_database_says_so_with_the_statement_that_opens_it(
    closed: LiteralString, app: Application, link: Connection, postgres_server: Callable[[int], Postgres]
) -> None:
    server = app.postgres.server
    name = sql.Identifier(app.database)
    server.execute(sql.SQL("ALTER DATABASE {} ").format(name) + sql.SQL(closed))
    with pytest.raises(Blocked) as refused:
        async with connection.connect_as(server.address, app.database, IDENTITY, PASSWORD):
            pass
    assert refused.value.code == "DatabaseClosed"
    server.execute(refused.value.remedy.removeprefix("Run as an administrator: ").encode())
    async with connection.connect_as(server.address, app.database, IDENTITY, PASSWORD):
        pass
