"""The app's managed identity, whose tokens can be renewed: a service may refuse a token that has not expired yet.

azure-identity keeps a token until shortly before it expires, and offers no way to forget one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ManagedIdentityCredential


class NoToken(ServiceRequestError):
    """The identity's endpoint gave no token, so that no request was sent."""


class ManagedIdentity:
    """A user-assigned managed identity, by its client id: a credential of azure-core. Raises `NoToken`."""

    def __init__(self, client_id: str):
        self._client_id = client_id
        self._transport = AioHttpTransport()
        self.renew()

    def renew(self) -> None:
        """Forget the tokens of before: each service gets a new one."""
        self._credential = ManagedIdentityCredential(client_id=self._client_id, transport=self._transport)

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token for a scope."""
        with _as_no_token():
            token: AccessToken = await self._credential.get_token(*scopes, **options)
            return token

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """A token for a scope, with the time at which to renew it."""
        with _as_no_token():
            token: AccessTokenInfo = await self._credential.get_token_info(*scopes, options=options)
            return token

    async def close(self) -> None:
        """Close the connections to the endpoint."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


@contextmanager
def _as_no_token() -> Iterator[None]:
    """Whatever the endpoint answers instead of a token, also what azure-identity can't read."""
    try:
        yield
    except AzureError as error:
        details = error.error if isinstance(error, HttpResponseError) else None
        raise NoToken((details and details.message) or error.message.partition("\n")[0]) from error
    except (ValueError, TypeError, KeyError) as error:
        raise NoToken("the identity's endpoint gave an answer that is no token") from error
