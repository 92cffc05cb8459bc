"""Which servers the app may touch, and which workspaces their data may go to. Pure.

Everything that changes a server, or what belongs to it, asks here, and not only the doors: a subscription may be taken
off the list while its servers are mirrored. Nothing is changed there any more, and nothing is given up either.
"""

from __future__ import annotations

from shared.desired.server_id import ServerId
from shared.platform.reasons import Reason
from shared.platform.settings import Settings

SUBSCRIPTION_NOT_ALLOWED = "SubscriptionNotAllowed"


def server_problem(server: ServerId, settings: Settings) -> Reason | None:
    """Why the app may not touch a server; None: it may."""
    if server.subscription in settings.scope.subscriptions:
        return None
    return Reason(
        SUBSCRIPTION_NOT_ALLOWED,
        f"Subscription {server.subscription} is not allowed.",
        "Have it added to ALLOWED_SUBSCRIPTIONS.",
    )


def workspace_problem(workspace: str, settings: Settings) -> Reason | None:
    """Why data may not go to a workspace (a GUID in lower case); None: it may."""
    if workspace in settings.scope.workspaces:
        return None
    return Reason(
        "WorkspaceNotAllowed",
        f"Workspace {workspace} is not allowed.",
        "Choose an allowed workspace, or have it added to ALLOWED_WORKSPACES.",
    )
