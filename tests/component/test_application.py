"""The application of the demo and the end-to-end tests: it must notice what it is there to notice."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from psycopg import sql

from local.application import Application, Database
from tests.component.conftest import Postgres


@pytest.fixture
def postgres(postgres_server: Callable[[int], Postgres]) -> Postgres:
    return postgres_server(18)


@pytest.fixture
def application(postgres: Postgres) -> Application:
    made = Application(Database(postgres.server.address, postgres.fresh_database(), postgres.authority))
    made.install(postgres.administrator, postgres.password)
    return made


def as_superuser(postgres: Postgres, application: Application, statement: str) -> None:
    postgres.server.execute(
        sql.SQL(statement).format(role=sql.Identifier(application.role)), database=application.database.name
    )


def write_for(application: Application, seconds: float) -> None:
    with application.writing():
        time.sleep(seconds)


def test_it_owns_its_tables_and_can_do_everything(application: Application) -> None:
    before = application.rows()
    assert application.inabilities() == {}
    assert application.rows() == before  # each was rolled back
    with application.connect() as connection:
        owners = connection.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'sales'").fetchall()
    assert owners == [(application.role,)]


def test_it_names_what_it_can_not_do_any_more(postgres: Postgres, application: Application) -> None:
    as_superuser(postgres, application, "ALTER TABLE sales.orders OWNER TO azuresu")
    as_superuser(postgres, application, "GRANT SELECT, INSERT, UPDATE, DELETE ON sales.orders TO {role}")
    lost = application.inabilities()
    assert lost["add a column"] == "must be owner of table orders"
    assert {"create an index", "use its sequences", "refer to its tables"} <= lost.keys()
    assert not {"read", "insert", "delete"} & lost.keys()


def test_a_restart_costs_it_no_write(postgres: Postgres, application: Application) -> None:
    before = application.rows()
    with application.writing():
        time.sleep(0.3)
        postgres.server.restart()
        time.sleep(0.5)
    account = application.account()
    assert (account.lost, account.refused) == (0, ())
    assert application.rows() == before + account.written
    assert account.longest_pause > 0.05


def test_it_misses_a_write_that_is_gone(postgres: Postgres, application: Application) -> None:
    write_for(application, 0.3)
    as_superuser(postgres, application, "DELETE FROM sales.orders WHERE id = (SELECT max(id) FROM sales.orders)")
    assert application.account().lost == 1


def test_it_tells_of_a_write_that_is_refused(postgres: Postgres, application: Application) -> None:
    as_superuser(postgres, application, "REVOKE INSERT ON sales.orders FROM {role}")
    write_for(application, 0.3)
    account = application.account()
    assert account.written == 0
    assert set(account.refused) == {"permission denied for table orders"}
