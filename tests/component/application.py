"""An application's database as one finds them: several owners and schemas, and names that need quoting."""

from __future__ import annotations

import secrets
from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import sql

from tests import catalogue
from tests.component.conftest import Postgres

IDENTITY = "id-fabric-mirror"
PASSWORD = secrets.token_urlsafe(24)
LONG = "é" * 31 + "x"  # 63 bytes, the longest name there is
ODD = 'Sales "EU"; DROP TABLE x'


class Application(msgspec.Struct, frozen=True):
    """A database with two applications in it. Names are unique in the server, where roles are shared."""

    postgres: Postgres
    database: str
    owner: str
    other: str
    reader: str
    fabric: str

    def connect(self, user: str) -> psycopg.Connection[Any]:
        connection: psycopg.Connection[Any] = self.postgres.connect(self.database, user, PASSWORD)
        return connection

    def run(self, user: str, *statements: LiteralString) -> None:
        """Run statements as one of the roles; `{owner}` and so on stand for the roles' names."""
        names = {
            name: sql.Identifier(getattr(self, name)) for name in ("owner", "other", "reader", "fabric", "database")
        }
        with self.connect(user) as connection:
            for statement in statements:
                connection.execute(
                    sql.SQL(statement).format(**names, odd=sql.Identifier(ODD), long=sql.Identifier(LONG))
                )


def prepare_server(postgres: Postgres) -> None:
    """Load the extension, and create the app's identity: an administrator who is no superuser, as on Azure."""
    server = postgres.server
    if server.parameters.get("shared_preload_libraries") != "azure_cdc":
        server.set_parameters(
            {"azure.extensions": "azure_cdc", "shared_preload_libraries": "azure_cdc", "wal_level": "logical"}
        )
        server.restart()
    if not server.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (IDENTITY,)):
        server.execute(
            sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE REPLICATION PASSWORD {}").format(
                sql.Identifier(IDENTITY), sql.Literal(PASSWORD)
            )
        )
        server.execute(sql.SQL("GRANT azure_pg_admin TO {} WITH ADMIN OPTION").format(sql.Identifier(IDENTITY)))


def create_application(postgres: Postgres, within_reach: bool = True) -> Application:
    """Roles made by the server's first administrator, and a database of theirs. `within_reach`: that administrator
    has granted the roles to azure_pg_admin with ADMIN OPTION, as is needed from PostgreSQL 16 on."""
    prepare_server(postgres)
    tag = secrets.token_hex(3)
    app = Application(postgres, f"Shop {tag}", f'app"; {tag}', f"Other-{tag}", f"reader_{tag}", f"fabric_{tag}")
    with postgres.connect() as administrator:
        for name in (app.owner, app.other, app.reader):
            role = sql.Identifier(name)
            administrator.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(PASSWORD)))
            if within_reach:
                administrator.execute(sql.SQL("GRANT {} TO azure_pg_admin WITH ADMIN OPTION").format(role))
    create = sql.SQL("CREATE DATABASE {} OWNER azure_pg_admin").format(sql.Identifier(app.database))
    postgres.server.execute(create)
    for name in (app.owner, app.other):
        grant = sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(*map(sql.Identifier, (app.database, name)))
        postgres.server.execute(grant)
    app.run(
        app.owner,
        "CREATE SCHEMA sales",
        "CREATE TABLE sales.customers (id bigserial PRIMARY KEY, name text, at timestamptz DEFAULT now())",
        "CREATE TABLE sales.orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        " customer bigint REFERENCES sales.customers ON DELETE CASCADE, total numeric)",
        "CREATE TABLE sales.keyless (note text NOT NULL)",
        "CREATE UNIQUE INDEX keyless_note ON sales.keyless (note)",
        "ALTER TABLE sales.keyless REPLICA IDENTITY USING INDEX keyless_note",
        "CREATE VIEW sales.totals AS SELECT c.name, sum(o.total) AS total"
        " FROM sales.customers c JOIN sales.orders o ON o.customer = c.id GROUP BY 1",
        "GRANT USAGE ON SCHEMA sales TO {reader}",
        "GRANT SELECT ON sales.customers TO {reader} WITH GRANT OPTION",
        "GRANT SELECT ON sales.totals TO {reader}",
        "GRANT UPDATE (name) ON sales.customers TO {reader}",
        "GRANT SELECT ON sales.orders TO PUBLIC",
        "REVOKE TRUNCATE ON sales.orders FROM {owner}",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA sales GRANT SELECT ON TABLES TO {reader}",
        "INSERT INTO sales.customers (name) VALUES ('Ada'), ('Grace')",
        "INSERT INTO sales.orders (customer, total) VALUES (1, 10), (2, 20)",
    )
    app.run(app.reader, "GRANT SELECT ON sales.customers TO {other}")
    app.run(
        app.other,
        "CREATE SCHEMA {odd}",
        "CREATE TABLE {odd}.{long} (id serial PRIMARY KEY, {odd} text)",
        "INSERT INTO {odd}.{long} ({odd}) VALUES ('x')",
        "GRANT USAGE ON SCHEMA {odd} TO {owner}",
        "GRANT ALL ON {odd}.{long} TO {owner}",
    )
    return app


def dump(app: Application) -> set[str]:
    """What the server and the database say about roles, owners and privileges."""
    return catalogue.dump(lambda query: app.postgres.server.execute(query, None, app.database), app.postgres.version)
