"""Notes whether a server is there, from look to look, and forgets a server that has been deleted for long enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.decisions import presence as deciding
from shared.decisions.answers import Forget, Miss, Nothing
from shared.decisions.presence import Another, Gone, List
from shared.desired.server_id import ServerId
from shared.platform import logs, reasons
from shared.platform.errors import MirrorError, Unavailable
from shared.platform.settings import settings
from shared.records import store
from shared.records.rows import ServerRow
from shared.source import server as flexible_server
from shared.source.facts import Absence, Listed, ServerFacts
from shared.steps import release

PATIENCE = 3 * deciding.APART
"""How long a run looks again at a missing server."""

log = logs.logger(__name__)


async def judge(absence: Absence, id: ServerId, row: ServerRow | None, run: str) -> Forget | Miss | Nothing:
    """What a run does for a server that Azure does not find. Raises `Unavailable` until it has to look again."""
    if row is None or row.phase == "Deleted":
        return Nothing(why="There is no such server, and no living server is recorded.")
    hosts = {mirror.host for mirror in await store.list_mirrors_of(id)} - {""}
    verdict = deciding.of_absent(absence, row, hosts, await _listed(), datetime.now(UTC))
    if isinstance(verdict, Gone):
        return Forget(why=verdict.why)
    log.warning("%s", verdict.reason.message)
    await store.update_server(
        id,
        run=run,
        phase="Missing",
        reasons=(verdict.reason,),
        missing_since=verdict.since,
        missing_code=verdict.code,
    )
    if verdict.look_again is None:
        return Miss(reason=verdict.reason)
    raise Unavailable(
        verdict.reason.message,
        code=verdict.reason.code,
        remedy=verdict.reason.remedy,
        retry_after=verdict.look_again.total_seconds(),
        patience=PATIENCE.total_seconds(),
    )


async def note_present(facts: ServerFacts, row: ServerRow | None) -> ServerRow | None:
    """Note that the server is there. Returns its row; None: nothing of this server is recorded."""
    verdict = deciding.of_present(facts, row)
    if isinstance(verdict, Another):
        log.warning("%s Its record is forgotten.", verdict.why)
        await release.forget_server(facts.id)
        return None
    if row is None:
        return None
    if row.phase == "Deleted":
        log.info("%s", verdict.why)
    seen = {"missing_since": None, "missing_code": "", "deletion_told": False}
    return await store.update_server(facts.id, created_at=facts.created_at, **seen)


async def note_deletion(id: ServerId) -> None:
    """Note that somebody told of the server's deletion, where the server is recorded. It is one of two proofs."""
    row = await store.read_server(id)
    if row is not None and row.phase != "Deleted":
        await store.update_server(id, deletion_told=True)


async def prune() -> None:
    """Forget the servers that were deleted more than HISTORY_DAYS ago."""
    oldest = datetime.now(UTC) - timedelta(days=settings().health.history_days)
    async for row in store.list_servers():
        if row.phase == "Deleted" and row.updated_at < oldest:
            with logs.about(server=row.id.key):
                log.info("The server was deleted at %s; what was kept of it is forgotten.", row.updated_at.isoformat())
            await release.forget_server(row.id)


async def _listed() -> List:
    """The servers that Azure lists in the allowed subscriptions, or why it does not."""
    listed: dict[ServerId, Listed] = {}
    try:
        for subscription in settings().scope.subscriptions:
            listed |= await flexible_server.listed(subscription)
        return listed
    except MirrorError as error:
        return reasons.of(error)
