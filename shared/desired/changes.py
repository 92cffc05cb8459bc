"""The changes that the app makes to a flexible server: their types alone, so that importing them costs nothing."""

from __future__ import annotations

import msgspec


class EnableSystemIdentity(msgspec.Struct, frozen=True, tag=True):
    """Give the server a system-assigned identity, beside the user-assigned ones that it has."""


class EnableEntraAuthentication(msgspec.Struct, frozen=True, tag=True):
    """Let Microsoft Entra principals log in, beside passwords if those are allowed."""


class AddAdministrator(msgspec.Struct, frozen=True, tag=True):
    """Make a service principal a Microsoft Entra administrator of the server. All but the name are GUIDs."""

    object_id: str
    name: str
    tenant: str


class SetParameter(msgspec.Struct, frozen=True, tag=True):
    """Set a server parameter."""

    name: str
    value: str


class Restart(msgspec.Struct, frozen=True, tag=True):
    """Restart the server."""


Change = EnableSystemIdentity | EnableEntraAuthentication | AddAdministrator | SetParameter | Restart


class Progress(msgspec.Struct, frozen=True):
    """How far an operation is. `retry_after`: seconds until the next look is welcome."""

    done: bool
    token: str
    retry_after: float
