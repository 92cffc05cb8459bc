"""Servers: create, get, list, update, delete, start, stop, restart, and the replicas of one."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from typing import Any

from local import certificates
from local.cloud.arm import servers, tags
from local.cloud.arm.entra import EntraLogins
from local.cloud.arm.estate import SERVER, SERVERS, Estate, invalid
from local.cloud.arm.servers import RESOURCE_TYPE, FlexibleServer
from local.cloud.web import Answer, Call, Operation, Refusal
from local.postgres import PostgresServer
from local.postgres_installation import VERSIONS

PAGE = 2  # small, so that a few servers already make more than one page
UPDATE_SECONDS = 0.3
IDENTITY_SECONDS = 1.0
TOKEN = re.compile(r"[a-z0-9-]*")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{1,61})[a-z0-9]")
LOGIN = re.compile(r"(?!pg_)(?!azure_)[a-zA-Z_][a-zA-Z0-9_-]{0,62}")
RESERVED_LOGINS = {"azuresu", "admin", "administrator", "root", "guest", "public", "replication"}
CHANGEABLE = {
    "administratorLoginPassword", "storage", "backup", "highAvailability", "maintenanceWindow", "authConfig",
    "network", "availabilityZone", "replicationRole", "replica", "createMode", "dataEncryption", "cluster", "fipsMode",
}  # fmt: skip


class ServerRoutes:
    def __init__(self, estate: Estate, entra: EntraLogins):
        self.estate, self.entra = estate, entra

    @property
    def operations(self) -> list[Operation]:
        everywhere = "/subscriptions/{subscription}/providers/Microsoft.DBforPostgreSQL/flexibleServers"
        return [
            Operation("PUT", SERVER, "Servers_CreateOrUpdate", self.create_or_update),
            Operation("GET", SERVER, "Servers_Get", self.get),
            Operation("PATCH", SERVER, "Servers_Update", self.update),
            Operation("DELETE", SERVER, "Servers_Delete", self.delete),
            Operation("GET", SERVERS, "Servers_ListByResourceGroup", self.list),
            Operation("GET", everywhere, "Servers_ListBySubscription", self.list),
            Operation("POST", SERVER + "/restart", "Servers_Restart", self.restart),
            Operation("POST", SERVER + "/start", "Servers_Start", self.start),
            Operation("POST", SERVER + "/stop", "Servers_Stop", self.stop),
            Operation("GET", SERVER + "/replicas", "Replicas_ListByServer", self.replicas),
        ]

    async def get(self, call: Call) -> Answer:
        return Answer(body=self.estate.find(call).describe())

    async def list(self, call: Call) -> Answer:
        self.estate.check_scope(call)
        # A page begins after a name, so that none is left out when others come or go between two pages.
        last = call.query.get("$skiptoken", "")
        if not TOKEN.fullmatch(last):
            raise Refusal(400, "InvalidSkipToken", f"The $skiptoken {last!r} is not one that a list has given.")
        following = sorted((s for s in self.estate.servers.values() if s.name > last), key=lambda server: server.name)
        page = following[:PAGE]
        body: dict[str, Any] = {"value": _described(page)}
        if len(following) > PAGE:
            version = call.query["api-version"]
            body["nextLink"] = f"{call.url.partition('?')[0]}?api-version={version}&$skiptoken={page[-1].name}"
        return Answer(body=body)

    async def replicas(self, call: Call) -> Answer:
        source = self.estate.find(call).id.lower()
        every = self.estate.servers.values()
        replicas = [s for s in every if s.properties.get("sourceServerResourceId", "").lower() == source]
        return Answer(body={"value": _described(replicas)})

    async def create_or_update(self, call: Call) -> Answer:
        self.estate.check_scope(call)
        name = call.parameters["server"]
        if name.lower() in self.estate.servers:
            return await self.update(call)
        body = self._checked(call)
        document = servers.new_document(self.estate.id_of(name), name, body, call.claims["oid"])
        server = FlexibleServer(self.estate.id_of(name), document, self.estate.topology.azure_cdc)
        server.document["identity"] = servers.identity({}, body.get("identity") or {}, self.estate.topology.tenant)
        self.estate.servers[name] = server
        password = server.properties.pop("administratorLoginPassword")

        def create() -> None:
            server.attach(self._postgres(server, password))

        return self.estate.change(call, server, create, _event("write"), during="Provisioning", after="Ready")

    def _checked(self, call: Call) -> dict[str, Any]:
        """The body of a create request, filled up from the source for a replica. Raises 400 naming what is wrong."""
        body: dict[str, Any] = call.body if isinstance(call.body, dict) else {}
        requested = dict(body.get("properties") or {})
        name = call.parameters["server"]
        if not NAME.fullmatch(name):
            raise invalid("serverName", f"{name!r} must be 3 to 63 lower-case letters, digits and hyphens")
        if not body.get("location"):
            raise Refusal(400, "LocationRequired", "The location property is required for this definition.")
        if requested.get("createMode", "Default") == "Replica":
            requested |= self._of_source(requested.get("sourceServerResourceId", ""))
        elif requested.get("createMode", "Default") not in ("Default", "Create"):
            raise Refusal(501, "NotImplemented", f"The stand-in for arm does not implement {requested['createMode']}.")
        if requested.get("version", servers.DEFAULTS["version"]) not in VERSIONS:
            raise invalid("version", f"{requested['version']!r} is not one of {', '.join(VERSIONS)}")
        login = requested.get("administratorLogin") or ""
        if not LOGIN.fullmatch(login) or login.lower() in RESERVED_LOGINS:
            raise invalid("administratorLogin", f"{login!r} is empty, reserved or not a valid login name")
        if not requested.get("administratorLoginPassword"):
            raise invalid("administratorLoginPassword", "it is missing")
        return body | {"properties": requested, "tags": tags.checked(body.get("tags") or {})}

    def _of_source(self, resource_id: str) -> dict[str, Any]:
        source = self.estate.servers.get(resource_id.rsplit("/", 1)[-1].lower())
        if source is None or source.id.lower() != resource_id.lower():
            raise invalid("sourceServerResourceId", f"there is no server {resource_id!r}")
        return {
            "version": source.properties["version"],
            "administratorLogin": source.properties["administratorLogin"],
            "administratorLoginPassword": secrets.token_urlsafe(24),
            "replicationRole": "AsyncReplica",
            "replica": {"role": "AsyncReplica", "replicationState": "Active"},
        }

    def _postgres(self, server: FlexibleServer, password: str) -> PostgresServer:
        topology, given = self.estate.topology, server.properties
        return PostgresServer.create(
            topology.file("servers") / server.name, given["version"], given["administratorLogin"],
            password, certificates.load(topology.path),
            log=topology.log(f"postgresql-{server.name}"),
        )  # fmt: skip

    async def update(self, call: Call) -> Answer:
        server = self.estate.find(call)
        body: dict[str, Any] = call.body if isinstance(call.body, dict) else {}
        change = dict(body.get("properties") or {})
        same = {name for name, value in change.items() if value == server.properties.get(name)}
        if unknown := sorted(change.keys() - CHANGEABLE - same):
            raise Refusal(501, "NotImplemented", f"The stand-in for arm does not implement a change of {unknown[0]}.")
        new_tags = None if body.get("tags") is None else tags.checked(body["tags"])
        if change or "sku" in body:
            server = self.estate.writable(call)

        def update() -> None:
            if password := change.pop("administratorLoginPassword", None):
                server.engine.set_password(server.properties["administratorLogin"], password)
            if new_tags is not None:
                server.set_tags(new_tags)
            if body.get("identity"):
                before = server.document.get("identity", {})
                server.document["identity"] = servers.identity(before, body["identity"], self.estate.topology.tenant)
                server.show_identity()
            server.document["properties"] = servers.merged(server.properties, change)
            if body.get("sku") and body["sku"] != server.document["sku"]:
                server.document["sku"] = servers.merged(server.document["sku"], body["sku"])
                server.restart()

        seconds = IDENTITY_SECONDS if body.get("identity") else UPDATE_SECONDS
        return self.estate.change(call, server, update, _event("write"), seconds=seconds)

    async def delete(self, call: Call) -> Answer:
        self.estate.check_scope(call)
        server = self.estate.servers.get(call.parameters["server"].lower())
        if server is None:
            return Answer(204)

        def delete() -> None:
            if server.postgres:
                server.postgres.drop()
            del self.estate.servers[server.name]

        return self.estate.change(call, server, delete, _event("delete"), during="Dropping", seconds=UPDATE_SECONDS)

    async def restart(self, call: Call) -> Answer:
        server = self._started(call)
        if isinstance(call.body, dict) and call.body.get("restartWithFailover"):
            raise Refusal(501, "NotImplemented", "The stand-in for arm does not implement a restart with failover.")
        return self.estate.change(call, server, server.restart, _event("restart/action"), during="Restarting")

    async def stop(self, call: Call) -> Answer:
        server = self._started(call)
        engine = server.engine
        return self.estate.change(call, server, engine.stop, _event("stop/action"), during="Stopping", after="Stopped")

    async def start(self, call: Call) -> Answer:
        server = self.estate.find(call)
        self.estate.long_running.refuse_if_busy(server.name)
        if server.state != "Stopped":
            raise _not_ready("Start Server can only be performed on Stopped servers.", server)

        def start() -> None:
            server.start()
            self.entra.renew(server)

        return self.estate.change(call, server, start, _event("start/action"), during="Starting", after="Ready")

    def _started(self, call: Call) -> FlexibleServer:
        server = self.estate.find(call)
        self.estate.long_running.refuse_if_busy(server.name)
        if server.state != "Ready":
            raise _not_ready("Restart or Stop Server can only be performed on Started servers.", server)
        return server


def _described(servers: Iterable[FlexibleServer]) -> list[dict[str, Any]]:
    return [server.describe() for server in servers]


def _not_ready(rule: str, server: FlexibleServer) -> Refusal:
    return Refusal(
        409, "ServerIsNotReady", f"{rule} Server Name = {server.name}, Current Server State = {server.state}"
    )


def _event(kind: str) -> str:
    return f"{RESOURCE_TYPE}/{kind}"
