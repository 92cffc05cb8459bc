"""psycopg connections to a server: as the app's identity, with a token, or as the fabric role, with its password.

A connection always uses verified TLS and time limits. It sets at its start what a database's owner could set for it, so
that no such setting changes what a statement means, or as which role it runs. Its search path holds only the system
catalogue, so that no object of the user can shadow the catalogue: a statement has to name the user's objects with their
schema.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime

import certifi
import psycopg
from psycopg import sql
from psycopg.rows import DictRow, dict_row

from shared.platform.azure_errors import NOT_ACCEPTED, no_token, token_refused
from shared.platform.clients import cloud, credential
from shared.platform.errors import Blocked, MirrorError, NotFound, Unavailable
from shared.platform.identity import NoToken
from shared.platform.settings import settings
from shared.source.facts import CLOSED, MAINTENANCE_DATABASE

type Connection = psycopg.AsyncConnection[DictRow]

CONNECT_SECONDS = 10
"""How long an attempt to connect may take."""
STATEMENT_SECONDS = 45
"""How long a statement, or a pause within a transaction, may take."""
LOCK_SECONDS = 3
"""How long a statement may wait for a lock. The application's own statements queue behind it for as long."""

_FIXED = {
    "search_path": "pg_catalog,pg_temp",  # where pg_temp is not named, its tables and types come first
    "role": "none",
    "local_preload_libraries": "",
    "standard_conforming_strings": "on",
    "default_tablespace": "",
    "default_transaction_isolation": r"read\ committed",
    "default_transaction_read_only": "off",  # Azure makes a server read-only whose storage is nearly full
    "default_transaction_deferrable": "off",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{STATEMENT_SECONDS}s",
    "idle_session_timeout": "0",
    "datestyle": "ISO",  # psycopg reads no times in another one
}
"""What a session sets when it starts: that comes before ALTER DATABASE … SET and ALTER ROLE … SET.

Source: "Setting Parameters" of the PostgreSQL docs. Every PostgreSQL from 14 on has these parameters.
"""
_TRANSACTION_TIMEOUT_FROM = 170000
"""The first version that limits the time of a transaction, as the parameter would refuse the start of a session before.
The session lifts the limit in its first statement."""
_OPTIONS = " ".join(f"-c {name}={value}" for name, value in _FIXED.items())
_TEMPORARY = re.compile(
    r"starting up|shutting down|recovery mode|not yet accepting|too many (?:clients|connections)|connection slots|"
    r"terminating connection",
    re.IGNORECASE,
)
_NO_DATABASE = re.compile(r'database ".*" does not exist', re.DOTALL)
_CLOSED = re.compile(r'database ".*" is not currently accepting connections', re.DOTALL)
_FULL = re.compile(r'too many connections for database ".*"', re.DOTALL)
_OPEN = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true;")
_LIMIT = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1;")
_TOKEN = re.compile(r"access token|(?:Azure AD|AAD|Entra(?: ID)?) token|token (?:has|is) ", re.IGNORECASE)
"""What PostgreSQL on Azure says of a token that it refuses."""
_UNTRUSTED = re.compile(r"certificate|does not match host name", re.IGNORECASE)


@asynccontextmanager
async def connect(host: str, database: str) -> AsyncIterator[Connection]:
    """A connection as the app's identity. Each statement is a transaction of its own, unless the caller opens one.

    Raises `Unavailable` when the server is out of reach, or refuses the app's token and a new one; `NotFound` when the
    server has no such database; `Blocked` with code `LoginRefused` when it refuses the login, `DatabaseClosed` when the
    database accepts no connections, and `CertificateNotTrusted`.
    """
    user = settings().identity.name
    try:
        connection = await _open(host, database, user, await _token(), _AS_IDENTITY)
    except Unavailable as error:
        if error.code != NOT_ACCEPTED:
            raise
        credential().renew()
        connection = await _open(host, database, user, await _token(), _AS_IDENTITY)
    async with _watched(host, connection):
        await _lift_time_limit(connection)
        yield connection


@asynccontextmanager
async def connect_as(host: str, database: str, user: str, password: str) -> AsyncIterator[Connection]:
    """A connection as another role. Raises like `connect`."""
    connection = await _open(host, database, user, password, _AS_ROLE)
    async with _watched(host, connection):
        await _lift_time_limit(connection)
        yield connection


async def _lift_time_limit(connection: Connection) -> None:
    if connection.info.server_version >= _TRANSACTION_TIMEOUT_FROM:
        await connection.execute("SET transaction_timeout = 0")


_AS_IDENTITY = "Make the app's managed identity a Microsoft Entra administrator of the server, under the name {user!r}."
_AS_ROLE = "Check that role {user!r} may log in, and that Key Vault holds its current password."


