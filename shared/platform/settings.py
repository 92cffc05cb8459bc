"""Every setting, typed, read once from the environment. A missing or malformed one names itself."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec

from shared.platform.errors import InvalidSetting

Guid = str
"""A GUID in lower case."""

_GUIDS = {
    "azure_tenant_id",
    "azure_client_id",
    "identity_object_id",
    "default_workspace",
    "fabric_gateway",
    "connection_group",
    "fabric_principal_client_id",
    "fabric_principal_object_id",
}
_GUID_LISTS = {"allowed_subscriptions", "allowed_workspaces"}
_CHOICES = {
    "fabric_credentials": ("Basic", "ServicePrincipal", "WorkspaceIdentity"),
    "azure_cloud": ("AzureCloud", "AzureUSGovernment", "AzureChinaCloud"),
    "release_mirror": ("keep", "delete"),
    "restart_policy": ("auto", "now", "window", "approval"),
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The app's settings. Each field is the environment variable of the same name in upper case.

    Those without a default must be set. Durations carry their unit in the name.
    """

    azure_tenant_id: Guid
    azure_client_id: Guid
    """Client id of the app's user-assigned managed identity."""
    identity_name: str
    """Name of that identity: its role on the servers is called so."""
    identity_object_id: Guid
    """Object id of that identity: its own writes are recognised by it in events."""
    storage_table_endpoint: str
    key_vault_url: str
    allowed_subscriptions: tuple[Guid, ...]
    allowed_workspaces: tuple[Guid, ...]
    default_workspace: Guid = ""
    """The workspace of servers that name none. Empty: they have to name one."""
    azure_cloud: str = "AzureCloud"
    tag_prefix: str = "fabric-mirror"
    fabric_role: str = "fabric_user"
    """The PostgreSQL role that Fabric logs in as. With a Microsoft Entra principal: the principal's display name."""
    fabric_credentials: str = "Basic"
    """What Fabric logs in with: the role's password (`Basic`), or as a Microsoft Entra principal, which is an
    application with a secret (`ServicePrincipal`) or the identity of the workspace (`WorkspaceIdentity`)."""
    fabric_principal_client_id: Guid = ""
    """Client id of the application, with `ServicePrincipal`."""
    fabric_principal_object_id: Guid = ""
    """Object id of its service principal."""
    fabric_principal_secret: str = ""
    """Name of the Key Vault secret that holds its client secret."""
    restart_policy: str = "auto"
    """Policy of servers that name none."""
    restart_grace_hours: float = 24
    """With policy `auto`, a server younger than this is restarted at once."""
    restart_decision_hours: float = 72
    """How long a restart decision is waited for."""
    server_wait_minutes: float = 30
    """How long a server that is stopped, updating or in maintenance is waited for."""
    allow_replicas: bool = True
    """Whether a primary that has read replicas may be mirrored."""
    operation_limit_minutes: float = 60
    """How long one management operation may take, waiting for a busy server included."""
    mirror_start_limit_minutes: float = 60
    """How long a mirror may take from start to Running."""
    poll_seconds: float = 5
    """Pause between two looks at a mirror that is starting."""
    fabric_calls_per_minute: int = 200
    """Fabric's quota for this identity."""
    fabric_window_seconds: float = 60
    """In how many seconds no more than that may be called; fewer, where Fabric refuses bursts."""
    fabric_gateway: Guid = ""
    """The virtual network data gateway by which Fabric reaches servers without public access. Empty: none."""
    connection_group: Guid = ""
    """Object id of a group that sees and may use the connections. Empty: the app alone does."""
    retention_days: int | None = None
    """How long Fabric keeps what was deleted at the source, 1 to 30 days. Not set: Fabric's default."""
    mirror_name: str = "{server}-{database}"
    """Template of a mirrored database's display name."""
    release_mirror: str = "keep"
    """What becomes of a mirrored database when its server is released: `keep` (stopped) or `delete`."""
    history_days: int = 30
    """How long observations of health are kept."""
    sweep_minutes: float = 4.5
    """How long a health sweep may take by Fabric's quota: less than the interval of HEALTH_SCHEDULE. Mirrors that don't
    fit are looked at in turns."""
    details_minutes: float = 15
    """How old may become what takes a second call to Fabric, and a connection to the database, of a healthy mirror."""
    health_confirmations: int = 2
    """How many observations in a row a change of level must hold before it counts."""
    health_grace_minutes: float = 15
    """How long a mirror that was just prepared or changed may take before its state counts against it."""
    latency_warn_minutes: float = 15
    """Latency of a table from which a mirror is Degraded; also how long changes may wait without any sync."""
    lag_warn_mib: float = 16
    """WAL written since what Fabric confirmed, from which changes count as waiting. One segment of it is no backlog."""
    wal_warn_gib: float = 5
    """WAL retained for a mirror from which it is Degraded."""
    wal_critical_gib: float = 20
    """WAL retained for a mirror from which it is Unhealthy."""
    wal_warn_percent: float = 10
    """The same as a share of the server's storage."""
    wal_critical_percent: float = 30
    """The same as a share of the server's storage."""
    notice_topic_endpoint: str = ""
    """The Event Grid topic that notices are published to. Empty: they are only logged."""


