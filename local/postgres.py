"""One real PostgreSQL server on a loopback address of its own, set up as Azure sets up a flexible server.

TLS only, on port 5432, with a certificate for its address; passwords by SCRAM; the control plane's superuser `azuresu`
comes in through a private Unix socket alone. It runs under a guard, so that it ends with the process that started it.

The administrator is what it is on Azure: no superuser, but a member of `azure_pg_admin` that may create databases and
roles, also such with REPLICATION. PostgreSQL 14 and 15 let only a superuser create a role with REPLICATION (Azure has
patched that), so on these two versions the administrators here are superusers, and what they are refused on Azure is
not refused here. Tests about missing rights belong on 16 or later.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import trustme
from psycopg import sql
from psycopg.rows import dict_row

from local import certificates
from local.postgres_installation import SUPERUSER, Installation, PostgresFailed, installation, reachable
from local.unprivileged import give

PORT = 5432
START_SECONDS = 30.0
RELOAD_SECONDS = 5.0
SOCKET_PATH_LIMIT = 80
SUPERUSERS_UNTIL = 15

# Sizes keep many servers on a small machine, and the data is thrown away, so it need not survive a power cut.
# The rest are the defaults of a flexible server.
CONFIGURATION = """\
port = {port}
listen_addresses = '{address}'
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
ssl = on
ssl_cert_file = 'server.crt'
ssl_key_file = 'server.key'
password_encryption = 'scram-sha-256'
shared_buffers = 32MB
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = replica
max_wal_senders = 10
max_replication_slots = 10
max_worker_processes = 8
shared_preload_libraries = 'pg_stat_statements'
log_min_messages = log
include_if_exists = 'azure.conf'
"""

# `md5` takes SCRAM, and MD5 from a role whose password was stored so: Azure accepts both by default.
AUTHENTICATION = f"""\
local   all                          {SUPERUSER}        trust
host    azure_sys,azure_maintenance  all        all     reject
hostssl all                          {SUPERUSER}   all  reject
hostssl all                          all        all     md5
hostssl replication                  all        all     md5
"""


class PostgresServer:
    """A server that `create` made. It is reached at `address`, port 5432, also as `fullyQualifiedDomainName`."""

    def __init__(self, folder: Path, installed: Installation, reservation: socket.socket, log: Path):
        self.folder, self.installed, self.log, self._reservation = folder, installed, log, reservation
        self.address: str = reservation.getsockname()[0]
        self.data = folder / "data"
        self.sockets = folder / "sockets"
        if len(str(self.sockets)) > SOCKET_PATH_LIMIT:
            self.sockets = Path(tempfile.mkdtemp(prefix="postgresql-"))
        self.parameters: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(
        cls, folder: Path, version: str, administrator: str, password: str, authority: trustme.CA,
        address: str | None = None, log: Path | None = None,
    ) -> PostgresServer:  # fmt: skip
        """Make a server of a major version ("14" to "18") in `folder`, which is emptied, and start it.

        `address`: a loopback address, e.g. "127.0.0.7"; by default the first free one from 127.0.0.2 on.
        `log`: the file for what it says, by default one in its folder, which goes when it is dropped.
        Raises `PostgresFailed`.
        """
        installed = installation(version)
        reservation = _reserve(address)
        folder = reachable(folder.absolute())
        shutil.rmtree(folder, ignore_errors=True)  # a stack that was killed leaves one behind
        folder.mkdir(parents=True, mode=0o711)
        give(folder)
        server = cls(folder, installed, reservation, log or folder / "postgresql.log")
        try:
            server._write(authority)
            server.start()
            server.create_administrator(administrator, password)
        except BaseException:
            server.drop()
            raise
        return server

    def start(self) -> None:
        """Start it and wait until it takes connections. Raises `PostgresFailed` with the end of its log."""
        if self.running:
            return
        command = [sys.executable, "-m", "local.unprivileged", str(self.installed.postgres), "-D", str(self.data)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "local.guard", "--signal", "SIGINT", "--", *command],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=self.installed.environment(),
                cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.running:
            with contextlib.suppress(psycopg.OperationalError), self._connect("postgres"):
                return
            time.sleep(0.02)
        self.stop()
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        raise PostgresFailed(f"PostgreSQL {self.version} at {self.address} did not start:\n{tail}")

    def stop(self) -> None:
        """Stop it (a fast shutdown: sessions are ended, nothing is lost)."""
        process, self._process = self._process, None
        if process:
            if process.stdin:
                process.stdin.close()
            process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def drop(self) -> None:
        """Stop it, delete its data and give its address back."""
        self.stop()
        self._reservation.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.sockets, ignore_errors=True)

    @property
    def version(self) -> str:
        return self.installed.version

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def set_parameters(self, parameters: Mapping[str, str | None]) -> None:
        """Set server parameters (None: back to the default). Those that need a restart wait for the next one.

        Names with a dot that no module knows are stored as custom parameters, so that SHOW tells them.
        """
        merged = {**self.parameters, **parameters}
        self.parameters = {name: value for name, value in merged.items() if value is not None}
        self._own_file("azure.conf", "".join(f"{name} = {_quoted(v)}\n" for name, v in self.parameters.items()))
        if self.running:
            self._reload()

    def create_administrator(self, name: str, password: str | None) -> None:
        """Give a login, new or not, the rights of a flexible server's administrator (see the module's first lines).

        Without a password it cannot log in.
        """
        existing = self.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
        power = "SUPERUSER" if int(self.version) <= SUPERUSERS_UNTIL else "NOSUPERUSER"
        self.execute(
            sql.SQL("{} ROLE {} LOGIN CREATEDB CREATEROLE REPLICATION {} PASSWORD {}").format(
                sql.SQL("ALTER" if existing else "CREATE"), sql.Identifier(name), sql.SQL(power), sql.Literal(password)
            )
        )
        self.execute(sql.SQL("GRANT azure_pg_admin TO {} WITH ADMIN OPTION").format(sql.Identifier(name)))

    def remove_administrator(self, name: str) -> None:
        """Take the rights and the login away; the role stays, since it may own objects."""
        role = sql.Identifier(name)
        self.execute(sql.SQL("REVOKE azure_pg_admin FROM {}").format(role))
        self.execute(
            sql.SQL("ALTER ROLE {} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD NULL").format(
                role
            )
        )

    def set_password(self, name: str, password: str) -> None:
        self.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(password)))

    def execute(
        self, statement: LiteralString | sql.Composed, arguments: tuple[Any, ...] | None = None,
        database: str = "postgres",
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Run one statement as the control plane's superuser and return its rows, by column name."""
        with self._connect(database) as connection:
            cursor = connection.execute(statement, arguments)
            return cursor.fetchall() if cursor.description else []

    def _reload(self) -> None:
        """Have the configuration read again, and wait until new sessions have it."""
        loaded = "SELECT pg_conf_load_time() AS at"
        before = self.execute(loaded)
        self.execute("SELECT pg_reload_conf()")
        end = time.monotonic() + RELOAD_SECONDS
        while self.execute(loaded) == before and time.monotonic() < end:
            time.sleep(0.005)

    def _connect(self, database: str) -> psycopg.Connection[dict[str, Any]]:
        return psycopg.connect(
            host=str(self.sockets), port=PORT, user=SUPERUSER, dbname=database, autocommit=True, row_factory=dict_row
        )

    def _write(self, authority: trustme.CA) -> None:
        subprocess.run(["cp", "-a", str(self.installed.template), str(self.data)], check=True)
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        give(self.sockets)
        certificates.issue(authority, self.data / "server.crt", self.data / "server.key", self.address)
        give(self.data / "server.crt")
        give(self.data / "server.key")
        settings = CONFIGURATION.format(port=PORT, address=self.address, sockets=self.sockets)
        self._own_file("postgresql.conf", settings)
        self._own_file("pg_hba.conf", AUTHENTICATION)

    def _own_file(self, name: str, text: str) -> None:
        file = self.data / name
        file.write_text(text)
        give(file)


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _reserve(address: str | None) -> socket.socket:
    """Take a loopback address: a UDP socket on port 5432 reserves it, also while the server is stopped."""
    for candidate in [address] if address else [f"127.0.0.{last}" for last in range(2, 255)]:
        reservation = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            reservation.bind((candidate, PORT))
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((candidate, PORT))
        except OSError:
            reservation.close()
            continue
        return reservation
    problem = (
        f"{address} is taken or not configured" if address else "every loopback address from 127.0.0.2 on is taken"
    )
    raise PostgresFailed(f"No address for PostgreSQL: at port {PORT}, {problem}. Does another PostgreSQL listen there?")
