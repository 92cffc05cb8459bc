"""What people ask for over HTTP: the plan, the wish and its withdrawal, and how far it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from shared.decisions import allowed, readiness
from shared.desired import intent as desired
from shared.desired.intent import TagWish, Wish
from shared.desired.server_id import ServerId
from shared.platform.brief import listed
from shared.platform.errors import Conflict, NotAllowed, NotFound, Unavailable
from shared.platform.reasons import Reason
from shared.platform.settings import settings
from shared.records import store
from shared.source import server as flexible_server
from shared.source.facts import Absence, ServerFacts
from shared.steps import decide, presence, recovery


class MirrorState(msgspec.Struct, frozen=True, kw_only=True):
    """One database of a server, as a portal shows it."""

    database: str
    phase: str
    workspace: str
    mirrored_database: str
    name: str
    rights: Literal["", "membership", "ownership"]
    """How the fabric role has its rights on the tables; empty: it has none yet."""
    rights_why: str
    prerequisites: tuple[Reason, ...]
    """What the service itself had against the mirror when the app last asked, by the service's codes."""
    reasons: tuple[Reason, ...]


class ServerState(msgspec.Struct, frozen=True, kw_only=True):
    """A server as a portal shows it. `report` is the last readiness report, a long one in short form."""

    server: str
    phase: str
    reasons: tuple[Reason, ...]
    mirrors: tuple[MirrorState, ...]
    report: readiness.Report | None
    run: str
    updated_at: datetime | None


async def readiness_of(id: ServerId, asked: Mapping[str, Any]) -> readiness.Report:
    """The report for a server as if it were wanted now, with what is asked for (members of a wish, as JSON has them).

    What is not asked for is as a tag or an earlier request says.
    """
    facts, row = await _observed(id), await store.read_server(id)
    request = desired.read_body(msgspec.json.encode(asked))
    stored_wish = (row.request if row else None) or Wish()
    if request.databases:
        stored_wish = msgspec.structs.replace(stored_wish, tables=())
    wish = msgspec.structs.replace(stored_wish, **{name: getattr(request, name) for name in asked})
    tags = msgspec.structs.replace(_tags(facts).wish, **{name: getattr(Wish(), name) for name in asked})
    intent = desired.combine(TagWish(True, tags), wish, settings())
    return await decide.report(facts, intent, row)


async def ask(id: ServerId, body: bytes) -> None:
    """Keep the wish in the body of a request. Raises `InvalidInput`, `NotAllowed` for a workspace that is not allowed,
    `NotFound`, and `Conflict` naming a tag."""
    wish = desired.read_body(body)
    if wish.workspace and (problem := allowed.workspace_problem(wish.workspace, settings())):
        raise NotAllowed(problem.message, code=problem.code, remedy=problem.remedy)
    facts = await _observed(id)
    desired.check_request(wish, _tags(facts), settings().scope.tag_prefix)
    unknown = [name for name in wish.databases if not facts.has(name)] if facts.state == "Ready" else []
    if unknown:
        raise NotFound(
            f"Server {id.name!r} has no database {unknown[0]!r}; it has {listed(facts.databases) or 'none'}.",
            code="DatabaseNotFound",
            remedy="Correct the name (letter case matters), or create the database first.",
        )
    await presence.note_present(facts, await store.read_server(id))
    await store.update_server(id, request=wish, restart_refused="")


async def withdraw(id: ServerId) -> None:
    """Forget the wish that came over HTTP. Raises `Conflict` where a tag wants the server mirrored all the same.

    Of a server that is missing, it says that the server was deleted. A server of which nothing is recorded is asked
    itself whether the app has something on it; raises `NotFound` where it has not.
    """
    row = await store.read_server(id)
    facts = await flexible_server.observe(id)
    if row is None and (isinstance(facts, Absence) or await recovery.databases_of_ours(facts) is None):
        raise _unknown(id)
    tags = _tags(facts) if isinstance(facts, ServerFacts) else TagWish()
    if tags.state:
        prefix = settings().scope.tag_prefix
        raise Conflict(
            f"The tag {prefix} on server {id.name!r} wants it mirrored.",
            code="WantedByTag",
            remedy=f"Set the tag {prefix} to disabled, or remove it; that releases the server.",
        )
    changes: dict[str, Any] = {}
    if row is None:
        changes = {"phase": "Releasing"}
    elif row.phase == "Missing" and isinstance(facts, Absence):
        changes = {"deletion_told": True}
    await store.update_server(id, request=None, **changes)


