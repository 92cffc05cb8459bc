"""What one running stack consists of: who is in it, which part listens where, and where its files are.

The supervisor writes it once, before the first part starts; every part reads it and nobody changes it.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

TOPOLOGY_VARIABLE = "LOCAL_TOPOLOGY"
LISTEN_VARIABLE = "LOCAL_LISTEN_FD"
"""The file descriptors of the sockets that a part listens on, with commas between them."""
INSTANCE_VARIABLE = "LOCAL_INSTANCE"
# Where Python, Go and OpenSSL's tools, requests (and the az CLI), curl, and Node look for a root certificate.
TRUST_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
APP = "id-fabric-mirror"
SERVICE_PRINCIPAL = "sp-fabric-mirror"
"""An application with a client secret, as which Fabric may log in to servers."""
WORKSPACE_IDENTITY = "Mirrors"
"""The identity of the stack's workspace; in Azure too it is called like its workspace."""
NOTICE_TOPIC = "notices"
INGESTION = "{location}-1.in.applicationinsights.azure.com"
PLAIN_PARTS = ("front_door", "identity", "host")
IN_MEMORY, EXTENSION = "in-memory", "extension"
ENGINES = (IN_MEMORY, EXTENSION)
"""What runs the orchestrations: Durable Task's in-memory backend, or the Durable extension of Azure Functions on Azure
Storage, which is a program of its own."""
STORAGE_SERVICES = ("table", "blob", "queue")
MEMBERSHIP, OWNERSHIP, SILENT = "membership", "ownership", "silent"
CHARACTERS = (MEMBERSHIP, OWNERSHIP, SILENT)
"""How `azure_cdc` judges whether a role may mirror a table, which Azure does not document: the rights of the owner are
enough, or only the owner itself will do. `silent` is a preview that insists on the owner too, and lacks the functions
that would say so."""


class Principal(msgspec.Struct, frozen=True):
    """Somebody who can get tokens here. `header` is their secret: the identity endpoint knows them by it, and it is the
    client secret of a service principal."""

    name: str
    object_id: str
    client_id: str
    header: str


