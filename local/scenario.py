"""What a person with rights in the subscription does with a running stack: make servers, tag them, call the app, look.

Everything goes the way it would in Azure: the management SDK, ARM's tags API, the app's HTTP API, Table Storage's
client. Only `control` is the stack's own. Use it inside `acting_as`, which lets this process be that person.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec
import requests
from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import TableClient
from azure.identity import ManagedIdentityCredential
from azure.mgmt.postgresqlflexibleservers import PostgreSQLManagementClient, models

from local.application import Application, Database
from local.stack import Stack, clean
from local.topology import APP

ADMINISTRATOR = "dba"
TAGS_API = "2021-04-01"
ARM = "https://management.azure.com"
HTTP_SECONDS = 60
LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.2, 1.5
ENDED = ("Mirrored", "Blocked", "Released")
READS = ("GET", "HEAD", "OPTIONS")
# Fabric's own way of reading some things is to POST.
READING_POSTS = ("GetMirroringStatus", "GetTablesMirroringStatus", "GetMirroredDatabaseDefinition")


class Refused(Exception):
    """The app did not do what it was asked for; the message says what it answered."""


class Server(msgspec.Struct, frozen=True):
    """A flexible server that was made here, and its administrator's password."""

    id: str
    name: str
    address: str
    password: str


class Answer(msgspec.Struct, frozen=True):
    """What the app answered. `body` is decoded JSON, or the text where it is none."""

    status: int
    headers: Mapping[str, str]
    body: Any


@contextmanager
def acting_as(stack: Stack, principal: str) -> Iterator[None]:
    """Let this process be `principal` in that stack: any Azure SDK in it then reaches the stack, unchanged."""
    before = dict(os.environ)
    os.environ |= stack.topology.environment(principal)
    for name in before.keys() - clean(before).keys() - stack.topology.environment(principal).keys():
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


