"""Every setting, typed and in groups, read once from the environment. A missing or malformed setting names itself.

A field bears the name of its environment variable as its encoded name, and its type says what the variable may hold:
the description of the type is what the error message expects.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin
from uuid import UUID

import msgspec
from msgspec import Meta, field

from shared.platform.errors import InvalidSetting

Guid = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", description="a GUID")]
Address = Annotated[str, Meta(pattern=r"^https://\S*[^\s/]$", description="an https:// address")]
Text = Annotated[str, Meta(min_length=1, description="a text")]
Prefix = Annotated[
    str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$", description="a name of letters, digits, '-', '_' and '.'")
]
RoleName = Annotated[
    str,
    Meta(
        pattern=r"^(?!(?i:pg_|azure_))[A-Za-z_]([A-Za-z0-9_. -]{0,61}[A-Za-z0-9_])?$",
        description="a name of 1 to 63 letters, digits, '_', '-', '.' and spaces, not beginning with pg_ or azure_,",
    ),
]
SecretName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,127}$", description="the name of a Key Vault secret")]
Template = Annotated[str, Meta(pattern=r"\{database\}", description="a template that contains {database}")]
Amount = Annotated[float, Meta(gt=0, lt=1e6, description="a number greater than zero")]
Count = Annotated[int, Meta(gt=0, lt=10**6, description="a whole number greater than zero")]
Days = Annotated[int, Meta(ge=1, le=30, description="a number of 1 to 30 days")]
RestartPolicy = Literal["auto", "now", "window", "approval"]
Rights = Literal["auto", "membership", "ownership"]
Cloud = Literal["AzureCloud", "AzureUSGovernment", "AzureChinaCloud"]
Credentials = Literal["Basic", "ServicePrincipal", "WorkspaceIdentity"]


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The app's user-assigned managed identity."""

    tenant: Guid = field(name="AZURE_TENANT_ID")
    client_id: Guid = field(name="AZURE_CLIENT_ID")
    name: Text = field(name="IDENTITY_NAME")
    """Its role on the servers has this name."""
    object_id: Guid = field(name="IDENTITY_OBJECT_ID")
    """The app recognises its own writes by it in events."""


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The services of Azure that the app uses for itself."""

    cloud: Cloud = field(name="AZURE_CLOUD", default="AzureCloud")
    tables: Address = field(name="STORAGE_TABLE_ENDPOINT")
    key_vault: Address = field(name="KEY_VAULT_URL")
    notice_topic: Address | Literal[""] = field(name="NOTICE_TOPIC_ENDPOINT", default="")
    """The Event Grid topic that notices are published to. Empty: they are only logged."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which servers the app may touch, and where their data may go."""

    subscriptions: tuple[Guid, ...] = field(name="ALLOWED_SUBSCRIPTIONS")
    workspaces: tuple[Guid, ...] = field(name="ALLOWED_WORKSPACES")
    default_workspace: Guid | Literal[""] = field(name="DEFAULT_WORKSPACE", default="")
    """The workspace of servers that name none. Empty: they have to name one."""
    replicas: bool = field(name="ALLOW_REPLICAS", default=True)
    """Whether a primary that has read replicas may be mirrored."""
    tag_prefix: Prefix = field(name="TAG_PREFIX", default="fabric-mirror")


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """How Fabric logs in to the servers."""

    role: RoleName = field(name="FABRIC_ROLE", default="fabric_user")
    """The PostgreSQL role. With a Microsoft Entra principal: the principal's display name."""
    credentials: Credentials = field(name="FABRIC_CREDENTIALS", default="Basic")
    """The role's password, an application with a client secret, or the identity of the workspace."""
    client_id: Guid | Literal[""] = field(name="FABRIC_PRINCIPAL_CLIENT_ID", default="")
    """Client id of the application, with `ServicePrincipal`."""
    object_id: Guid | Literal[""] = field(name="FABRIC_PRINCIPAL_OBJECT_ID", default="")
    """Object id of its service principal."""
    client_secret: SecretName | Literal[""] = field(name="FABRIC_PRINCIPAL_SECRET", default="")
    """Name of the Key Vault secret that holds its client secret."""
    rights: Rights = field(name="TABLE_RIGHTS", default="auto")
    """How the role comes to its rights on the tables of servers that name no way."""


