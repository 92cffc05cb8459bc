"""Facts about Fabric, and remedies: the types alone, so that decisions can use them without any SDK."""

from __future__ import annotations

from datetime import datetime

import msgspec

from shared.platform.reasons import Reason

BELOW_MEMBER = "Contributor or Viewer"
"""The role of an app that may read a workspace, but not the roles in it."""
RANKS = {"Viewer": 1, "Contributor": 2, "Member": 3, "Admin": 4}
"""The workspace roles in Fabric. Each role has all rights of a lower one."""
SERVER_ROLE = "Contributor"
"""The role that the identity of a mirrored server needs, since it writes into the workspace's OneLake."""

RAISE_REMEDY = f"Let an Admin of the workspace give the server's identity the role {SERVER_ROLE}, or remove its role."
IDENTITY_REMEDY = "Let an admin of the workspace create it in the workspace settings, under Workspace identity."
CLIENT_REMEDY = (
    "Keep the application's client secret in the app's Key Vault, under the name in FABRIC_PRINCIPAL_SECRET."
)


class WorkspaceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the app sees of one workspace and of the roles in it."""

    id: str
    name: str = ""
    capacity_id: str = ""
    capacity_state: str = ""
    """`Active` or `Inactive`; empty where the workspace has no capacity; `Unknown` where the app can't see the
    capacity, since Fabric shows it to its administrators and contributors only."""
    app_role: str = ""
    """The app's own role: `Admin`, `Member`, `BELOW_MEMBER`, or empty for none. Fabric shows the roles to Members and
    Admins only, so an app that may read the workspace but not its roles is below them."""
    through_group: bool = False
    """Whether the app has its role through a group. Fabric does not say which role that is; it counts as `Member`."""
    server_role: str = ""
    """The role of the server's identity; empty for none."""
    identity: str = ""
    """The object id of the workspace's own identity; empty for none."""


class MirrorStatus(msgspec.Struct, frozen=True):
    """The status of a mirror."""

    status: str
    """Fabric's word: `Initializing`, `Initialized`, `Starting`, `Running`, `Paused`, `Stopping`, `Stopped`, …"""
    error: Reason | None = None


class TableStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of one table in Fabric. None stands for a figure that Fabric does not give."""

    schema: str
    name: str
    status: str
    rows: int | None = None
    """Rows that Fabric has processed so far."""
    bytes: int | None = None
    """Bytes that Fabric has processed so far."""
    last_sync_at: datetime | None = None
    latency_seconds: float | None = None
    error: Reason | None = None