async def _open(host: str, database: str, user: str, password: str, remedy: str) -> Connection:
    try:
        return await psycopg.AsyncConnection.connect(
            host=host,
            port=5432,
            dbname=database,
            user=user,
            password=password,
            sslmode="verify-full",
            sslrootcert=os.environ.get("SSL_CERT_FILE") or certifi.where(),
            connect_timeout=CONNECT_SECONDS,
            application_name="fabric-mirror",
            client_encoding="UTF8",
            options=_OPTIONS,
            autocommit=True,
            row_factory=dict_row,
        )
    except psycopg.OperationalError as error:
        text = str(error)
    if _FULL.search(text) and await _admits_nobody(host, database, user, password):
        raise _closed(host, database, "CONNECTION LIMIT is 0", _LIMIT)
    raise _refusal(text, host, database, user, remedy)


async def _admits_nobody(host: str, database: str, user: str, password: str) -> bool:
    """Whether a database that is full has room for nobody: some set its limit to 0 to close it."""
    with suppress(MirrorError):
        connection = await _open(host, MAINTENANCE_DATABASE, user, password, "")
        async with _watched(host, connection):
            query = "SELECT FROM pg_database WHERE datname = %s AND datconnlimit = 0"
            return await (await connection.execute(query, [database])).fetchone() is not None
    return False


@asynccontextmanager
async def _watched(host: str, connection: Connection) -> AsyncIterator[None]:
    """Close the connection in the end. Raises `Unavailable` when it was lost before."""
    try:
        async with connection:
            yield
    except _ENDED as error:
        raise _lost(host, error) from error
    except psycopg.OperationalError as error:
        if connection.closed:
            raise _lost(host, error) from error
        raise


async def running_since(host: str) -> datetime:
    """When the server's PostgreSQL was started. Raises like `connect`."""
    async with connect(host, MAINTENANCE_DATABASE) as connection:
        cursor = await connection.execute("SELECT pg_postmaster_start_time() AS started_at")
        [row] = await cursor.fetchall()
        started_at: datetime = row["started_at"]
        return started_at.astimezone(UTC)


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Raise the refusals of PostgreSQL as errors of this system. `doing` begins the message: "Creating role 'x'".

    Raises `Unavailable` when a lock was not free in time, or when somebody else changes the same object at the same
    time; `Blocked` with code `NotPermitted` when the role of the connection lacks a right.
    """
    try:
        yield
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState) as error:
        raise Blocked(
            f"{doing} was refused: {error.diag.message_primary or error}",
            code="NotPermitted",
            remedy="Give the app's identity this right, or do it as a role that has the right.",
        ) from error
    except _RETRYABLE as error:
        raise Unavailable(f"{doing} has to wait: {error.diag.message_primary or error}") from error
    except psycopg.errors.InternalError_ as error:
        if "concurrently" not in str(error):
            raise
        raise Unavailable(f"{doing} has to wait: {error.diag.message_primary or error}") from error


def of_postgresql(error: psycopg.Error) -> bool:
    """Whether PostgreSQL itself refused a statement, and not a function that the statement called: a trigger, say."""
    return "function" not in (error.diag.context or "")


_ENDED = (
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
    psycopg.errors.CannotConnectNow,
    psycopg.errors.TransactionTimeout,
)
_RETRYABLE = (
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.QueryCanceled,
    psycopg.errors.ObjectInUse,
    psycopg.errors.TooManyConnections,
)


def _lost(host: str, error: psycopg.Error) -> Unavailable:
    return Unavailable(f"The connection to PostgreSQL at {host} was lost: {_line(str(error))}")


def _refusal(text: str, host: str, database: str, user: str, remedy: str) -> MirrorError:
    """The error of this system for an attempt to connect that failed.

    The function reads libpq's text, since libpq gives no code before a session exists.
    """
    if _CLOSED.search(text):
        return _closed(host, database, "ALLOW_CONNECTIONS is false", _OPEN)
    if _NO_DATABASE.search(text):
        return NotFound(f"Server {host} has no database {database!r}.", remedy="Check the database's name.")
    if "FATAL:" in text and _TOKEN.search(_line(text)):
        return token_refused("PostgreSQL", f"at server {host}: {_line(text)}")
    if "FATAL:" in text and not _TEMPORARY.search(text):
        return Blocked(
            f"Server {host} refused the login of {user!r} to database {database!r}: {_line(text)}",
            code="LoginRefused",
            remedy=remedy.format(user=user),
        )
    if _UNTRUSTED.search(text):
        return Blocked(
            f"The app does not trust the certificate of server {host}: {_line(text)}",
            code="CertificateNotTrusted",
            remedy="Let the app setting SSL_CERT_FILE name a file with the certificates of the server's authority.",
        )
    return Unavailable(f"PostgreSQL at {host} is out of reach: {_line(text)}")


def _closed(host: str, database: str, why: str, statement: sql.SQL) -> Blocked:
    return Blocked(
        f"Database {database!r} of server {host} accepts no connections ({why}).",
        code=CLOSED,
        remedy=f"Run as an administrator: {statement.format(sql.Identifier(database)).as_string()}",
    )


def _line(text: str) -> str:
    """The line of libpq's text that gives the reason: the server's own line, or else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason was given"]
    return next((line for line in lines if "FATAL:" in line), lines[-1])


async def _token() -> str:
    try:
        return (await credential().get_token(cloud().postgresql_scope)).token
    except NoToken as error:
        raise no_token("PostgreSQL", error) from error
