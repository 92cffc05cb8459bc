"""The rich application: it loses nothing to a member of its owners, and much to another owner of its tables."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import sql

from local.application import Application, Database
from tests.component.conftest import Postgres

LOST_TO_ANOTHER_OWNER = {
    "delete rows that a cascade archives": "permission denied for table archive",
    "insert where a rule writes elsewhere": "permission denied for table price_log",
    "analyze an index on an expression": "permission denied for function normalized",
    "rebuild an index on an expression": "permission denied for function normalized",
    "add a serial column that the web uses": "permission denied for sequence carts_n_seq",
    "link a sequence to a column": "sequence must have same owner as table it is linked to",
    "move a table that a foreign key refers to": "permission denied for schema sales_archive",
    **{
        f"see and change its own rows alone, as {tenant}": "it sees 4 rows and changes 4, and 2 are its own"
        for tenant in ("north", "south")
    },
    **{
        f"be kept out of the tables of others, as {tenant}": "it reads sales.customers, on which it has no rights"
        for tenant in ("north", "south")
    },
}


@pytest.fixture(params=[14, 18, pytest.param(16, marks=pytest.mark.exhaustive)])
def postgres(request: pytest.FixtureRequest, postgres_server: Callable[[int], Postgres]) -> Postgres:
    return postgres_server(request.param)


@pytest.fixture
def application(postgres: Postgres) -> Application:
    made = Application(Database(postgres.server.address, postgres.fresh_database(), postgres.authority), rich=True)
    made.install(postgres.administrator, postgres.password)
    return made


def mirror(postgres: Postgres, application: Application, statements: str) -> None:
    """Run `statements` as the server's superuser. `{fabric}` is a new role, and `{options}` those of a membership."""
    roles = {name: sql.Identifier(application.role_of(name)) for name in ("app", "north", "south", "fabric")}
    options = sql.SQL(" WITH INHERIT TRUE, SET FALSE" if postgres.version >= 16 else "")
    tables = sql.SQL(", ").join(sql.Identifier(*table.split(".")) for table in application.tables)
    for statement in statements.split(";"):
        composed = sql.SQL(statement).format(**roles, options=options, tables=tables)
        postgres.server.execute(composed, database=application.database.name)


def test_members_of_the_owners_take_nothing_from_it(postgres: Postgres, application: Application) -> None:
    before = application.rows()
    assert application.inabilities() == {}
    mirror(
        postgres,
        application,
        """CREATE ROLE {fabric} LOGIN REPLICATION;
        GRANT {app}, {north}, {south} TO {fabric}{options};
        CREATE PUBLICATION mirror FOR TABLE {tables};
        ALTER TABLE sales.visits REPLICA IDENTITY FULL""",
    )
    assert application.inabilities() == {}
    assert application.rows() == before


def test_another_owner_takes_much_from_it(postgres: Postgres, application: Application) -> None:
    mirror(
        postgres,
        application,
        """CREATE ROLE {fabric} LOGIN REPLICATION;
        GRANT USAGE, CREATE ON SCHEMA sales TO {fabric};
        GRANT {fabric} TO {app}, {north}, {south}{options}""",
    )
    for table in application.tables:
        owner = next((name for name in ("north", "south") if f"{name}_notes" in table), "app")
        mirror(postgres, application, f"ALTER TABLE {table} OWNER TO {{fabric}}; GRANT ALL ON {table} TO {{{owner}}}")
    assert application.inabilities() == LOST_TO_ANOTHER_OWNER
