"""HTTP triggers: routes, access keys, and requests and responses in the form that the worker expects."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import msgspec
from aiohttp import web
from multidict import CIMultiDict, MultiMapping

from local.functions_host import paths
from local.functions_host.keys import Keys
from local.functions_host.messages import PROTOS, Message, TypedData
from local.functions_host.routes import Route, RouteInvalid, compile_route
from local.functions_host.worker import App, Function, IndexingFailed, InvocationFailed

REASON = "This function was programmatically called via the host APIs."


class Endpoint(msgspec.Struct, frozen=True):
    """Where a function listens. No methods means all of them. `level` is `anonymous`, `function` or `admin`."""

    function: Function
    route: Route
    methods: frozenset[str]
    level: str


class HttpTriggers:
    """All HTTP endpoints of an app under the route prefix."""

    def __init__(self, app: App, keys: Keys, prefix: str):
        self.app, self.keys = app, keys
        endpoints = [_endpoint(function, prefix) for function in app.triggered_by("httpTrigger")]
        self.endpoints = sorted(endpoints, key=lambda endpoint: endpoint.route.precedence)

    async def handle(self, request: web.Request) -> web.Response:
        """404 where no route has this method, 401 without the key, 500 with an empty body when the function raises."""
        endpoint, parameters = self._find(request)
        if endpoint is None:
            return web.Response(status=404)
        if not self._allowed(request, endpoint):
            return web.Response(status=401)
        value = TypedData(http=await _rpc_request(request, parameters))
        try:
            returned = await self.app.invoke(endpoint.function, value, REASON)
        except InvocationFailed:
            return web.Response(status=500)
        return _response(returned)

    def _find(self, request: web.Request) -> tuple[Endpoint | None, dict[str, str]]:
        path = paths.normal(request.raw_path.partition("?")[0])
        for endpoint in self.endpoints:
            if not endpoint.methods or request.method in endpoint.methods:
                parameters = endpoint.route.match(path)
                if parameters is not None:
                    return endpoint, parameters
        return None, {}

    def _allowed(self, request: web.Request, endpoint: Endpoint) -> bool:
        if endpoint.level == "anonymous":
            return True
        names = () if endpoint.level == "admin" else ("default", endpoint.function.name)
        return self.keys.open(request, *names)


def _endpoint(function: Function, prefix: str) -> Endpoint:
    trigger = function.trigger
    template = "/".join(part.strip("/") for part in (prefix, trigger.get("route") or function.name) if part.strip("/"))
    methods = frozenset(str(method).upper() for method in trigger.get("methods") or ())
    try:
        return Endpoint(function, compile_route(template), methods, str(trigger.get("authLevel", "function")).lower())
    except RouteInvalid as error:
        raise IndexingFailed(f"The function '{function.name}' cannot be served: {error}.") from None


async def _rpc_request(request: web.Request, parameters: dict[str, str]) -> Message:
    path, mark, query = request.raw_path.partition("?")
    return PROTOS.RpcHttp(
        method=request.method,
        url=f"{request.scheme}://{request.host}{paths.normal(path)}{mark}{query}",
        headers={name.lower(): value for name, value in _joined(request.headers).items()},
        query=paths.parameters(query),
        params=parameters,
        body=TypedData(bytes=await request.read()),
    )


def _joined(values: MultiMapping[str]) -> dict[str, str]:
    """The values by name, as the host gives them to a worker: repeated ones joined with commas, and no empty ones."""
    joined = {name: ",".join(values.getall(name)) for name in values}
    return {name: value for name, value in joined.items() if value}


def _response(returned: TypedData | None) -> web.Response:
    kind = returned.WhichOneof("data") if returned else None
    if returned is None or kind is None:
        return web.Response(status=204)
    if kind != "http":
        return web.Response(text=str(getattr(returned, kind)))
    http = returned.http
    headers = CIMultiDict(http.headers)
    for name in ("Content-Length", "Transfer-Encoding"):
        headers.pop(name, None)
    response = web.Response(status=int(http.status_code), body=http.body.bytes, headers=headers)
    for cookie in http.cookies or ():
        response.set_cookie(cookie.name, cookie.value, **_cookie_attributes(cookie))
    return response


def _cookie_attributes(cookie: Message) -> dict[str, Any]:
    expires = cookie.expires and cookie.expires.value.ToDatetime(tzinfo=UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    max_age = cookie.max_age and int(cookie.max_age.value)
    return {
        "domain": (cookie.domain and cookie.domain.value) or None,
        "path": (cookie.path and cookie.path.value) or None,
        "expires": expires,
        "max_age": max_age,
        "secure": bool(cookie.secure and cookie.secure.value),
        "httponly": bool(cookie.http_only and cookie.http_only.value),
        "samesite": cookie.same_site,
    }
