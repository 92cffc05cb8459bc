"""The stand-in for Azure Resource Manager: the control plane of real PostgreSQL servers, in one resource group.

It speaks the API of flexible servers, the tags API, and as much of subscriptions as a client needs to find its way.
Any api-version is taken and answered in the form of 2026-10-01. High availability, replicas and clusters are only
what the documents say: each server is one PostgreSQL. Its own control adds:

    GET    /.control/servers      name, address, version, state, restarts and folder of each server
    POST   /.control/seed         {"server": "a", "names": ["b", "c"]}: servers that are only documents, like `a` at its
                                  address
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web as http

from local import topology
from local.cloud import tokens, web
from local.cloud.arm import tags
from local.cloud.arm.authorization import Authorization
from local.cloud.arm.child_routes import ChildRoutes
from local.cloud.arm.entra import EntraLogins
from local.cloud.arm.estate import SERVER, Estate, properties
from local.cloud.arm.server_routes import ServerRoutes
from local.cloud.arm.servers import FlexibleServer
from local.cloud.web import Answer, Call, Operation, Refusal, Service
from local.topology import Topology

TAGS = SERVER + "/providers/Microsoft.Resources/tags/default"


class ResourceManager:
    """What belongs to no resource provider: subscriptions, groups, tags. `service` is the whole stand-in."""

    def __init__(self, stack: Topology):
        self.stack, self.estate, self.entra = stack, Estate(stack), EntraLogins(stack)
        own = [
            Operation("GET", "/subscriptions", "Subscriptions_List", self.subscriptions),
            Operation("GET", "/subscriptions/{subscription}", "Subscriptions_Get", self.subscription),
            Operation("GET", "/subscriptions/{subscription}/resourceGroups", "ResourceGroups_List", self.groups),
            Operation("GET", "/subscriptions/{subscription}/resourceGroups/{group}", "ResourceGroups_Get", self.group),
            Operation("GET", TAGS, "Tags_GetAtScope", self.get_tags),
            Operation("PUT", TAGS, "Tags_CreateOrUpdateAtScope", self.put_tags),
            Operation("PATCH", TAGS, "Tags_UpdateAtScope", self.patch_tags),
            Operation("DELETE", TAGS, "Tags_DeleteAtScope", self.delete_tags),
        ]
        servers, children = ServerRoutes(self.estate, self.entra), ChildRoutes(self.estate, self.entra)
        operations = [*own, *self.estate.long_running.operations, *servers.operations, *children.operations]
        operations += Authorization().operations
        challenge = f'Bearer authorization_uri="https://login.microsoftonline.com/{stack.tenant}"'
        audiences = (tokens.ARM, tokens.ARM_CLASSIC)
        self.service = Service("arm", stack, operations, audiences, _error, challenge)
        self.service.controls["GET", "servers"] = self.list_servers
        self.service.controls["POST", "seed"] = self.seed
        self.estate.long_running.fails = self.service.fails_next

    async def subscriptions(self, call: Call) -> Answer:
        self.estate.check_scope(call)
        return Answer(body={"value": [self._subscription()]})

    async def subscription(self, call: Call) -> Answer:
        self.estate.check_scope(call)
        return Answer(body=self._subscription())

    def _subscription(self) -> dict[str, str]:
        return {
            "id": f"/subscriptions/{self.stack.subscription}",
            "subscriptionId": self.stack.subscription,
            "tenantId": self.stack.tenant,
            "displayName": "Local stack",
            "state": "Enabled",
        }

    async def groups(self, call: Call) -> Answer:
        self.estate.check_scope(call)
        return Answer(body={"value": [self._group()]})

    async def group(self, call: Call) -> Answer:
        self.estate.check_scope(call)
        return Answer(body=self._group())

    def _group(self) -> dict[str, object]:
        return {
            "id": f"/subscriptions/{self.stack.subscription}/resourceGroups/{self.stack.resource_group}",
            "name": self.stack.resource_group,
            "type": "Microsoft.Resources/resourceGroups",
            "location": self.stack.location,
            "properties": {"provisioningState": "Succeeded"},
        }

    async def get_tags(self, call: Call) -> Answer:
        return self._tags(self.estate.find(call))

    async def put_tags(self, call: Call) -> Answer:
        return self._set_tags(call, "Replace", properties(call).get("tags"))

    async def patch_tags(self, call: Call) -> Answer:
        change = properties(call).get("tags")
        return self._set_tags(call, call.body.get("operation", ""), change)

    async def delete_tags(self, call: Call) -> Answer:
        return self._set_tags(call, "Replace", {})

    def _set_tags(self, call: Call, operation: str, change: object) -> Answer:
        """Tags are ARM's own: they can be changed at once, also while the server is busy."""
        server = self.estate.find(call)
        server.set_tags(tags.patched(server.document["tags"], operation, tags.checked(change or {})))
        kind = "delete" if call.method == "DELETE" else "write"
        self.estate.events.publish(call, f"Microsoft.Resources/tags/{kind}", server.id)
        return self._tags(server)

    def _tags(self, server: FlexibleServer) -> Answer:
        body = {
            "id": f"{server.id}/providers/Microsoft.Resources/tags/default",
            "name": "default",
            "type": "Microsoft.Resources/tags",
            "properties": {"tags": server.document["tags"]},
        }
        return Answer(body=body)

    async def list_servers(self, _: http.Request) -> http.Response:
        return http.json_response(
            [
                {
                    "name": server.name,
                    "address": server.properties.get("fullyQualifiedDomainName"),
                    "version": server.properties["version"],
                    "state": server.state,
                    "restarts": server.restarts,
                    "folder": str(server.postgres.folder) if server.postgres else None,
                }
                for server in self.estate.servers.values()
            ]
        )

    async def seed(self, request: http.Request) -> http.Response:
        body = await request.json()
        document = self.estate.servers[body["server"]].document
        for name in body["names"]:
            id = self.estate.id_of(name)
            self.estate.servers[name] = FlexibleServer(id, document | {"id": id, "name": name})
        return http.json_response(body["names"], status=201)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything that goes on besides the calls; in the end the servers are stopped and their data is gone."""
        async with self.estate.events.sending(), self.entra.renewing(self.estate.servers.values):
            try:
                yield
            finally:
                postgres = [server.postgres for server in self.estate.servers.values() if server.postgres]
                await asyncio.gather(*(asyncio.to_thread(each.drop) for each in postgres))


def _error(refusal: Refusal) -> dict[str, object]:
    return {"error": {"code": refusal.code, "message": refusal.message}}


async def main() -> None:
    """Serve until asked to stop."""
    manager = ResourceManager(topology.load())
    await web.serve(manager.service, manager.running)


if __name__ == "__main__":
    web.run(main())
