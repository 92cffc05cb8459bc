"""The server's own place in Fabric, which its mirrors need."""

from __future__ import annotations

from shared.desired.server_id import ServerId
from shared.fabric import workspace as fabric_workspace
from shared.platform.errors import Unavailable
from shared.source import server as flexible_server
from shared.source.facts import Absence
from shared.source.refusals import not_found


async def ensure_access(id: ServerId, workspace: str) -> None:
    """Give the server's own identity the role Contributor in the workspace."""
    facts = await flexible_server.observe(id)
    if isinstance(facts, Absence):
        raise not_found(f"Azure Resource Manager does not find server {id.name!r}.")
    if not facts.principal_id:
        raise Unavailable(f"The system-assigned identity of server {id.name!r} has no principal yet.")
    await fabric_workspace.ensure_member(workspace, facts.principal_id)
