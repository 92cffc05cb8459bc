"""Real parts for the component tests: PostgreSQL servers, one for each version and session."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import sql

from local import certificates
from local.postgres import PostgresServer
from tests import real_parts

ADMINISTRATOR = "pgadmin"
VERSIONS = [14, 18, *(pytest.param(version, marks=pytest.mark.exhaustive) for version in (15, 16, 17))]
"""The oldest and the newest PostgreSQL; `make test-all` adds those between."""


class Postgres(msgspec.Struct, frozen=True):
    """A running server and its administrator's credentials. `authority` is the root certificate to trust (PEM)."""

    server: PostgresServer
    administrator: str
    password: str
    authority: Path

    @property
    def version(self) -> int:
        return int(self.server.version)

    def connection(
        self, database: str = "postgres", user: str | None = None, password: str | None = None
    ) -> dict[str, Any]:
        """The arguments of `psycopg.connect` for a login over verified TLS, by default the administrator's."""
        return {
            "host": self.server.address, "port": 5432, "dbname": database,
            "user": user or self.administrator, "password": password or self.password,
            "sslmode": "verify-full", "sslrootcert": str(self.authority),
        }  # fmt: skip

    def connect(self, database: str = "postgres", user: str | None = None, password: str | None = None) -> Any:
        """An autocommitting connection (`psycopg.Connection`)."""
        return psycopg.connect(**self.connection(database, user, password), autocommit=True)

    def fresh_database(self, owner: str = "azure_pg_admin") -> str:
        """The name of a new, empty database; as one made through the control plane, `azure_pg_admin` owns it."""
        name = f"db_{secrets.token_hex(4)}"
        self.server.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*map(sql.Identifier, (name, owner))))
        return name


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Postgres]]:
    """`postgres_server(18)`: the session's server of that version, started on first use."""
    folder = tmp_path_factory.mktemp("postgres")
    certificates.create(folder)
    running: dict[int, Postgres] = {}

    def get(version: int) -> Postgres:
        if version not in running:
            password = secrets.token_urlsafe(16)
            server = PostgresServer.create(
                folder / str(version), str(version), ADMINISTRATOR, password, certificates.load(folder)
            )
            real_parts.used("PostgreSQL", str(version))
            running[version] = Postgres(server, ADMINISTRATOR, password, folder / "authority.pem")
        return running[version]

    yield get
    for postgres in running.values():
        postgres.server.drop()