async def rotate(id: ServerId) -> None:
    """Note that the fabric role is to get a new password, even if a run is just giving it one.

    Each rotation has a number of its own, also after our tables were lost, since Key Vault keeps it with the password.
    Raises `Conflict` for a server that is not mirrored.
    """
    row = await store.read_server(id)
    if row is None:
        raise _unknown(id)
    if not row.role:
        raise Conflict(
            f"Server {id.name!r} is {row.phase} and has no fabric role yet.",
            code="NothingToRotate",
            remedy="Wait until the server has been prepared.",
        )
    await store.update_server(id, rotation=max(row.rotation + 1, int(time.time())))


async def reseed(workspace: str, item: str) -> ServerId:
    """Note that a mirror is to be stopped and started again, which copies every table. Returns its server.

    Both are GUIDs in lower case.
    """
    health = await store.read_health(workspace, item)
    if health and (problem := _restart_problem(health.server, workspace)):
        raise NotAllowed(problem.message, code=problem.code, remedy=problem.remedy)
    if health is None or not await store.ask_for_restart(health.server, health.database, item):
        raise NotFound(
            f"There is no mirror {item} in workspace {workspace}, or it was never looked at.",
            code="MirrorNotFound",
            remedy="GET /api/mirrors lists the mirrors.",
        )
    return health.server


def _restart_problem(server: ServerId, workspace: str) -> Reason | None:
    """Why a mirror may not be restarted, which copies its tables; None: it may."""
    return allowed.server_problem(server, settings()) or allowed.workspace_problem(workspace, settings())


async def describe(id: ServerId, running: bool) -> ServerState:
    """A server as its rows have it. `running`: whether a run is under way. Raises `NotFound` for an unknown one."""
    row = await store.read_server(id)
    if row is None and not running:
        raise _unknown(id)
    return ServerState(
        server=str(id),
        phase=row.phase if row else "New",
        reasons=row.reasons if row else (),
        mirrors=tuple(
            MirrorState(
                database=mirror.database,
                phase=mirror.phase,
                workspace=mirror.workspace,
                mirrored_database=mirror.item,
                name=mirror.item_name,
                rights=mirror.rights,
                rights_why=mirror.rights_why,
                prerequisites=mirror.prerequisites,
                reasons=mirror.reasons,
            )
            for mirror in await store.list_mirrors_of(id)
        ),
        report=msgspec.json.decode(row.report, type=readiness.Report) if row and row.report else None,
        run=row.run if row else "",
        updated_at=row.updated_at if row else None,
    )


async def last_report(id: ServerId) -> readiness.Report:
    """The last readiness report of a server in full. Raises `NotFound` where there is none."""
    row = await store.read_server(id)
    if row is None:
        raise _unknown(id)
    if not row.report:
        raise NotFound(
            f"No run has made a readiness report of server {id.name!r} yet.",
            code="NoReport",
            remedy="GET …/readiness makes one; the next run keeps one.",
        )
    whole = await store.read_report(id, row.report_id) if row.report_id else row.report
    if not whole:
        raise Unavailable(
            f"Another report of server {id.name!r} takes the place of the last one.", retry_after=1, remedy="Ask again."
        )
    return msgspec.json.decode(whole, type=readiness.Report)


async def _observed(id: ServerId) -> ServerFacts:
    facts = await flexible_server.observe(id)
    if isinstance(facts, Absence):
        raise NotFound(
            f"There is no flexible server {id.name!r} in resource group {id.resource_group!r} that the app can see.",
            code="ServerNotFound",
            remedy="Check the address; the app's identity needs a role on the server.",
        )
    return facts


def _tags(facts: ServerFacts) -> TagWish:
    return desired.read_tags(facts.tags, settings().scope.tag_prefix)


def _unknown(id: ServerId) -> NotFound:
    return NotFound(
        f"Nobody has asked for server {id.name!r} to be mirrored.",
        code="NotMirrored",
        remedy=f"Set the tag {settings().scope.tag_prefix} to enabled, or PUT its mirroring.",
    )
