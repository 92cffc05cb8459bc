"""The PostgreSQL side of a preparation: parameters, the role and its password, and each database's rights and tables."""

from __future__ import annotations

import hashlib

import msgspec

from shared import readiness
from shared.desired.intent import MirrorIntent
from shared.desired.server_id import ServerId
from shared.fabric import workspace as fabric_workspace
from shared.platform import secrets, store
from shared.platform.errors import Blocked, NotFound, Unavailable
from shared.platform.settings import settings
from shared.source import parameters as server_parameters
from shared.source import server as flexible_server
from shared.source.server import ServerFacts, SetParameter
from shared.steps import inside


def secret_name(id: ServerId) -> str:
    """The Key Vault secret with the password of a server's fabric role. Names there are letters, digits and '-'."""
    digest = hashlib.sha256(str(id).encode()).hexdigest()[:8]
    return f"fabric-mirror-{id.name}-{digest}"


async def plan_parameters(id: ServerId, databases: list[str]) -> list[SetParameter]:
    """The parameters still to be set, now that the app can see who uses slots. Raises `Blocked` when one can't be."""
    facts, row = await _facts(id), await store.read_server(id)
    found = await flexible_server.parameters(id)
    used = await inside.slots_in_use(facts)
    baseline = row.baseline_worker_processes if row else None
    plan = server_parameters.plan(found, databases, baseline=baseline, used=used)
    if plan.problems:
        problem = plan.problems[0]
        raise Blocked(problem.message, code=problem.code, remedy=problem.remedy)
    return [SetParameter(change.name, change.wanted) for change in plan.changes]
