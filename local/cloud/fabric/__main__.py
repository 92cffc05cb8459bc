"""The Fabric stand-in as a part of the stack.

Besides what every stand-in has (see `local.cloud.web`), its control answers

    GET/PUT /.control/quota              {"calls": 200, "seconds": 60}; GET also counts the calls of each caller
    GET/PUT /.control/behaviour          see `protocol.Behaviour`
    PUT     /.control/capacities/{id}    {"state": "Active" | "Inactive"}
    PUT     /.control/workspaces/{id}    {"displayName": "…"}: a workspace on a capacity of its own; its id
    POST    /.control/gateways           {"displayName": "…"}: a virtual network data gateway
    POST    /.control/seed               {"mirrors": 1000, "tables": 3}: mirrors without a source; answers their ids
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web as http

from local import topology
from local.cloud import web
from local.cloud.fabric.connections import Connections, NewGateway
from local.cloud.fabric.control_plane import ControlPlane
from local.cloud.fabric.items import Items, Seed
from local.cloud.fabric.long_running import LongRunning
from local.cloud.fabric.protocol import AUDIENCES, Behaviour, error_body
from local.cloud.fabric.quota import Limit, Quota
from local.cloud.fabric.source import Source
from local.cloud.fabric.workspaces import CapacityState, NamedWorkspace, Workspaces
from local.cloud.web import Operation, Service
from local.topology import Topology


class Fabric:
    """The service, put together."""

    def __init__(self, stack: Topology):
        self.stack, self.behaviour, self.quota = stack, Behaviour(), Quota()
        self.control_plane = ControlPlane(stack)
        self.source = Source(stack, self.control_plane)
        self.long_running = LongRunning(self.behaviour)
        self.connections = Connections(self.behaviour, self.long_running, self.source)
        self.workspaces = Workspaces(stack, self.behaviour)
        self.items = Items(self.behaviour, self.long_running, self.workspaces, self.connections, self.source)
        parts = (self.workspaces, self.connections, self.items, self.long_running)
        operations = [
            Operation(o.method, o.path, o.name, self.quota.guard(o.handler)) for part in parts for o in part.operations
        ]
        self.service = Service("fabric", stack, operations, AUDIENCES, error_body)
        self.long_running.service = self.service
        self.service.controls |= {
            ("GET", "quota"): self._get_quota,
            ("PUT", "quota"): self._set_quota,
            ("GET", "behaviour"): self._get_behaviour,
            ("PUT", "behaviour"): self._set_behaviour,
            ("PUT", "capacities"): self._set_capacity,
            ("PUT", "workspaces"): self._add_workspace,
            ("POST", "gateways"): self._add_gateway,
            ("POST", "seed"): self._seed,
        }

    @contextlib.asynccontextmanager
    async def background(self) -> AsyncIterator[None]:
        """What runs as long as the service does."""
        async with self.control_plane.opened():
            yield
            await self.items.close()

    async def _get_quota(self, _: http.Request) -> http.Response:
        return http.json_response(self.quota.report())

    async def _set_quota(self, request: http.Request) -> http.Response:
        self.quota.limit = await _body(request, Limit)
        return http.json_response(self.quota.report())

    async def _get_behaviour(self, _: http.Request) -> http.Response:
        return http.json_response(msgspec.to_builtins(self.behaviour))

    async def _set_behaviour(self, request: http.Request) -> http.Response:
        behaviour = await _body(request, Behaviour)
        unknown = set(behaviour.long_running) - {operation.name for operation in self.service.operations}
        if unknown:
            raise _bad_request(f"fabric has no operations {sorted(unknown)}")
        for name in Behaviour.__struct_fields__:
            setattr(self.behaviour, name, getattr(behaviour, name))
        return http.json_response(msgspec.to_builtins(self.behaviour))

    async def _set_capacity(self, request: http.Request) -> http.Response:
        capacity = request.path.rpartition("/")[2].lower()
        if capacity not in self.workspaces.capacities:
            raise _bad_request(f"there is no capacity {capacity!r}; known: {sorted(self.workspaces.capacities)}")
        change = await _body(request, CapacityState)
        body = self.workspaces.set_capacity(capacity, change)
        if change.state == "Inactive":
            await self.items.pause(self.workspaces.on_capacity(capacity))
        return http.json_response(body)

    async def _add_workspace(self, request: http.Request) -> http.Response:
        workspace = request.path.rpartition("/")[2].lower()
        if workspace in self.workspaces.workspaces:
            raise _bad_request(f"there is a workspace {workspace} already")
        capacity = self.workspaces.add(workspace, await _body(request, NamedWorkspace))
        return http.json_response({"capacityId": capacity}, status=201)

    async def _add_gateway(self, request: http.Request) -> http.Response:
        gateway = await _body(request, NewGateway)
        return http.json_response(self.connections.add_gateway(gateway, self.stack.capacity), status=201)

    async def _seed(self, request: http.Request) -> http.Response:
        made = self.items.seed(self.stack.workspace, await _body(request, Seed))
        return http.json_response(made, status=201)


async def _body[T](request: http.Request, form: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.read(), type=form)
    except (msgspec.ValidationError, msgspec.DecodeError) as reason:
        raise _bad_request(f"not what this control takes: {reason}") from None


def _bad_request(message: str) -> Any:
    return http.HTTPBadRequest(text=msgspec.json.encode({"error": message}).decode(), content_type="application/json")


async def main() -> None:
    fabric = Fabric(topology.load())
    await web.serve(fabric.service, fabric.background)


if __name__ == "__main__":
    web.run(main())
