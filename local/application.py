"""An application that lives in a database: its own role, tables that it owns, and writes that never stop.

It is what mirroring must not disturb. It keeps count of every write that the server acknowledged, reconnects when the
server restarts, and can say at any time whether it may still do all that it could do in the beginning. A rich one has
besides what depends on who owns its tables (`local.application_rights`).
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import msgspec
import psycopg
from psycopg import sql

from local import application_rights as rights

TABLES = ("sales.customers", "sales.products", "sales.orders", "sales.visits")
PAUSE_SECONDS = 0.02
RETRY_SECONDS = 0.05
CONNECT_SECONDS = 3

SCHEMA_SQL: LiteralString = """
    CREATE SCHEMA sales;
    CREATE TABLE sales.customers (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL,
        email text NOT NULL UNIQUE,
        since timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE sales.products (
        id serial PRIMARY KEY,
        name varchar(80) NOT NULL,
        price numeric(10, 2) NOT NULL CHECK (price > 0)
    );
    CREATE TABLE sales.orders (
        id bigserial PRIMARY KEY,
        reference uuid NOT NULL UNIQUE,
        customer_id bigint NOT NULL REFERENCES sales.customers,
        product_id integer NOT NULL REFERENCES sales.products,
        quantity smallint NOT NULL DEFAULT 1,
        ordered_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX ON sales.orders (customer_id);
    CREATE TABLE sales.visits (page text NOT NULL, visitor uuid NOT NULL, at timestamptz NOT NULL DEFAULT now());
    CREATE VIEW sales.revenue AS
        SELECT p.name, sum(o.quantity * p.price) AS revenue
        FROM sales.orders o JOIN sales.products p ON p.id = o.product_id GROUP BY p.name;
    INSERT INTO sales.customers (name, email)
        SELECT 'Customer ' || n, n || '@example.com' FROM generate_series(1, 1000) n;
    INSERT INTO sales.products (name, price)
        SELECT 'Product ' || n, n * 0.95 FROM generate_series(1, 50) n;
    INSERT INTO sales.orders (reference, customer_id, product_id, quantity)
        SELECT gen_random_uuid(), 1 + n % 1000, 1 + n % 50, 1 + n % 5 FROM generate_series(1, 3000) n;
    INSERT INTO sales.visits (page, visitor)
        SELECT '/product/' || n % 50, gen_random_uuid() FROM generate_series(1, 2000) n;
"""
ORDER: LiteralString = """
    INSERT INTO sales.orders (reference, customer_id, product_id)
    VALUES (%s, 1 + floor(random() * 1000), 1 + floor(random() * 50))
    ON CONFLICT (reference) DO NOTHING
"""
ABILITIES: dict[str, LiteralString] = {
    "read": "SELECT FROM sales.customers, sales.visits LIMIT 1; SELECT FROM sales.orders; SELECT FROM sales.revenue",
    "insert": "INSERT INTO sales.customers (name, email) VALUES ('New', 'new@example.com')",
    "update": "UPDATE sales.products SET price = price + 1 WHERE id = 1",
    "update a table without a key": "UPDATE sales.visits SET page = '/' WHERE page = '/product/1'",
    "delete": "DELETE FROM sales.orders WHERE id = 1; DELETE FROM sales.visits WHERE page = '/product/2'",
    "truncate": "TRUNCATE sales.visits",
    "use its sequences": "SELECT nextval('sales.orders_id_seq'), setval('sales.products_id_seq', 1000)",
    "add a column": "ALTER TABLE sales.orders ADD COLUMN note text",
    "create an index": "CREATE INDEX ON sales.orders (ordered_at)",
    "create a trigger": """
        CREATE FUNCTION sales.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.since := now(); RETURN NEW; END';
        CREATE TRIGGER stamp BEFORE UPDATE ON sales.customers FOR EACH ROW EXECUTE FUNCTION sales.stamp()""",
    "refer to its tables": "CREATE TABLE sales.returns (order_id bigint PRIMARY KEY REFERENCES sales.orders)",
    "replace a view": """
        CREATE OR REPLACE VIEW sales.revenue AS SELECT name, sum(price) AS revenue FROM sales.products GROUP BY name""",
    "drop a table": "DROP TABLE sales.visits",
}


class Database(msgspec.Struct, frozen=True):
    """Where an application's database is. `authority`: the root certificate to trust (PEM)."""

    host: str
    name: str
    authority: Path

    def connect(self, user: str, password: str) -> psycopg.Connection[Any]:
        """An autocommitting connection over verified TLS."""
        return psycopg.connect(
            host=self.host, port=5432, dbname=self.name, user=user, password=password, autocommit=True,
            sslmode="verify-full", sslrootcert=str(self.authority), connect_timeout=CONNECT_SECONDS,
        )  # fmt: skip


class Account(msgspec.Struct, frozen=True):
    """What the application did. `lost`: acknowledged references that are missing; `refused`: errors of writes."""

    written: int
    lost: int
    refused: tuple[str, ...]
    longest_pause: float


class Application:
    """One application. Its role `<database>_app` owns schema `sales` and all in it, but a table for each tenant.

    `rich`: it has tenants, and what depends on who owns its tables. Another owner of these tables would harm it.
    """

    def __init__(self, database: Database, rich: bool = False):
        self.database, self.rich = database, rich
        self.role = self.role_of(rights.OWNER)
        self.password = secrets.token_urlsafe(24)
        self._stop = threading.Event()
        self._acknowledged: set[str] = set()
        self._refused: list[str] = []
        self._longest_pause = 0.0

    def install(self, administrator: str, password: str) -> None:
        """Create its roles, as a database administrator would, and then the tables, as the application itself.

        From PostgreSQL 16 on, an administrator may administer only roles that it was given with ADMIN OPTION: to let
        every administrator do that, the one who creates a role grants it to `azure_pg_admin`.
        """
        others = rights.OTHERS_SQL if self.rich else ()
        with self.database.connect(administrator, password) as connection:
            for name in (rights.OWNER, *others):
                role, verifier = sql.Identifier(self.role_of(name)), self._verifier(connection, self.role_of(name))
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(verifier)))
                connection.execute(sql.SQL("GRANT {} TO azure_pg_admin WITH ADMIN OPTION").format(role))
            database, owner = sql.Identifier(self.database.name), sql.Identifier(self.role)
            connection.execute(sql.SQL("GRANT CONNECT, CREATE ON DATABASE {} TO {}").format(database, owner))
        with self.connect() as connection:
            connection.execute(SCHEMA_SQL)
        if self.rich:
            self._install_rights()

    def _install_rights(self) -> None:
        names = {name: self.role_of(name) for name in (rights.OWNER, *rights.OTHERS_SQL)}
        roles = {name: sql.Identifier(role) for name, role in names.items()}
        literals = {f"{name}_name": sql.Literal(role) for name, role in names.items()}
        for name, statements in {rights.OWNER: rights.OWNERS_SQL, **rights.OTHERS_SQL}.items():
            with self.connect(name) as connection:
                connection.execute(sql.SQL(statements).format(**roles, **literals))

    def role_of(self, name: str) -> str:
        """The role of its owner (`app`), or another role of a rich one."""
        return f"{self.database.name}_{name}"

    def connect(self, name: str = rights.OWNER) -> psycopg.Connection[Any]:
        """A connection as its owner (`app`), or in another role of a rich one."""
        return self.database.connect(self.role_of(name), self.password)

    @property
    def tables(self) -> tuple[str, ...]:
        """Its tables that can be mirrored."""
        return (*TABLES, *rights.TABLES) if self.rich else TABLES

    @property
    def abilities(self) -> dict[str, tuple[str, LiteralString]]:
        """Everything that it can do: as whom, and with which statements."""
        owners = ABILITIES | (rights.OWNERS_ABILITIES if self.rich else {})
        abilities = {ability: (rights.OWNER, statements) for ability, statements in owners.items()}
        for tenant in rights.TENANTS if self.rich else ():
            for ability, statements in rights.TENANTS_ABILITIES.items():
                abilities[f"{ability}, as {tenant}"] = (tenant, statements)
        return abilities

    def server_version(self) -> str:
        """The version of its server, e.g. `18.4`."""
        with self.connect() as connection:
            return connection.info.parameter_status("server_version") or ""

    def rows(self) -> int:
        """How many rows its tables have now."""
        tables = [sql.Identifier(*table.split(".")) for table in self.tables]
        counts = [sql.SQL("(SELECT count(*) FROM {})").format(table) for table in tables]
        with self.connect() as connection:
            rows = connection.execute(sql.SQL("SELECT {}").format(sql.SQL(" + ").join(counts))).fetchone()
        assert rows is not None
        return int(rows[0])

    def inabilities(self) -> dict[str, str]:
        """What the application can't do any more, and what PostgreSQL said. It tries each and rolls it back."""
        problems: dict[str, str] = {}
        for ability, (name, statements) in self.abilities.items():
            try:
                with self.connect(name) as connection, connection.transaction(force_rollback=True):
                    connection.execute(statements)
            except psycopg.Error as error:
                problems[ability] = str(error).partition("\n")[0]
        return problems

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Place orders, one after the other, for as long as this is entered."""
        writer = threading.Thread(target=self._write, name=self.role, daemon=True)
        writer.start()
        try:
            yield
        finally:
            self._stop.set()
            writer.join()

    def account(self) -> Account:
        """What became of the writes. Call it when the application has stopped writing."""
        with self.connect() as connection:
            there = {str(row[0]) for row in connection.execute("SELECT reference FROM sales.orders")}
        written, lost = len(self._acknowledged), len(self._acknowledged - there)
        return Account(written, lost, tuple(self._refused), self._longest_pause)

    def _write(self) -> None:
        """A write that a lost connection cut off is tried again: its reference tells whether it was made."""
        connection: psycopg.Connection[Any] | None = None
        while not self._stop.is_set():
            reference, begun = str(uuid4()), time.monotonic()
            while True:
                try:
                    connection = connection or self.connect()
                    connection.execute(ORDER, [reference])
                    self._acknowledged.add(reference)
                    break
                except psycopg.OperationalError:
                    if connection:
                        connection.close()
                    connection = None
                    time.sleep(RETRY_SECONDS)
                except psycopg.Error as error:
                    self._refused.append(str(error).partition("\n")[0])
                    break
            self._longest_pause = max(self._longest_pause, time.monotonic() - begun)
            self._stop.wait(PAUSE_SECONDS)
        if connection:
            connection.close()

    def _verifier(self, connection: psycopg.Connection[Any], role: str) -> str:
        """The password as the server keeps it, so that no log of statements ever shows it."""
        encrypted = connection.pgconn.encrypt_password(self.password.encode(), role.encode(), b"scram-sha-256")
        return encrypted.decode()