class Fabric(msgspec.Struct, frozen=True, kw_only=True):
    """How the app uses Fabric."""

    calls_per_minute: Count = field(name="FABRIC_CALLS_PER_MINUTE", default=200)
    """Fabric's quota for the app's identity."""
    window_seconds: Amount = field(name="FABRIC_WINDOW_SECONDS", default=60)
    """In how many seconds no more than that may be called; fewer, where Fabric refuses bursts."""
    gateway: Guid | Literal[""] = field(name="FABRIC_GATEWAY", default="")
    """The virtual network data gateway by which Fabric reaches servers without public access. Empty: none."""
    connection_group: Guid | Literal[""] = field(name="CONNECTION_GROUP", default="")
    """Object id of a group that sees and may use the connections. Empty: the app alone does."""
    retention_days: Days | None = field(name="RETENTION_DAYS", default=None)
    """How long Fabric keeps what was deleted at the source. Not set: Fabric's default."""
    mirror_name: Template = field(name="MIRROR_NAME", default="{server}-{database}")
    """Template of a mirrored database's display name."""
    table_limit: Count = field(name="TABLE_LIMIT", default=1000)
    """How many tables a mirrored database takes: the service's limit, which may grow."""
    release_mirror: Literal["keep", "delete"] = field(name="RELEASE_MIRROR", default="keep")
    """What becomes of a mirrored database when its server is released: it is stopped and kept, or deleted."""


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """When a server may be restarted."""

    policy: RestartPolicy = field(name="RESTART_POLICY", default="auto")
    """Policy of servers that name none."""
    grace_hours: Amount = field(name="RESTART_GRACE_HOURS", default=24)
    """With policy `auto`, a server younger than this is restarted at once."""
    decision_hours: Amount = field(name="RESTART_DECISION_HOURS", default=72)
    """How long a restart decision is waited for."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long a run waits."""

    server_wait_minutes: Amount = field(name="SERVER_WAIT_MINUTES", default=30)
    """For a server that is stopped, updating or in maintenance."""
    operation_minutes: Amount = field(name="OPERATION_LIMIT_MINUTES", default=60)
    """For one management operation, waiting for a busy server included."""
    mirror_start_minutes: Amount = field(name="MIRROR_START_LIMIT_MINUTES", default=60)
    """For a mirror from start to Running."""
    poll_seconds: Amount = field(name="POLL_SECONDS", default=5)
    """Pause between two looks at a mirror that is starting."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How mirrors are looked at, and what counts as well."""

    history_days: Count = field(name="HISTORY_DAYS", default=30)
    """How long observations of health are kept."""
    sweep_minutes: Amount = field(name="SWEEP_MINUTES", default=4.5)
    """How long a health sweep may take by Fabric's quota: less than the interval of HEALTH_SCHEDULE. Mirrors that don't
    fit are looked at in turns."""
    details_minutes: Amount = field(name="DETAILS_MINUTES", default=15)
    """How old may become what takes a second call to Fabric, and a connection to the database, of a healthy mirror."""
    confirmations: Count = field(name="HEALTH_CONFIRMATIONS", default=2)
    """How many observations in a row a change of level must hold before it counts."""
    grace_minutes: Amount = field(name="HEALTH_GRACE_MINUTES", default=15)
    """How long a mirror that was just prepared or changed may take before its state counts against it."""
    latency_warn_minutes: Amount = field(name="LATENCY_WARN_MINUTES", default=15)
    """Latency of a table from which a mirror is Degraded; also how long changes may wait without any sync."""
    lag_warn_mib: Amount = field(name="LAG_WARN_MIB", default=16)
    """WAL written since what Fabric confirmed, from which changes count as waiting. One segment of it is no backlog."""
    wal_warn_gib: Amount = field(name="WAL_WARN_GIB", default=5)
    """WAL retained for a mirror from which it is Degraded."""
    wal_critical_gib: Amount = field(name="WAL_CRITICAL_GIB", default=20)
    """WAL retained for a mirror from which it is Unhealthy."""
    wal_warn_percent: Amount = field(name="WAL_WARN_PERCENT", default=10)
    """The share of the server's storage from which it is Degraded."""
    wal_critical_percent: Amount = field(name="WAL_CRITICAL_PERCENT", default=30)
    """The share of the server's storage from which it is Unhealthy."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The app's settings. Durations and sizes carry their unit in the name."""

    identity: Identity
    services: Services
    scope: Scope
    login: Login
    fabric: Fabric
    restart: Restart
    limits: Limits
    health: Health


