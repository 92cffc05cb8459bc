"""Mirrored databases: the items of a workspace, their definitions, and the calls that start, stop and show a mirror."""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import Annotated, Any

import msgspec
import psycopg

from local.cloud.fabric import definition
from local.cloud.fabric.connections import Connections
from local.cloud.fabric.definition import Mirroring
from local.cloud.fabric.long_running import LongRunning
from local.cloud.fabric.mirror import Mirror, Table
from local.cloud.fabric.protocol import Behaviour, decode, page
from local.cloud.fabric.publication import Publication
from local.cloud.fabric.source import Source, SourceProblem
from local.cloud.fabric.workspaces import Role, Workspaces, may
from local.cloud.web import Answer, Call, Operation, Refusal

ONELAKE = "https://onelake.dfs.fabric.microsoft.com"
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class NewItem(msgspec.Struct, frozen=True, rename="camel"):
    display_name: Name
    definition: definition.Parts
    description: Annotated[str, msgspec.Meta(max_length=256)] = ""


class ChangedItem(msgspec.Struct, frozen=True, rename="camel"):
    display_name: Name | None = None
    description: Annotated[str, msgspec.Meta(max_length=256)] | None = None


class ChangedDefinition(msgspec.Struct, frozen=True):
    definition: definition.Parts


class Seed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many mirrors without a source to make, and of how many tables each."""

    mirrors: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    tables: Annotated[int, msgspec.Meta(ge=0, le=500)] = 1


class Item:
    """One mirrored database. `payload`: `mirroring.json` as it was given (base64)."""

    def __init__(self, workspace: str, new: NewItem, mirroring: Mirroring, payload: str):
        self.id, self.workspace, self.sql_endpoint = str(uuid.uuid4()), workspace, str(uuid.uuid4())
        self.name, self.description = new.display_name, new.description
        self.mirroring, self.payload = mirroring, payload
        self.created = time.monotonic()
        self.mirror: Mirror

    def initializing(self, seconds: float) -> bool:
        """Whether Fabric still provisions the SQL endpoint, which takes `seconds`."""
        return time.monotonic() < self.created + seconds

    def body(self, initializing: bool) -> dict[str, Any]:
        endpoint = {"provisioningStatus": "InProgress"} if initializing else {
            "connectionString": f"{self.sql_endpoint}.datawarehouse.fabric.microsoft.com",
            "id": self.sql_endpoint, "provisioningStatus": "Success",
        }  # fmt: skip
        properties = {
            "oneLakeTablesPath": f"{ONELAKE}/{self.workspace}/{self.id}/Tables", "sqlEndpointProperties": endpoint,
        }  # fmt: skip
        if schema := self.mirroring.properties.target.type_properties.default_schema:
            properties["defaultSchema"] = schema
        return {
            "id": self.id, "type": "MirroredDatabase", "displayName": self.name, "description": self.description,
            "workspaceId": self.workspace, "properties": properties,
        }  # fmt: skip


class ItemLink:
    """The way from an item to its source: through the connection that its definition names, as that is now."""

    def __init__(self, item: Item, workspaces: Workspaces, connections: Connections, source: Source):
        self.item, self.workspaces, self.connections, self.source = item, workspaces, connections, source

    async def admit(self) -> None:
        """The server's identity writes into the workspace, so it needs a role there."""
        if not self.source.control_plane.present:
            return
        credentials = self._credentials()
        identity = await self.source.identity(credentials.host)
        if identity is None:
            raise SourceProblem("InternalError", "Internal error", "The server's system-assigned identity is off.")
        if not may(self.workspaces.role(self.item.workspace, identity), "Contributor"):
            cause = f"The server's identity {identity} has no role on the workspace that lets it write."
            raise SourceProblem("InternalError", "Internal error", cause)

    def opened(self, replication: bool = False) -> contextlib.AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        return self.source.opened(self._credentials(), replication)

    def _credentials(self) -> Any:
        connection = self.connections.connections.get(self.item.mirroring.connection)
        if connection is None:
            message = f"The connection {self.item.mirroring.connection} no longer exists."
            raise SourceProblem("ConnectionNotFound", message)
        return msgspec.structs.replace(
            connection.credentials, database=self.item.mirroring.database, workspace=self.item.workspace
        )


