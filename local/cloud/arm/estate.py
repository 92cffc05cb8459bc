"""What the control plane of one subscription holds, and how anything in it is found and changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from local.cloud.arm.events import ResourceEvents
from local.cloud.arm.operations import LongRunning
from local.cloud.arm.servers import RESOURCE_TYPE, FlexibleServer
from local.cloud.web import Answer, Call, Refusal
from local.topology import Topology

SETTLE_SECONDS = 20.0
UNSETTLED = {"Provisioning", "Restarting", "Starting"}
SERVERS = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.DBforPostgreSQL/flexibleServers"
SERVER = SERVERS + "/{server}"


class Estate:
    """The flexible servers of the stack's subscription, by name in lower case."""

    def __init__(self, topology: Topology):
        self.topology = topology
        self.long_running = LongRunning(topology.location)
        self.events = ResourceEvents(topology)
        self.servers: dict[str, FlexibleServer] = {}

    def check_scope(self, call: Call) -> None:
        """Raise the refusal for a call without api-version, or of a subscription or group that isn't here."""
        if not call.query.get("api-version"):
            message = "The api-version query parameter (?api-version=) is required for all requests."
            raise Refusal(400, "MissingApiVersionParameter", message)
        subscription, group = call.parameters.get("subscription"), call.parameters.get("group")
        if subscription and subscription.lower() != self.topology.subscription:
            raise Refusal(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")
        if group and group.lower() != self.topology.resource_group.lower():
            raise Refusal(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")

    def find(self, call: Call) -> FlexibleServer:
        """The server that a call names. Raises 404 `ResourceNotFound`."""
        self.check_scope(call)
        server = self.servers.get(call.parameters["server"].lower())
        if server is None:
            resource = f"{RESOURCE_TYPE}/{call.parameters['server']}"
            raise not_found(resource, self.topology.resource_group)
        return server

    async def settled(self, call: Call) -> FlexibleServer:
        """The server that a call names, as soon as its PostgreSQL is up, or will not come up."""
        server = self.find(call)
        end = time.monotonic() + SETTLE_SECONDS
        while server.state in UNSETTLED and time.monotonic() < end:
            await asyncio.sleep(0.05)
        return server

    def writable(self, call: Call) -> FlexibleServer:
        """The server that a call wants to change: neither busy (409) nor stopped (400)."""
        server = self.find(call)
        self.long_running.refuse_if_busy(server.name)
        _ = server.engine
        return server

    def id_of(self, name: str) -> str:
        return SERVER.format(subscription=self.topology.subscription, group=self.topology.resource_group, server=name)

    def change(
        self, call: Call, server: FlexibleServer, work: Callable[[], object], event: str, *,
        resource: str | None = None, during: str = "Updating", after: str | None = None, seconds: float = 0.2,
    ) -> Answer:  # fmt: skip
        """Start a long-running operation that changes `server`: in state `during` meanwhile, then `after`.

        Without `after`, or when it fails, the server goes back to the state it was in; one that could not be
        created doesn't exist. Once it has succeeded, `event` (an operation's name) is raised for `resource`, by
        default the server.
        """
        self.long_running.refuse_if_busy(server.name)
        before, server.state = server.state, during

        def done(succeeded: bool) -> None:
            server.state = after if after and succeeded else before
            if succeeded:
                self.events.publish(call, event, resource or server.id)
            elif server.postgres is None:
                del self.servers[server.name]

        return self.long_running.start(call, server.name, work, done, seconds)


def not_found(resource: str, group: str) -> Refusal:
    message = f"The Resource '{resource}' under resource group '{group}' was not found."
    hint = "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    return Refusal(404, "ResourceNotFound", f"{message} {hint}")


def properties(call: Call) -> dict[str, Any]:
    """The `properties` of a request's body. Raises 400 if the body is not of that form."""
    properties = call.body.get("properties") if isinstance(call.body, dict) else None
    if not isinstance(properties, dict):
        raise Refusal(400, "InvalidRequestContent", "The body must be a JSON object with an object 'properties'.")
    return properties


def invalid(name: str, why: str) -> Refusal:
    return Refusal(400, "InvalidParameterValue", f"Invalid value given for parameter {name}: {why}.")
