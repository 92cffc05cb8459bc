"""The id of a flexible server: from its names, its resource id or its key. Letter case has no meaning in them."""

from __future__ import annotations

import re
from uuid import UUID

import msgspec

from shared.platform.errors import InvalidInput

RESOURCE_TYPE = "Microsoft.DBforPostgreSQL/flexibleServers"

_PATTERN = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<resource_group>[^/]+)"
    r"/providers/Microsoft\.DBforPostgreSQL/flexibleServers/(?P<name>[^/]+)/?",
    re.IGNORECASE,
)
# Source: "Naming rules and restrictions for Azure resources".
_RESOURCE_GROUP = re.compile(r"[\w\u0300-\u036f.()-]{0,89}[\w\u0300-\u036f()-]")
_SERVER = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,61}[a-z0-9])")


class ServerId(msgspec.Struct, frozen=True, order=True):
    """A flexible server. All three parts are in lower case, so that equal servers are equal values."""

    subscription: str
    resource_group: str
    name: str

    def __str__(self) -> str:
        """The ARM resource id."""
        group = f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
        return f"{group}/providers/{RESOURCE_TYPE}/{self.name}"

    @property
    def key(self) -> str:
        """The server as one word without a slash: the key of its mailbox, of its runs and of its mirrors' partition."""
        return f"{self.subscription}:{self.resource_group}:{self.name}"


def of(subscription: str, resource_group: str, name: str) -> ServerId:
    """The server with these names. Raises `InvalidInput`, which names the part that is not valid."""
    subscription, resource_group, name = subscription.lower(), resource_group.lower(), name.lower()
    try:
        subscription = str(UUID(subscription))
    except ValueError:
        raise InvalidInput(f"Subscription {subscription!r} is not a GUID.") from None
    if not _RESOURCE_GROUP.fullmatch(resource_group):
        raise InvalidInput(
            f"Resource group {resource_group!r} is not a valid name: "
            "1 to 90 letters, digits, '_', '-', '.' and parentheses were expected, not ending in '.'."
        )
    if not _SERVER.fullmatch(name):
        raise InvalidInput(
            f"Server {name!r} is not a valid name: 3 to 63 letters, digits and '-' were expected, "
            "neither beginning nor ending with '-'."
        )
    return ServerId(subscription, resource_group, name)


def parse(resource_id: str) -> ServerId:
    """The server of an ARM resource id. Raises `InvalidInput` when the id is not one of a flexible server."""
    match = _PATTERN.fullmatch(resource_id)
    if not match:
        raise InvalidInput(f"{resource_id!r} is not the resource id of a flexible server ({RESOURCE_TYPE}).")
    return of(match["subscription"], match["resource_group"], match["name"])


def from_key(key: str) -> ServerId:
    """The server of a `ServerId.key`."""
    return of(*key.split(":", 2))