def variables() -> Iterator[msgspec.structs.FieldInfo]:
    """Every setting as a field; its encoded name is the environment variable. Those that are required must be set."""
    for group in msgspec.structs.fields(Settings):
        yield from msgspec.structs.fields(group.type)


def load(environment: Mapping[str, str]) -> Settings:
    """The settings in `environment`. Raises `InvalidSetting` that names every variable that is wrong."""
    wrong: list[str] = []
    values = {info.encode_name: _read(info, environment, wrong) for info in variables()}
    given = {name: value for name, value in values.items() if value is not None}
    if wrong:
        raise InvalidSetting(
            f"App settings: {'; '.join(wrong)}.", remedy="Correct the app settings; docs/operations.md lists them."
        )
    settings = Settings(
        **{group.name: msgspec.convert(given, group.type) for group in msgspec.structs.fields(Settings)}
    )
    _require_default_workspace(settings.scope)
    _require_principal(settings.login)
    return settings


@cache
def settings() -> Settings:
    """This process's settings."""
    return load(os.environ)


def _require_default_workspace(scope: Scope) -> None:
    if scope.default_workspace and scope.default_workspace not in scope.workspaces:
        raise InvalidSetting(
            f"App settings: DEFAULT_WORKSPACE {scope.default_workspace} is not on ALLOWED_WORKSPACES.",
            remedy="Add it to ALLOWED_WORKSPACES.",
        )


def _require_principal(login: Login) -> None:
    required = {
        "FABRIC_PRINCIPAL_CLIENT_ID": login.client_id,
        "FABRIC_PRINCIPAL_OBJECT_ID": login.object_id,
        "FABRIC_PRINCIPAL_SECRET": login.client_secret,
    }
    missing = [name for name, value in required.items() if not value]
    if login.credentials == "ServicePrincipal" and missing:
        raise InvalidSetting(
            f"App settings: FABRIC_CREDENTIALS is ServicePrincipal, and {', '.join(missing)} not set.",
            remedy="Set them, or set FABRIC_CREDENTIALS to Basic.",
        )


def _read(info: msgspec.structs.FieldInfo, environment: Mapping[str, str], wrong: list[str]) -> Any:
    """The value of a variable; None where it is not set or wrong."""
    text = environment.get(info.encode_name, "").strip()
    if not text:
        if info.required:
            wrong.append(f"{info.encode_name} is not set")
        return None
    try:
        return _value(info.type, text)
    except ValueError as error:
        wrong.append(f"{info.encode_name} is {text!r}, but {error}")
        return None


def _value(kind: Any, text: str) -> Any:
    """The value of a text. Raises `ValueError` that says what was expected."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple:
        return tuple(_item(arguments[0], part.strip()) for part in text.split(",") if part.strip())
    if origin is Literal:
        return _choice(text, arguments)
    if kind is bool:
        return _choice(text, ("true", "false")) == "true"
    if origin is Annotated:
        try:
            return msgspec.convert(_normal(kind, text), kind, strict=False)
        except msgspec.ValidationError:
            raise ValueError(f"{_expected(kind)} was expected") from None
    return _value(arguments[0], text)  # a type, or nothing


def _item(kind: Any, text: str) -> Any:
    try:
        return _value(kind, text)
    except ValueError:
        raise ValueError(f"{text!r} is not {_expected(kind)}") from None


def _choice(text: str, choices: tuple[str, ...]) -> str:
    for choice in choices:
        if choice.lower() == text.lower():
            return choice
    raise ValueError(f"one of {', '.join(choices)} was expected")


def _normal(kind: Any, text: str) -> str:
    """The usual form of a GUID, and of an address."""
    if kind == Guid:
        try:
            return str(UUID(text))
        except ValueError:
            return text
    return text.rstrip("/") if kind == Address else text


def _expected(kind: Any) -> str:
    return next(str(meta.description) for meta in get_args(kind) if isinstance(meta, Meta))