def load(environment: Mapping[str, str]) -> Settings:
    """The settings in `environment`. Raises `InvalidSetting` that names every variable that is wrong."""
    hints = get_type_hints(Settings)
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for field in msgspec.structs.fields(Settings):
        name = field.name.upper()
        text = environment.get(name, "").strip()
        if not text:
            if field.required:
                wrong.append(f"{name} is not set")
            continue
        try:
            values[field.name] = _parse(field.name, hints[field.name], text)
        except ValueError as error:
            wrong.append(f"{name} is {text!r}, {error}")
    if wrong:
        raise InvalidSetting(
            f"App settings: {'; '.join(wrong)}.", remedy="Correct the app settings; docs/operations.md lists them."
        )
    settings = Settings(**values)
    if settings.default_workspace and settings.default_workspace not in settings.allowed_workspaces:
        raise InvalidSetting(
            f"App settings: DEFAULT_WORKSPACE {settings.default_workspace} is not on ALLOWED_WORKSPACES.",
            remedy="Add it to ALLOWED_WORKSPACES.",
        )
    _require_principal(settings)
    return settings


@cache
def settings() -> Settings:
    """This process's settings."""
    return load(os.environ)


def _require_principal(settings: Settings) -> None:
    names = ("fabric_principal_client_id", "fabric_principal_object_id", "fabric_principal_secret")
    missing = [name.upper() for name in names if not getattr(settings, name)]
    if settings.fabric_credentials == "ServicePrincipal" and missing:
        raise InvalidSetting(
            f"App settings: FABRIC_CREDENTIALS is ServicePrincipal, and {', '.join(missing)} not set.",
            remedy="Set them, or set FABRIC_CREDENTIALS to Basic.",
        )


def _parse(name: str, kind: Any, text: str) -> Any:
    if name in _GUIDS:
        return _guid(text)
    if name in _GUID_LISTS:
        return tuple(_guid(part) for part in _parts(text))
    if name in _CHOICES:
        return _choice(text, _CHOICES[name])
    if name in _FORMS:
        pattern, expected = _FORMS[name]
        if not re.fullmatch(pattern, text):
            raise ValueError(expected)
        text = text.rstrip("/") if text.startswith("https:") else text
    if kind is bool:
        return _choice(text, ("true", "false")) == "true"
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return tuple(item(part) for part in _parts(text))
    if kind == int | None:
        kind = int
    return _number(kind, text) if kind in (int, float) else text


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _guid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError(f"but {text!r} is not a GUID") from None


def _choice(text: str, choices: tuple[str, ...]) -> str:
    for choice in choices:
        if choice.lower() == text.lower():
            return choice
    raise ValueError(f"but one of {', '.join(choices)} was expected")


def _number(kind: Callable[[str], float], text: str) -> float:
    try:
        number = kind(text)
    except ValueError:
        raise ValueError("but a number was expected") from None
    if not 0 < number < 1e6:
        raise ValueError("but a number greater than zero was expected")
    return number


_FORMS = {
    "storage_table_endpoint": (r"https://\S+", "but an https:// address was expected"),
    "key_vault_url": (r"https://\S+", "but an https:// address was expected"),
    "notice_topic_endpoint": (r"https://\S+", "but an https:// address was expected"),
    "tag_prefix": (r"[A-Za-z][A-Za-z0-9_.-]{0,63}", "but letters, digits, '-', '_' and '.' were expected"),
    "fabric_role": (
        r"(?!(?i:pg_|azure_))[A-Za-z_]([A-Za-z0-9_. -]{0,61}[A-Za-z0-9_])?",
        "but 1 to 63 letters, digits, '_', '-', '.' and spaces were expected, not beginning with pg_ or azure_",
    ),
    "fabric_principal_secret": (r"[A-Za-z0-9-]{1,127}", "but the name of a Key Vault secret was expected"),
    "retention_days": (r"[1-9]|[12]\d|30", "but 1 to 30 days were expected"),
    "mirror_name": (r".*\{database\}.*", "but a template that contains {database} was expected"),
}
