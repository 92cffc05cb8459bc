"""How Fabric logs in to a source database: with the connection's own credentials, if the network allows it.

A principal logs in with its token, to the role that is called as it is itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import aiohttp
import psycopg

from local.cloud import tokens
from local.cloud.fabric.control_plane import ControlPlane
from local.cloud.fabric.credentials import Credentials, Password, ServicePrincipal
from local.topology import Principal, Topology

PORT = 5432
CONNECT_SECONDS = 5
SSL_MODES = {"Encrypted": "verify-full", "Any": "verify-full", "NotEncrypted": "disable"}


class SourceProblem(Exception):
    """Fabric could not work with the source. `code` is Fabric's; `cause` says what the source itself said.

    `passing`: another try may succeed.
    """

    def __init__(self, code: str, message: str, cause: str = "", passing: bool = False):
        super().__init__(message)
        self.code, self.message, self.cause, self.passing = code, message, cause, passing


class Source:
    """Opens connections to source databases, and says in Fabric's words why one could not be opened."""

    def __init__(self, topology: Topology, control_plane: ControlPlane):
        self.topology, self.control_plane = topology, control_plane

    async def test(self, credentials: Credentials) -> None:
        """Log in and out. Raises `SourceProblem`."""
        async with self.opened(credentials):
            pass

    @contextlib.asynccontextmanager
    async def opened(
        self, credentials: Credentials, replication: bool = False
    ) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """An autocommitting connection, closed at the end; with `replication` it speaks that protocol too.

        Raises `SourceProblem`: `CreateGatewayConnectionFailed` (unreachable, refused, no such database) or
        `IncorrectCredentials`.
        """
        await self._require_way_in(credentials)
        connection = await self._connect(credentials, replication)
        try:
            yield connection
        finally:
            await connection.close()

    async def _connect(self, credentials: Credentials, replication: bool) -> psycopg.AsyncConnection[Any]:
        user, password = self._key(credentials)
        more: dict[str, Any] = {"replication": "database"} if replication else {}
        try:
            return await psycopg.AsyncConnection.connect(
                host=credentials.host, port=PORT, dbname=credentials.database,
                user=user, password=password,
                sslmode=SSL_MODES[credentials.encryption], sslrootcert=str(self.topology.authority),
                connect_timeout=CONNECT_SECONDS, application_name="Microsoft Fabric", autocommit=True, **more,
            )  # fmt: skip
        except (psycopg.Error, OSError) as error:
            raise _problem(credentials, user, str(error)) from None

    def _key(self, credentials: Credentials) -> tuple[str, str]:
        """The role to log in to, and with what. Raises `SourceProblem` where Entra ID gives no token."""
        login = credentials.login
        if isinstance(login, Password):
            return login.username, login.password
        principal = (
            self._application(login)
            if isinstance(login, ServicePrincipal)
            else self.topology.workspace_identity(credentials.workspace)
        )
        if principal is None:
            raise SourceProblem("IncorrectCredentials", f"The workspace {credentials.workspace} has no identity.")
        return principal.name, tokens.mint(self.topology, principal, tokens.POSTGRESQL)[0]

    def _application(self, login: ServicePrincipal) -> Principal:
        """Who has this client id and secret, as Entra ID finds out."""
        message = "The credentials of the service principal were not accepted."
        if login.tenant != self.topology.tenant:
            raise SourceProblem("IncorrectCredentials", message, f"AADSTS90002: Tenant '{login.tenant}' not found.")
        for principal in self.topology.principals.values():
            if principal.client_id == login.client_id:
                if principal.header == login.secret:
                    return principal
                cause = f"AADSTS7000215: Invalid client secret provided for app '{login.client_id}'."
                raise SourceProblem("IncorrectCredentials", message, cause)
        cause = f"AADSTS700016: Application with identifier '{login.client_id}' was not found in the directory."
        raise SourceProblem("IncorrectCredentials", message, cause)

    async def identity(self, host: str) -> str | None:
        """The object id of the server's system-assigned identity."""
        server = await self._ask(self.control_plane.find(host))
        return server.identity if server else None

    async def _require_way_in(self, credentials: Credentials) -> None:
        if credentials.gateway or not self.control_plane.present:
            return
        server = await self._ask(self.control_plane.find(credentials.host))
        if server is None:
            raise _unreachable(credentials, "the name belongs to no flexible server")
        if not await self._ask(self.control_plane.lets_azure_in(server)):
            raise _unreachable(credentials, "the connection attempt timed out")

    async def _ask[T](self, question: Awaitable[T]) -> T:
        try:
            return await question
        except (TimeoutError, aiohttp.ClientError) as error:
            message = "Azure could not be asked about the server."
            raise SourceProblem("UnknownError", message, str(error), passing=True) from None


def _problem(credentials: Credentials, user: str, text: str) -> SourceProblem:
    """libpq gives no SQLSTATE for a failed login, only the server's (English) words."""
    cause = text.strip().splitlines()[-1] if text.strip() else "no answer"
    if "password authentication failed" in text or "is not permitted to log in" in text:
        message = f"The credentials for {user!r} were not accepted by {credentials.host}."
        return SourceProblem("IncorrectCredentials", message, cause, passing=True)
    if f'database "{credentials.database}" does not exist' in text:
        message = f"The database {credentials.database!r} was not found on {credentials.host}."
        return SourceProblem("CreateGatewayConnectionFailed", message, cause, passing=True)
    return _unreachable(credentials, cause)


def _unreachable(credentials: Credentials, cause: str) -> SourceProblem:
    message = f"A connection to the data source {credentials.host};{credentials.database} could not be established."
    return SourceProblem("CreateGatewayConnectionFailed", message, cause, passing=True)
