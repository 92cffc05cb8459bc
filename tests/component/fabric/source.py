"""A real PostgreSQL server as a source of mirrors, prepared as the tutorial says, and mirrors of its databases."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from local.cloud import tokens
from local.postgres import PostgresServer
from local.topology import Principal, Topology
from tests.component.fabric.callers import Caller, connection_body, definition, eventually

ROLE, PASSWORD = "fabric_user", "fabric's password"
ADMINISTRATOR, ADMINISTRATORS_PASSWORD = "pgadmin", "the administrator's password"
PARAMETERS = {"azure.extensions": "azure_cdc", "shared_preload_libraries": "azure_cdc", "wal_level": "logical"}

ORDERS = """
    CREATE TABLE orders (id int PRIMARY KEY, note text);
    INSERT INTO orders SELECT n, 'note ' || n FROM generate_series(1, 100) n;
"""


class Source(msgspec.Struct, frozen=True):
    """A running server with the role that Fabric uses."""

    server: PostgresServer
    topology: Topology

    def connect(self, database: str, user: str = ADMINISTRATOR, password: str = ADMINISTRATORS_PASSWORD) -> Any:
        """An autocommitting connection."""
        return psycopg.connect(
            host=self.server.address, dbname=database, user=user, password=password, autocommit=True,
            sslmode="verify-full", sslrootcert=str(self.topology.authority),
        )  # fmt: skip

    def prepare(self) -> None:
        """Parameters and role, as the tutorial has them."""
        self.server.set_parameters(PARAMETERS)
        self.server.restart()
        with self.connect("postgres") as administrator:
            administrator.execute(
                f"CREATE ROLE {ROLE} CREATEDB CREATEROLE LOGIN REPLICATION PASSWORD '{PASSWORD.replace("'", "''")}'"
            )
            administrator.execute(f"GRANT azure_cdc_admin TO {ROLE}")
            administrator.execute(f"GRANT {ROLE} TO {ADMINISTRATOR}")

    def database(self, tables: str, owner: str = ROLE) -> str:
        """A new database with `tables` (SQL), which `owner` creates; the role may create in it."""
        name = f"db_{secrets.token_hex(4)}"
        with self.connect("postgres") as administrator:
            administrator.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            administrator.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO fabric_user").format(sql.Identifier(name)))
        with self.connect(name) as administrator:
            administrator.execute("GRANT ALL ON SCHEMA public TO fabric_user")
            administrator.execute(f"SET ROLE {owner}")
            administrator.execute(tables)
        return name

    def map_to(self, principal: Principal) -> None:
        """A role that the principal logs in as, with its token of now. What it is called, the principal is."""
        self.server.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(principal.name)))
        create = "SELECT pgaadauth_create_principal_with_oid(%s, %s, 'service', false, false)"
        self.server.execute(create, (principal.name, principal.object_id))
        token, _ = tokens.mint(self.topology, principal, tokens.POSTGRESQL)
        self.server.execute("SELECT azure_entra.renew(%s)", (Jsonb({principal.object_id: token}),))

    def slots(self, database: str) -> list[dict[str, Any]]:
        return self.server.execute(
            "SELECT slot_name, active, wal_status FROM pg_replication_slots WHERE database = %s", (database,)
        )

    def publications(self, database: str) -> list[str]:
        return [row["pubname"] for row in self.server.execute("SELECT pubname FROM pg_publication", database=database)]


class Mirror:
    """A mirrored database of the topology's workspace, as its owner sees it."""

    def __init__(self, caller: Caller, source: Source, database: str, tables: list[tuple[str, str]] | None = None):
        self.caller, self.source, self.database = caller, source, database
        self.connection = self._made(
            "/connections",
            connection_body(f"c-{secrets.token_hex(4)}", source.server.address, database, ROLE, PASSWORD),
        )
        items = f"/workspaces/{source.topology.workspace}/mirroredDatabases"
        body = {"displayName": f"m-{secrets.token_hex(4)}", "definition": definition(self.connection, database, tables)}
        self.path = f"{items}/{self._made(items, body)}"
        self.until("Initialized")

    def _made(self, path: str, body: Any) -> str:
        answer = self.caller.call("POST", path, body)
        assert answer.status_code == 201, answer.text
        made: str = answer.json()["id"]
        return made

    def post(self, action: str, body: Any = None) -> Any:
        answer = self.caller.call("POST", f"{self.path}/{action}", body)
        assert answer.status_code == 200, answer.text
        return answer.json() if answer.text else None

    def start(self) -> None:
        self.post("startMirroring")

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.post("getMirroringStatus")
        return status

    def until(self, status: str, error: bool = False) -> dict[str, Any]:
        """The status answer, once it has this status, with or without an error."""
        return eventually(self.status, lambda s: s["status"] == status and ("error" in s) == error)

    def tables(self) -> dict[str, dict[str, Any]]:
        """The table statuses by table name."""
        return {row["sourceTableName"]: row for row in self.post("getTablesMirroringStatus")["data"]}

    def rows(self, table: str) -> int:
        row = self.tables().get(table, {})
        rows: int = row["metrics"]["processedRows"] if row.get("status") == "Replicating" else -1
        return rows
