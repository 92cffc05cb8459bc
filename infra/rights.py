"""Which rights the app needs where, and whether given role definitions cover them. Pure.

A right is an action of Azure's role-based access control; roles name them with `*` for any part, and take some away
again (source: "Understand Azure role definitions").
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

STORAGE = "Microsoft.Storage/storageAccounts"
DURABLE_TASK_DATA_CONTRIBUTOR = "0ad04412-c4d5-4796-b79c-f76d14c8d402"
WORKSPACE_ROLES = ("Admin", "Member")
# By their titles, which is how an administrator finds them; the first one is called by its former name in some tenants.
TENANT_SETTINGS = (
    ("Service principals can call Fabric public APIs", "Service principals can use Fabric APIs"),
    ("Service principals can create workspaces, connections, and deployment pipelines",),
)


class Role(msgspec.Struct, frozen=True, rename="camel"):
    """One entry of a role definition's permissions."""

    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()


class Need(msgspec.Struct, frozen=True):
    """What the app has to be allowed at one resource (`scope`, a resource id), and which role gives just that."""

    scope: str
    role: str
    actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    role_id: str = ""
    """Where the role itself is asked for, since its actions are not documented."""


def needs(environment: Mapping[str, str]) -> list[Need]:
    """What is needed at the resources that a deployment's outputs name."""
    role = tuple(json.loads((Path(__file__).parent / "role.json").read_text())["actions"])
    subscriptions = [f"/subscriptions/{id}" for id in split(environment["ALLOWED_SUBSCRIPTIONS"])]
    needs = [Need(scope, "Flexible server mirroring", actions=role) for scope in subscriptions]
    storage = environment["STORAGE_ID"]
    blobs, queues, tables = (f"{STORAGE}/{part}" for part in ("blobServices", "queueServices", "tableServices"))
    needs += [
        Need(
            storage,
            "Storage Blob Data Owner",
            (f"{blobs}/containers/write",),
            tuple(f"{blobs}/containers/blobs/{right}" for right in ("read", "write", "delete", "add/action")),
        ),
        Need(
            storage,
            "Storage Queue Data Contributor",
            (f"{queues}/queues/write",),
            tuple(f"{queues}/queues/messages/{right}" for right in ("read", "write", "delete", "process/action")),
        ),
        Need(
            storage,
            "Storage Table Data Contributor",
            (f"{tables}/tables/write",),
            tuple(
                f"{tables}/tables/entities/{right}"
                for right in ("read", "write", "delete", "add/action", "update/action")
            ),
        ),
        Need(
            environment["KEY_VAULT_ID"],
            "Key Vault Secrets Officer",
            data_actions=tuple(
                f"Microsoft.KeyVault/vaults/secrets/{right}"
                for right in ("getSecret/action", "setSecret/action", "delete", "recover/action")
            ),
        ),
        Need(
            environment["NOTICE_TOPIC_ID"],
            "EventGrid Data Sender",
            data_actions=("Microsoft.EventGrid/events/send/action",),
        ),
    ]
    if scheduler := environment.get("SCHEDULER_ID"):
        needs.append(Need(scheduler, "Durable Task Data Contributor", role_id=DURABLE_TASK_DATA_CONTRIBUTOR))
    return needs


def missing(need: Need, roles: Mapping[str, Sequence[Role]]) -> list[str]:
    """The rights that the roles, by the id of their definition, don't give; empty when they give all."""
    if need.role_id:
        return [] if need.role_id in roles else [need.role]
    entries = [entry for definitions in roles.values() for entry in definitions]
    return [
        *(right for right in need.actions if not any(_covers(e.actions, e.not_actions, right) for e in entries)),
        *(
            right
            for right in need.data_actions
            if not any(_covers(e.data_actions, e.not_data_actions, right) for e in entries)
        ),
    ]


def tenant_setting(settings: Iterable[Mapping[str, Any]], titles: Sequence[str]) -> str:
    """What is wrong with one tenant setting of Fabric, called by one of `titles`; empty: nothing."""
    matching = [one for one in settings if str(one.get("title", "")).lower() in {title.lower() for title in titles}]
    if not matching:
        return "it is not among the tenant's settings"
    return "" if any(one.get("enabled") for one in matching) else "it is disabled"


def groups(settings: Iterable[Mapping[str, Any]], titles: Sequence[str]) -> list[str]:
    """The names of the groups that a tenant setting is limited to; empty: it holds for everybody."""
    return [
        str(group.get("name") or group.get("graphId"))
        for one in settings
        if str(one.get("title", "")).lower() in {title.lower() for title in titles}
        for group in one.get("enabledSecurityGroups") or ()
    ]


def split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _covers(given: Sequence[str], taken: Sequence[str], right: str) -> bool:
    def matches(patterns: Sequence[str]) -> bool:
        return any(fnmatch.fnmatchcase(right.lower(), pattern.lower()) for pattern in patterns)

    return matches(given) and not matches(taken)
