"""Access keys: who may call what. A key comes in the header `x-functions-key` or in the query as `code`."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from aiohttp import web


class Keys:
    """The host's keys by name. `_master` opens everything."""

    def __init__(self, keys: Mapping[str, str]):
        self._keys = dict(keys)

    def open(self, request: web.Request, *names: str) -> bool:
        """Whether the request carries the master key or one of the keys `names`; a name without a key opens nothing."""
        presented = self.presented(request)
        accepted = [self._keys[name] for name in ("_master", *names) if name in self._keys]
        matches = [same(presented, key) for key in accepted]
        return any(matches)

    @staticmethod
    def presented(request: web.Request) -> str:
        """The key that a request carries: the header's before the query's. Empty: it carries none."""
        in_query = next((value for name, value in request.query.items() if name.lower() == "code"), "")
        return request.headers.get("x-functions-key") or in_query

    def refusal(self, request: web.Request, *names: str) -> web.Response | None:
        """The answer of the host's own interfaces to a request without a key for them. None: it may come in."""
        if self.open(request, *names):
            return None
        if self.presented(request):
            return web.Response(status=403)
        return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})

    def __getitem__(self, name: str) -> str:
        return self._keys[name]


def same(presented: str, key: str) -> bool:
    """Whether the two are equal, in a time that tells nothing about the key. Header values may hold any bytes."""
    return hmac.compare_digest(presented.encode(errors="surrogateescape"), key.encode())
