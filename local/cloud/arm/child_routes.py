"""What lies below a server: its parameters, databases, firewall rules and Entra administrators."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import uuid
from collections.abc import Callable
from typing import Any

from psycopg import sql

from local.cloud.arm.entra import LABELS, EntraLogins
from local.cloud.arm.estate import SERVER, Estate, invalid, properties
from local.cloud.arm.servers import RESOURCE_TYPE, FlexibleServer, child
from local.cloud.web import Answer, Call, Operation, Refusal
from local.postgres_installation import SUPERUSER

DATABASES = "SELECT datname, pg_encoding_to_char(encoding) AS charset FROM pg_database WHERE NOT datistemplate"
SYSTEM_DATABASES = {"postgres", "azure_sys", "azure_maintenance", "template0", "template1"}
COLLATION = "en_US.utf8"  # what Azure gives a database; the community's binaries bring no locales, so it is C here
RULE_NAME = re.compile(r"[a-zA-Z0-9_-]{1,80}")


class ChildRoutes:
    def __init__(self, estate: Estate, entra: EntraLogins):
        self.estate, self.entra = estate, entra

    @property
    def operations(self) -> list[Operation]:
        parameters, parameter = SERVER + "/configurations", SERVER + "/configurations/{child}"
        databases, database = SERVER + "/databases", SERVER + "/databases/{child}"
        rules, rule = SERVER + "/firewallRules", SERVER + "/firewallRules/{child}"
        administrators, administrator = SERVER + "/administrators", SERVER + "/administrators/{child}"
        return [
            Operation("GET", parameters, "Configurations_ListByServer", self.list_parameters),
            Operation("GET", parameter, "Configurations_Get", self.get_parameter),
            Operation("PATCH", parameter, "Configurations_Update", self.set_parameter),
            Operation("PUT", parameter, "Configurations_Put", self.set_parameter),
            Operation("GET", databases, "Databases_ListByServer", self.list_databases),
            Operation("GET", database, "Databases_Get", self.get_database),
            Operation("PUT", database, "Databases_Create", self.create_database),
            Operation("DELETE", database, "Databases_Delete", self.delete_database),
            Operation("GET", rules, "FirewallRules_ListByServer", self.list_rules),
            Operation("GET", rule, "FirewallRules_Get", self.get_rule),
            Operation("PUT", rule, "FirewallRules_CreateOrUpdate", self.set_rule),
            Operation("DELETE", rule, "FirewallRules_Delete", self.delete_rule),
            Operation("GET", administrators, "AdministratorsMicrosoftEntra_ListByServer", self.list_administrators),
            Operation("GET", administrator, "AdministratorsMicrosoftEntra_Get", self.get_administrator),
            Operation("PUT", administrator, "AdministratorsMicrosoftEntra_CreateOrUpdate", self.add_administrator),
            Operation("DELETE", administrator, "AdministratorsMicrosoftEntra_Delete", self.remove_administrator),
        ]

    async def list_parameters(self, call: Call) -> Answer:
        server = await self.estate.settled(call)
        return Answer(body={"value": await asyncio.to_thread(server.configurations)})

    async def get_parameter(self, call: Call) -> Answer:
        server = await self.estate.settled(call)
        parameters = await asyncio.to_thread(server.configurations)
        return Answer(body=_one(server, "configurations", parameters, call.parameters["child"]))

    async def set_parameter(self, call: Call) -> Answer:
        server = self.estate.writable(call)
        parameters = {name.lower(): parameter for name, parameter in server.catalogue.items()}
        parameter = parameters.get(call.parameters["child"].lower())
        if parameter is None:
            raise _missing(server, "configurations", call.parameters["child"])
        change = properties(call)
        value = None if change.get("source") == "system-default" else change.get("value")
        if value is None and change.get("source") != "system-default":
            raise invalid(parameter.name, "the value is missing")
        why = parameter.problem(parameter.default_value if value is None else str(value))
        if why:
            raise invalid(parameter.name, why)
        text = None if value is None else str(value)
        return self._change(
            call, server, lambda: server.set_parameter(parameter, text), "configurations", parameter.name
        )

    async def list_databases(self, call: Call) -> Answer:
        server = await self.estate.settled(call)
        return Answer(body={"value": await self._databases(server)})

    async def get_database(self, call: Call) -> Answer:
        server = await self.estate.settled(call)
        return Answer(body=_one(server, "databases", await self._databases(server), call.parameters["child"]))

    async def _databases(self, server: FlexibleServer) -> list[dict[str, Any]]:
        rows = await asyncio.to_thread(server.engine.execute, DATABASES)
        return [
            child(server, "databases", row["datname"], {"charset": row["charset"], "collation": COLLATION})
            for row in rows
        ]

    async def create_database(self, call: Call) -> Answer:
        server, name = self.estate.writable(call), call.parameters["child"]
        change = (call.body or {}).get("properties") or {}
        if change.get("charset", "UTF8").upper() != "UTF8" or change.get("collation", COLLATION) != COLLATION:
            message = f"The stand-in for arm makes databases with charset UTF8 and collation {COLLATION} only."
            raise Refusal(501, "NotImplemented", message)
        if any(existing["name"] == name for existing in await self._databases(server)):
            return Answer(200, _one(server, "databases", await self._databases(server), name))
        statement = sql.SQL("CREATE DATABASE {} OWNER azure_pg_admin").format(sql.Identifier(name))
        return self._change(call, server, lambda: server.engine.execute(statement), "databases", name)

    async def delete_database(self, call: Call) -> Answer:
        server, name = self.estate.writable(call), call.parameters["child"]
        if name in SYSTEM_DATABASES:
            raise invalid("databaseName", f"the system database {name!r} cannot be deleted")
        if not any(existing["name"] == name for existing in await self._databases(server)):
            return Answer(204)
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        return self._change(call, server, lambda: server.engine.execute(statement), "databases", name, "delete")

    async def list_rules(self, call: Call) -> Answer:
        return Answer(body={"value": self._rules(self.estate.find(call))})

    async def get_rule(self, call: Call) -> Answer:
        server = self.estate.find(call)
        return Answer(body=_one(server, "firewallRules", self._rules(server), call.parameters["child"]))

    def _rules(self, server: FlexibleServer) -> list[dict[str, Any]]:
        return [child(server, "firewallRules", name, rule) for name, rule in sorted(server.firewall_rules.items())]

    async def set_rule(self, call: Call) -> Answer:
        server, name, change = self.estate.writable(call), call.parameters["child"], properties(call)
        if not RULE_NAME.fullmatch(name):
            raise invalid("firewallRuleName", f"{name!r} must be 1 to 80 letters, digits, hyphens and underscores")
        rule = {end: str(change.get(end)) for end in ("startIpAddress", "endIpAddress")}
        try:
            start, end = (ipaddress.IPv4Address(rule[each]) for each in ("startIpAddress", "endIpAddress"))
        except ValueError as error:
            raise invalid("firewallRule", f"it needs two IPv4 addresses; {error}") from None
        if start > end:
            raise invalid("firewallRule", f"it starts at {start}, after its end {end}")
        return self._change(call, server, lambda: server.firewall_rules.update({name: rule}), "firewallRules", name)

    async def delete_rule(self, call: Call) -> Answer:
        server, name = self.estate.writable(call), call.parameters["child"]
        if name not in server.firewall_rules:
            return Answer(204)
        return self._change(call, server, lambda: server.firewall_rules.pop(name), "firewallRules", name, "delete")

    async def list_administrators(self, call: Call) -> Answer:
        return Answer(body={"value": self._administrators(self.estate.find(call))})

    async def get_administrator(self, call: Call) -> Answer:
        server = self.estate.find(call)
        return Answer(body=_one(server, "administrators", self._administrators(server), call.parameters["child"]))

    def _administrators(self, server: FlexibleServer) -> list[dict[str, Any]]:
        return [child(server, "administrators", name, who) for name, who in sorted(server.administrators.items())]

    async def add_administrator(self, call: Call) -> Answer:
        server, change = self.estate.writable(call), properties(call)
        object_id, name = call.parameters["child"].lower(), change.get("principalName") or ""
        if server.properties["authConfig"].get("activeDirectoryAuth") != "Enabled":
            message = (
                "Microsoft Entra authentication is disabled on this server. Enable authConfig.activeDirectoryAuth."
            )
            raise Refusal(400, "AadAuthOperationCannotBePerformedWhenAADAuthIsDisabled", message)
        if not _is_guid(object_id):
            raise invalid("objectId", f"{object_id!r} is not a GUID")
        if not name or name in (SUPERUSER, server.properties["administratorLogin"]):
            raise invalid("principalName", f"{name!r} is empty or taken")
        if change.get("principalType") not in LABELS:
            raise invalid("principalType", f"{change.get('principalType')!r} is not one of {', '.join(LABELS)}")
        entry = {
            "objectId": object_id,
            "principalName": name,
            "principalType": change["principalType"],
            "tenantId": change.get("tenantId") or self.estate.topology.tenant,
        }

        def add() -> None:
            self.entra.admit(server, name, object_id, entry["principalType"])
            server.administrators[object_id] = entry

        return self._change(call, server, add, "administrators", object_id)

    async def remove_administrator(self, call: Call) -> Answer:
        server, object_id = self.estate.writable(call), call.parameters["child"].lower()
        if object_id not in server.administrators:
            return Answer(204)

        def remove() -> None:
            self.entra.dismiss(server, server.administrators[object_id]["principalName"])
            del server.administrators[object_id]

        return self._change(call, server, remove, "administrators", object_id, "delete")

    def _change(
        self, call: Call, server: FlexibleServer, work: Callable[[], object], kind: str, name: str, verb: str = "write"
    ) -> Answer:
        """Change one child of the server."""
        return self.estate.change(
            call, server, work, f"{RESOURCE_TYPE}/{kind}/{verb}", resource=f"{server.id}/{kind}/{name}"
        )


def _one(server: FlexibleServer, kind: str, resources: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for resource in resources:
        if resource["name"].lower() == name.lower():
            return resource
    raise _missing(server, kind, name)


def _missing(server: FlexibleServer, kind: str, name: str) -> Refusal:
    message = f"The requested resource of type '{RESOURCE_TYPE}/{kind}' with name '{name}' was not found."
    return Refusal(404, "ResourceNotFound", f"{message} It was looked for on the server '{server.name}'.")


def _is_guid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