class Topology(msgspec.Struct, frozen=True):
    """One stack. Ports are TCP ports on 127.0.0.1, by part; `folder` is the absolute path of its files."""

    folder: str
    tenant: str
    subscription: str
    resource_group: str
    location: str
    capacity: str
    workspace: str
    vault: str
    storage_account: str
    storage_key: str
    control_key: str
    instrumentation_key: str
    host_keys: dict[str, str]
    principals: dict[str, Principal]
    ports: dict[str, int]
    engine: str
    worker_key: str
    """A part of the path at which the Durable extension calls the host: nobody else can guess it."""
    azure_cdc: str = MEMBERSHIP
    """One of `CHARACTERS`, for the servers whose tags do not choose another one."""

    @property
    def path(self) -> Path:
        return Path(self.folder)

    def file(self, name: str) -> Path:
        """A file of this stack, e.g. `authority.pem`."""
        return self.path / name

    def log(self, part: str) -> Path:
        return self.path / "logs" / f"{part}.log"

    @property
    def authority(self) -> Path:
        """The certificate of the local authority that signed every certificate of this stack (PEM)."""
        return self.file("authority.pem")

    def address(self, part: str) -> str:
        """Where a part listens. Plain HTTP only where it is so in Azure too, behind its own front end."""
        scheme = "http" if part in PLAIN_PARTS else "https"
        return f"{scheme}://127.0.0.1:{self.ports[part]}"

    def workspace_identity(self, workspace: str) -> Principal | None:
        """The identity of a Fabric workspace. Only the stack's own workspace has one."""
        return self.principals[WORKSPACE_IDENTITY] if workspace == self.workspace else None

    def storage_endpoint(self, service: str) -> str:
        """Where clients reach a service of the storage account: `table`, and with the Durable extension also `blob`
        and `queue`. All of them then go through the storage proxy."""
        part = "storage" if "storage" in self.ports else "azurite"
        return f"https://127.0.0.1:{self.ports[port_name(part, service)]}/{self.storage_account}"

    @property
    def table_endpoint(self) -> str:
        return self.storage_endpoint("table")

    def functions_file(self, instance: int) -> Path:
        """Where a host tells its Durable extension which functions there are, and where to call them."""
        return self.file(f"functions-{instance}.json")

    def engine_file(self, instance: int) -> Path:
        """Where the Durable extension tells its host the address of its gRPC endpoint."""
        return self.file(f"engine-{instance}.json")

    @property
    def vault_url(self) -> str:
        return f"https://{self.vault}.vault.azure.net"

    def webhook(self, function: str) -> str:
        """Where Event Grid delivers to a function of the app, its key included."""
        key = self.host_keys["eventgrid_extension"]
        return f"{self.address('host')}/runtime/webhooks/eventgrid?functionName={function}&code={key}"

    def topic_endpoint(self, topic: str) -> str:
        """Where events for a custom Event Grid topic are published."""
        return f"https://{topic}.{self.location}-1.eventgrid.azure.net/api/events"

    def environment(self, principal: str) -> dict[str, str]:
        """The variables with which any unchanged Azure SDK or tool reaches this stack, as `principal`."""
        who = self.principals[principal]
        variables = {
            "NO_PROXY": "127.0.0.1,localhost",
            **dict.fromkeys(TRUST_VARIABLES, str(self.authority)),
            "AZURE_CLIENT_ID": who.client_id,
            "AZURE_TENANT_ID": self.tenant,
            "AZURE_SUBSCRIPTION_ID": self.subscription,
        }
        if "front_door" in self.ports:
            variables["HTTPS_PROXY"] = self.address("front_door")
        if "identity" in self.ports:
            variables |= {"IDENTITY_ENDPOINT": f"{self.address('identity')}/msi/token", "IDENTITY_HEADER": who.header}
        return variables

    def app_settings(self) -> dict[str, str]:
        """The function app's settings for this stack, its environment as the app's own identity included."""
        app, service_principal = self.principals[APP], self.principals[SERVICE_PRINCIPAL]
        settings = {
            "IDENTITY_NAME": app.name,
            "IDENTITY_OBJECT_ID": app.object_id,
            "FABRIC_PRINCIPAL_CLIENT_ID": service_principal.client_id,
            "FABRIC_PRINCIPAL_OBJECT_ID": service_principal.object_id,
            "FABRIC_PRINCIPAL_SECRET": service_principal.name,
            "KEY_VAULT_URL": self.vault_url,
            "ALLOWED_SUBSCRIPTIONS": self.subscription,
            "ALLOWED_WORKSPACES": self.workspace,
            "DEFAULT_WORKSPACE": self.workspace,
            "HEALTH_SCHEDULE": "0 */5 * * * *",
            "RESYNC_SCHEDULE": "0 0 * * * *",
            "PRUNE_SCHEDULE": "0 30 3 * * *",
            "POLL_SECONDS": "1",
        }
        if "eventgrid" in self.ports:
            settings["NOTICE_TOPIC_ENDPOINT"] = self.topic_endpoint(NOTICE_TOPIC)
        if "monitor" in self.ports:
            settings |= {
                "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={self.instrumentation_key};"
                f"IngestionEndpoint=https://{INGESTION.format(location=self.location)}",
                "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": f"ClientId={app.client_id};Authorization=AAD",
                "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
            }
        if "azurite" in self.ports:
            settings["STORAGE_TABLE_ENDPOINT"] = self.table_endpoint
        if self.engine == EXTENSION:
            settings |= {
                f"AzureWebJobsStorage__{service}ServiceUri": self.storage_endpoint(service)
                for service in STORAGE_SERVICES
            }
            settings |= {
                "AzureWebJobsStorage__credential": "managedidentity",
                "AzureWebJobsStorage__clientId": app.client_id,
            }
        return self.environment(APP) | settings

    def save(self) -> None:
        """Write it for the parts, readable by the owner only."""
        path = self.file("topology.json")
        path.touch(mode=0o600)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self)))


def port_name(part: str, service: str) -> str:
    """The port of a storage service in `Topology.ports`, of Azurite's or the proxy's. The table service has the part's
    own, since it is there with every engine."""
    return part if service == "table" else f"{part}_{service}"


def load() -> Topology:
    """The stack that this part belongs to."""
    return msgspec.json.decode(Path(os.environ[TOPOLOGY_VARIABLE]).read_bytes(), type=Topology)


def instance() -> int:
    """Which of several hosts on the same task hub this process belongs to. The first has the number 1."""
    return int(os.environ.get(INSTANCE_VARIABLE, "1"))


def write_whole(path: Path, content: object) -> None:
    """Write JSON into a file, whole or not at all: somebody else may be waiting for it."""
    draft = path.with_suffix(".new")
    draft.write_bytes(msgspec.json.encode(content))
    draft.rename(path)
