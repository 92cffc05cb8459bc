"""Real PostgreSQL servers as the stack runs them: what may come in, and what the administrator may do."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from local import certificates
from local.postgres import PostgresServer
from local.postgres_installation import PostgresFailed
from tests.component.conftest import Postgres


@pytest.fixture(params=[14, 18])
def postgres(request: pytest.FixtureRequest, postgres_server: Callable[[int], Postgres]) -> Postgres:
    return postgres_server(request.param)


def test_the_administrator_logs_in_over_verified_tls(postgres: Postgres) -> None:
    with postgres.connect() as connection:
        row = connection.execute(
            "SELECT current_user, current_setting('server_version_num')::int / 10000, ssl, version"
            " FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ).fetchone()
    assert row is not None
    assert row[:3] == (postgres.administrator, postgres.version, True)
    assert row[3] in ("TLSv1.2", "TLSv1.3")


def test_refuses_what_is_not_tls_or_not_the_right_password(postgres: Postgres) -> None:
    refused = {
        "pg_hba.conf": {"sslmode": "disable"},
        "password authentication failed": {"password": "wrong"},
        "pg_hba.conf rejects": {"dbname": "azure_maintenance"},
        "rejects connection": {"user": "azuresu"},
    }
    for message, change in refused.items():
        with pytest.raises(psycopg.OperationalError, match=re.escape(message)):
            psycopg.connect(**{**postgres.connection(), **change})


def test_the_certificate_holds_for_its_address_alone(postgres: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        psycopg.connect(**{**postgres.connection(), "host": "elsewhere.test", "hostaddr": postgres.server.address})


def test_the_administrator_is_a_superuser_only_where_the_community_server_forces_it(postgres: Postgres) -> None:
    """On 14 and 15 only a superuser may create a role with REPLICATION, where Azure lets the administrator do it."""
    with postgres.connect() as connection:
        row = connection.execute(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, pg_has_role('azure_pg_admin', 'USAGE')"
            " FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row == (postgres.version <= 15, True, True, True, True)


def test_the_administrator_may_make_the_fabric_role(postgres: Postgres) -> None:
    database = postgres.fresh_database()
    role = f"fabric_{database}"
    with postgres.connect(database) as connection:
        connection.execute(f"CREATE ROLE {role} CREATEDB CREATEROLE LOGIN REPLICATION PASSWORD 'fabric'")
        connection.execute(f"GRANT azure_cdc_admin TO {role}")
        connection.execute(f"GRANT CREATE ON DATABASE {database} TO {role}")
    with postgres.connect(database, role, "fabric") as connection:
        assert connection.execute("SELECT pg_has_role('azure_cdc_admin', 'USAGE')").fetchone() == (True,)
        connection.execute("CREATE SCHEMA own")


def test_the_administrator_may_not_take_what_is_not_theirs(postgres_server: Callable[[int], Postgres]) -> None:
    postgres = postgres_server(18)
    database = postgres.fresh_database()
    owner = f"owner_{database}"
    postgres.server.execute(f"CREATE ROLE {owner}")
    postgres.server.execute(f"CREATE SCHEMA app AUTHORIZATION {owner} CREATE TABLE t (id int)", database=database)
    with postgres.connect(database) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"ALTER TABLE app.t OWNER TO {postgres.administrator}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"GRANT {owner} TO {postgres.administrator}")


def test_says_how_a_role_authenticates(postgres: Postgres) -> None:
    with postgres.connect() as connection:
        kinds = dict(connection.execute("SELECT * FROM azure_roles_authtype()").fetchall())
    assert kinds[postgres.administrator] == "SCRAM-256"
    assert kinds["azure_pg_admin"] == "NOLOGIN"


def test_static_parameters_wait_for_the_restart(postgres: Postgres) -> None:
    server = postgres.server
    pending = "SELECT name FROM pg_settings WHERE pending_restart"
    server.set_parameters({"max_worker_processes": "14", "work_mem": "8192", "azure.mirror_databases": "it's\\one"})
    assert server.execute(pending) == [{"name": "max_worker_processes"}]
    assert server.execute("SHOW work_mem") == [{"work_mem": "8MB"}]
    assert server.execute("SHOW azure.mirror_databases") == [{"azure.mirror_databases": "it's\\one"}]
    server.restart()
    assert server.execute(pending) == []
    assert server.execute("SHOW max_worker_processes") == [{"max_worker_processes": "14"}]
    server.set_parameters({"max_worker_processes": None, "work_mem": None, "azure.mirror_databases": None})
    server.restart()
    assert server.execute("SHOW max_worker_processes") == [{"max_worker_processes": "8"}]


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    certificates.create(tmp_path)
    server = PostgresServer.create(tmp_path / "s", "18", "admin1", "secret", certificates.load(tmp_path))
    try:
        server.stop()
        server.set_parameters({"shared_preload_libraries": "no_such_module"})
        with pytest.raises(PostgresFailed, match="no_such_module"):
            server.start()
        server.set_parameters({"shared_preload_libraries": None})
        server.start()
        assert server.running
    finally:
        server.drop()
    assert not server.folder.exists()


def test_refuses_a_version_or_an_address_it_does_not_have(tmp_path: Path, postgres: Postgres) -> None:
    certificates.create(tmp_path)
    authority = certificates.load(tmp_path)
    with pytest.raises(PostgresFailed, match=r"'13' is not available.*expected one of 14, 15, 16, 17, 18"):
        PostgresServer.create(tmp_path / "a", "13", "admin1", "secret", authority)
    with pytest.raises(PostgresFailed, match=f"{postgres.server.address} is taken"):
        PostgresServer.create(tmp_path / "b", "18", "admin1", "secret", authority, postgres.server.address)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's account can reach, so that nothing has to be put elsewhere."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_ends_with_the_process_that_started_it(open_folder: Path) -> None:
    certificates.create(open_folder)
    program = (
        "import sys, time; from pathlib import Path; from local import certificates; "
        "from local.postgres import PostgresServer; folder = Path(sys.argv[1]); "
        "server = PostgresServer.create(folder / 's', '18', 'admin1', 'secret', certificates.load(folder)); "
        "print((server.data / 'postmaster.pid').read_text().split()[0], flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(open_folder)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        postmaster = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while time.monotonic() < end and alive(postmaster):
        time.sleep(0.05)
    assert not alive(postmaster)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
