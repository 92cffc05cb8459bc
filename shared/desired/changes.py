"""The changes that the app makes to a flexible server: the types alone, without any SDK."""

from __future__ import annotations

import msgspec

from shared.platform.reasons import Reason


class EnableSystemIdentity(msgspec.Struct, frozen=True, tag=True):
    """Give the server a system-assigned identity. The user-assigned identities that it has stay."""


class EnableEntraAuthentication(msgspec.Struct, frozen=True, tag=True):
    """Let Microsoft Entra principals log in. Whether passwords are allowed stays as it is."""


class AddAdministrator(msgspec.Struct, frozen=True, tag=True):
    """Make a service principal a Microsoft Entra administrator of the server. All but the name are GUIDs."""

    object_id: str
    name: str
    tenant: str


class SetParameter(msgspec.Struct, frozen=True, tag=True):
    """Set a server parameter."""

    name: str
    value: str


class GiveBackParameter(msgspec.Struct, frozen=True, tag=True):
    """Set a server parameter to what it would be without the app."""

    name: str
    value: str


class Restart(msgspec.Struct, frozen=True, tag=True):
    """Restart the server."""


Change = (
    EnableSystemIdentity | EnableEntraAuthentication | AddAdministrator | SetParameter | GiveBackParameter | Restart
)


class Progress(msgspec.Struct, frozen=True):
    """How far a long-running operation is."""

    done: bool
    token: str
    """The SDK's continuation token, with which the next look goes on."""
    retry_after: float
    """Seconds after which the service welcomes the next look."""
    again: Reason | None = None
    """Why the change has to be begun again: its operation failed for a reason that passes, or is lost."""