class Operator:
    """The person. The methods return when what they do is done, and raise what the SDKs raise."""

    def __init__(self, stack: Stack):
        self.stack, self.topology = stack, stack.topology
        self.credential = ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"])
        self.management = PostgreSQLManagementClient(self.credential, self.topology.subscription)

    def close(self) -> None:
        self.management.close()
        self.credential.close()

    def create_server(
        self, name: str, version: int, *databases: str, tags: Mapping[str, str] | None = None, **properties: Any
    ) -> Server:
        """A General Purpose server that Azure services may reach. `properties` (as in REST) replace its own."""
        group, password = self.topology.resource_group, secrets.token_urlsafe(24)
        settings = {
            "version": str(version),
            "administratorLogin": ADMINISTRATOR,
            "administratorLoginPassword": password,
            "storage": {"storageSizeGB": 128},
            "network": {"publicNetworkAccess": "Enabled"},
            "authConfig": {"activeDirectoryAuth": "Enabled", "passwordAuth": "Enabled"},
        } | properties  # fmt: skip
        body = models.Server({
            "location": self.topology.location,
            "tags": dict(tags or {}),
            "sku": {"name": "Standard_D2ds_v5", "tier": "GeneralPurpose"},
            "properties": settings,
        })  # fmt: skip
        made = self.management.servers.begin_create_or_update(group, name, body).result()
        rule = models.FirewallRule({"properties": {"startIpAddress": "0.0.0.0", "endIpAddress": "0.0.0.0"}})
        self.management.firewall_rules.begin_create_or_update(group, name, "AllowAzureServices", rule).result()
        for database in databases:
            self.management.databases.begin_create(group, name, database, models.Database({"properties": {}})).result()
        return Server(made["id"], name, made["properties"]["fullyQualifiedDomainName"], password)

    def install(self, server: Server, database: str, rich: bool = False) -> Application:
        """An application in a database of the server, with its tables and some data. `rich`: see `Application`."""
        application = Application(Database(server.address, database, self.topology.authority), rich)
        application.install(ADMINISTRATOR, server.password)
        return application

    def set_parameter(self, server: Server, name: str, value: str) -> None:
        change = models.ConfigurationForUpdate({"properties": {"value": value, "source": "user-override"}})
        self.management.configurations.begin_update(self.topology.resource_group, server.name, name, change).result()

    def restart(self, server: Server) -> None:
        self.management.servers.begin_restart(self.topology.resource_group, server.name).result()

    def tag(self, server: Server, **tags: str) -> None:
        """Give the server these tags and no others. `fabric_mirror` stands for `fabric-mirror`."""
        token = self.credential.get_token(f"{ARM}/.default").token
        named = {name.replace("_", "-"): value for name, value in tags.items()}
        answer = requests.patch(
            f"{ARM}{server.id}/providers/Microsoft.Resources/tags/default?api-version={TAGS_API}",
            json={"operation": "Replace", "properties": {"tags": named}},
            headers={"Authorization": f"Bearer {token}"},
            timeout=HTTP_SECONDS,
        )
        answer.raise_for_status()

    def call(self, method: str, path: str, body: Any = None, key: str | None = "default", **headers: str) -> Answer:
        """Call the function app. `body`: bytes as they are, anything else as JSON. `key`: a host key or its name."""
        if key:
            headers["x-functions-key"] = self.topology.host_keys.get(key, key)
        given = {"data": body} if isinstance(body, bytes) else {"json": body}
        answer = requests.request(
            method, self.topology.address("host") + path, headers=headers, timeout=HTTP_SECONDS, **given
        )
        try:
            return Answer(answer.status_code, answer.headers, answer.json())
        except ValueError:
            return Answer(answer.status_code, answer.headers, answer.text)

    def door(self, server: Server | str, what: str = "mirroring") -> str:
        """The path of one of the app's HTTP doors for a server, which may be named alone."""
        name = server if isinstance(server, str) else server.name
        return f"/api/servers/{self.topology.subscription}/{self.topology.resource_group}/{name}/{what}"

    def mirroring(self, server: Server) -> dict[str, Any]:
        """What the app says of a server; empty before anybody asked for the server. Raises `Refused`."""
        answer = self.call("GET", self.door(server))
        if answer.status not in (200, 404):
            raise Refused(f"GET {self.door(server)} answered {answer.status}: {answer.body}")
        return answer.body if answer.status == 200 else {}

    def mailbox(self, server: Server | str) -> dict[str, Any]:
        """The state of the server's mailbox: `runs`, `running`, `again`."""
        name = server if isinstance(server, str) else server.name
        key = f"{self.topology.subscription}:{self.topology.resource_group}:{name}".lower()
        answer = self.durable(f"entities/server_mailbox/{quote(key, safe='')}")
        return answer.body if answer.status == 200 and answer.body else {"runs": 0, "running": "", "again": False}

    def quiet(self, server: Server | str, after: int = -1, seconds: float = 90) -> int:
        """Wait until every event is delivered and no run is going on, and for a later run than number `after`.

        The number of the last run, which counts them.
        """

        def busy() -> bool:
            box = self.mailbox(server)
            under_way = self.control("eventgrid", "delivery")["under_way"]
            return under_way > 0 or bool(box["running"]) or box["runs"] <= after

        eventually(busy, lambda seen: not seen, seconds)
        return int(self.mailbox(server)["runs"])

    def durable(self, path: str, **headers: str) -> Answer:
        """Read from the durable management API."""
        return self.call("GET", f"/runtime/webhooks/durabletask/{path}", key="durabletask_extension", **headers)

    def fire(self, timer: str) -> None:
        """Let a timer of the app be due now. Raises `Refused`."""
        fired = self.call("POST", f"/admin/functions/{timer}", {"input": ""}, key="_master")
        if fired.status != 202:
            raise Refused(f"firing {timer} answered {fired.status}: {fired.body}")

    def sweep(self) -> None:
        """Fire the timer that records the health of the mirrors, and wait until a sweep that began now has ended."""
        sweep = "instances/sweep_health"
        last = eventually(lambda: self.durable(sweep), lambda answer: answer.status in (200, 404))
        begun = last.body["createdTime"] if last.status == 200 else ""
        eventually(lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", lambda now: now > begun)  # it tells seconds
        self.fire("record_mirror_health")
        eventually(
            lambda: self.durable(sweep), lambda answer: answer.status == 200 and answer.body["createdTime"] > begun
        )

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table, read from Table Storage itself."""
        with TableClient(self.topology.table_endpoint, table, credential=self.credential) as client:
            try:
                # A 64-bit number comes with its type.
                return [
                    {name: getattr(value, "value", value) for name, value in row.items()}
                    for row in client.list_entities()
                ]
            except ResourceNotFoundError:
                return []

    def control(self, part: str, name: str) -> Any:
        """What a part's control answers, e.g. `control("arm", "servers")`."""
        return self.stack.control(part, "GET", name)

    def restarts(self, server: Server) -> int:
        return next(state["restarts"] for state in self.control("arm", "servers") if state["name"] == server.name)

    def writes_of_the_app(self) -> list[str]:
        """Every write that the app's identity has asked of ARM and Fabric so far: operation and path, in order."""
        app = self.topology.principals[APP].object_id
        return [
            f"{call['operation']} {call['path']}"
            for part in ("arm", "fabric")
            for call in self.control(part, "calls")
            if call["caller"] == app and call["method"] not in READS and not call["operation"].endswith(READING_POSTS)
        ]


def eventually[T](look: Callable[[], T], enough: Callable[[T], object], seconds: float = 60) -> T:
    """What `look` returns, as soon as it is `enough`. Raises `TimeoutError` with the last value.

    The pauses grow with the time that it takes: many who look often would keep the machine from what they wait for.
    """
    begun = time.monotonic()
    while not enough(state := look()):
        waited = time.monotonic() - begun
        if waited > seconds:
            raise TimeoutError(f"Still so after {seconds:g} s: {state}")
        time.sleep(min(max(LOOK_SECONDS, waited / 10), LONGEST_LOOK_SECONDS))
    return state