class Items:
    """Every mirrored database of every workspace."""

    def __init__(
        self,
        behaviour: Behaviour,
        long_running: LongRunning,
        workspaces: Workspaces,
        connections: Connections,
        source: Source,
    ):
        self.behaviour, self.long_running, self.workspaces = behaviour, long_running, workspaces
        self.connections, self.source = connections, source
        self.items: dict[str, Item] = {}

    @property
    def operations(self) -> list[Operation]:
        every = "/v1/workspaces/{workspace}/mirroredDatabases"
        one = f"{every}/{{item}}"
        return [
            Operation("GET", every, "Items_ListMirroredDatabases", self._list),
            Operation("POST", every, "Items_CreateMirroredDatabase", self._create),
            Operation("GET", one, "Items_GetMirroredDatabase", self._get),
            Operation("PATCH", one, "Items_UpdateMirroredDatabase", self._update),
            Operation("DELETE", one, "Items_DeleteMirroredDatabase", self._delete),
            Operation("POST", f"{one}/getDefinition", "Items_GetMirroredDatabaseDefinition", self._get_definition),
            Operation(
                "POST", f"{one}/updateDefinition", "Items_UpdateMirroredDatabaseDefinition", self._update_definition
            ),
            Operation("POST", f"{one}/startMirroring", "Mirroring_StartMirroring", self._start),
            Operation("POST", f"{one}/stopMirroring", "Mirroring_StopMirroring", self._stop),
            Operation("POST", f"{one}/getMirroringStatus", "Mirroring_GetMirroringStatus", self._status),
            Operation(
                "POST", f"{one}/getTablesMirroringStatus", "Mirroring_GetTablesMirroringStatus", self._tables_status
            ),
        ]

    async def pause(self, workspaces: list[str]) -> None:
        """Pause every mirror of these workspaces."""
        for item in self.items.values():
            if item.workspace in workspaces:
                await item.mirror.pause()

    def seed(self, workspace: str, seed: Seed) -> list[str]:
        """Make mirrored databases that say they run and have no source, to measure a watch over many. Returns the ids.

        A start of one fails as it does without a connection.
        """
        made = []
        for _ in range(seed.mirrors):
            parts = definition.of(str(uuid.uuid4()), "seeded")
            item = self._add(Item(workspace, NewItem(f"seeded-{uuid.uuid4()}", parts), *definition.read(parts)))
            item.created, item.mirror.status = 0.0, "Running"
            tables = [Table("public", f"t{n}", "Replicating", synced=time.time()) for n in range(seed.tables)]
            item.mirror.tables = {table.key: table for table in tables}
            made.append(item.id)
        return made

    def _add(self, item: Item) -> Item:
        name = f"fabric_{item.id.replace('-', '_')}"
        publication = Publication(name, f"{ONELAKE}/{item.workspace}/{item.id}/Files/LandingZone")
        link = ItemLink(item, self.workspaces, self.connections, self.source)
        item.mirror = Mirror(publication, link, item.mirroring.tables)
        self.items[item.id] = item
        return item

    async def close(self) -> None:
        for item in self.items.values():
            await item.mirror.close()

    async def _list(self, call: Call) -> Answer:
        workspace = self.workspaces.require(call, "Viewer")
        bodies = [self._body(item) for item in self.items.values() if item.workspace == workspace.id]
        return page(call, bodies, self.behaviour.page_size)

    async def _create(self, call: Call) -> Answer:
        workspace, new = self.workspaces.require(call, "Contributor"), decode(call.body, NewItem)
        self.workspaces.require_active(workspace.id)
        mirroring, payload = definition.read(new.definition)
        self._require_usable(mirroring, call)
        self._require_free_name(workspace.id, new.display_name)
        return Answer(201, self._body(self._add(Item(workspace.id, new, mirroring, payload))))

    async def _get(self, call: Call) -> Answer:
        return Answer(body=self._body(self._require(call, "Viewer")))

    async def _update(self, call: Call) -> Answer:
        item, change = self._require(call, "Contributor"), decode(call.body, ChangedItem)
        if change.display_name and change.display_name != item.name:
            self._require_free_name(item.workspace, change.display_name, item)
            item.name = change.display_name
        item.description = item.description if change.description is None else change.description
        return Answer(body=self._body(item))

    async def _delete(self, call: Call) -> Answer:
        item = self._require(call, "Contributor")
        del self.items[item.id]
        await item.mirror.remove()
        return Answer()

    async def _get_definition(self, call: Call) -> Answer:
        item = self._require(call, "Contributor")

        async def work() -> dict[str, Any]:
            payloads = {
                definition.PART: item.payload,
                definition.PLATFORM: definition.platform_payload(item.name, item.description, item.id),
            }
            parts = [{"path": p, "payload": payload, "payloadType": "InlineBase64"} for p, payload in payloads.items()]
            return {"definition": {"parts": parts}}

        return await self.long_running.answer(call, work)

    async def _update_definition(self, call: Call) -> Answer:
        item, change = self._require(call, "Contributor"), decode(call.body, ChangedDefinition)
        mirroring, payload = definition.read(change.definition)
        self._require_usable(mirroring, call)
        status = self._status_of(item)
        if mirroring.way != item.mirroring.way and status not in ("Initialized", "Stopped"):
            raise _not_now(f"Connection, database and default schema can't be changed while the status is {status}.")

        async def work() -> None:
            item.mirroring, item.payload, item.mirror.chosen = mirroring, payload, mirroring.tables

        return await self.long_running.answer(call, work)

    async def _start(self, call: Call) -> Answer:
        item = self._require(call, "Contributor")
        self.workspaces.require_active(item.workspace)
        if item.initializing(self.behaviour.initializing_seconds):
            raise _not_now("Mirroring can't be started while its status is Initializing.", retriable=True)
        if item.mirror.status == "Paused":
            raise _not_now("Mirroring is paused. Stop it, then start it again.")
        await item.mirror.start()
        return Answer()

    async def _stop(self, call: Call) -> Answer:
        item = self._require(call, "Contributor")
        if item.mirror.status not in ("Initialized", "Stopping"):
            await item.mirror.stop()
        return Answer()

    async def _status(self, call: Call) -> Answer:
        item = self._require(call, "Viewer")
        status = self._status_of(item)
        error = item.mirror.error if status != "Initializing" else None
        return Answer(body={"status": status} | ({"error": error} if error else {}))

    async def _tables_status(self, call: Call) -> Answer:
        tables = self._require(call, "Viewer").mirror.tables
        return page(call, [tables[key].body for key in sorted(tables)], self.behaviour.page_size, "data")

    def _status_of(self, item: Item) -> str:
        return "Initializing" if item.initializing(self.behaviour.initializing_seconds) else item.mirror.status

    def _body(self, item: Item) -> dict[str, Any]:
        return item.body(item.initializing(self.behaviour.initializing_seconds))

    def _require(self, call: Call, minimum: Role) -> Item:
        workspace, id = self.workspaces.require(call, minimum), call.parameters["item"]
        item = self.items.get(id.lower())
        if item is None or item.workspace != workspace.id:
            raise Refusal(404, "ItemNotFound", f"The requested item {id} was not found.")
        return item

    def _require_usable(self, mirroring: Mirroring, call: Call) -> None:
        if self.connections.usable(mirroring.connection, call.claims["oid"]) is None:
            message = f"The connection {mirroring.connection} was not found, or the caller may not use it."
            raise Refusal(400, "ConnectionNotFound", message)

    def _require_free_name(self, workspace: str, name: str, but: Item | None = None) -> None:
        taken = (i for i in self.items.values() if i.workspace == workspace and i.name.lower() == name.lower())
        if any(item is not but for item in taken):
            raise Refusal(409, "ItemDisplayNameAlreadyInUse", f"Requested '{name}' is already in use.")


def _not_now(message: str, retriable: bool = False) -> Refusal:
    return Refusal(400, "MirroringNotReady", message, retriable=retriable)
