"""What an event says: that a server changed, that a server was deleted, or nothing that concerns the app, and why.

An event is a hint, never an instruction: a run decides what to do later, from what is there. The content of an event is
untrusted.
Source: "Azure subscription as an Event Grid source" (schema of resource events).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from shared.desired import server_id
from shared.desired.server_id import ServerId
from shared.platform.errors import InvalidInput

EVENT_TYPES = (
    "Microsoft.Resources.ResourceWriteSuccess",
    "Microsoft.Resources.ResourceActionSuccess",
    "Microsoft.Resources.ResourceDeleteSuccess",
)
OPERATIONS = (
    "Microsoft.DBforPostgreSQL/flexibleServers/write",
    "Microsoft.DBforPostgreSQL/flexibleServers/delete",
    "Microsoft.DBforPostgreSQL/flexibleServers/start/action",
    "Microsoft.DBforPostgreSQL/flexibleServers/restart/action",
    "Microsoft.Resources/tags/write",
    "Microsoft.Resources/tags/delete",
)
"""The operations after which the app looks at a server. The event subscription lets only these through."""

_OBJECT_ID_CLAIM = "http://schemas.microsoft.com/identity/claims/objectidentifier"
_DELETE = "microsoft.dbforpostgresql/flexibleservers/delete"
_TAGS_SUFFIX = re.compile(r"/providers/Microsoft\.Resources/tags/default/?$", re.IGNORECASE)


class Changed(msgspec.Struct, frozen=True):
    """Something about this server may have changed."""

    server: ServerId


class Deleted(msgspec.Struct, frozen=True):
    """This server was deleted."""

    server: ServerId


class Ignored(msgspec.Struct, frozen=True):
    """The event does not concern the app."""

    reason: str
    """The sentence for the log."""


def read(event_type: str | None, subject: str | None, data: Any, own_object_id: str) -> Changed | Deleted | Ignored:
    """Decide what one event means.

    `event_type`, `subject` and `data` are fields of an Event Grid event or of a CloudEvent. `own_object_id` is the
    object id of the app's identity, in lower case: what the app writes itself is nobody's wish.
    """
    if event_type not in EVENT_TYPES:
        return Ignored(f"event type {event_type!r} is not one of a resource")
    if not isinstance(data, Mapping):
        return Ignored("the event has no data")
    operation = str(data.get("operationName", ""))
    if operation.lower() not in _OPERATIONS:
        return Ignored(f"operation {operation!r} concerns something else")
    resource = _TAGS_SUFFIX.sub("", str(data.get("resourceUri") or subject or ""))
    try:
        server = server_id.parse(resource)
    except InvalidInput as error:
        return Ignored(error.message)
    if own_object_id in _callers(data):
        return Ignored(f"{operation} on {server} was our own")
    return Deleted(server) if operation.lower() == _DELETE else Changed(server)


_OPERATIONS = frozenset(operation.lower() for operation in OPERATIONS)


def _callers(data: Mapping[str, Any]) -> set[str]:
    """The object ids that the event names as its caller, in lower case."""
    claims = data.get("claims")
    authorization = data.get("authorization")
    evidence = authorization.get("evidence") if isinstance(authorization, Mapping) else None
    object_ids = [
        claims.get(_OBJECT_ID_CLAIM) if isinstance(claims, Mapping) else None,
        evidence.get("principalId") if isinstance(evidence, Mapping) else None,
    ]
    return {_with_dashes(object_id.lower()) for object_id in object_ids if isinstance(object_id, str)}


def _with_dashes(object_id: str) -> str:
    """The GUID as the settings have it: `evidence` sometimes leaves out the dashes."""
    if re.fullmatch(r"[0-9a-f]{32}", object_id):
        return re.sub(r"(.{8})(.{4})(.{4})(.{4})(.{12})", r"\1-\2-\3-\4-\5", object_id)
    return object_id
