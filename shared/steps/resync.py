"""What no event told: the servers that are not as they should be, found by looking at the list of all of them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from shared.desired import intent as desired
from shared.desired.intent import Wish
from shared.desired.server_id import ServerId
from shared.platform.errors import InvalidInput
from shared.platform.settings import Settings, settings
from shared.records import store
from shared.records.rows import ServerRow
from shared.source import server as flexible_server
from shared.steps.decide import UNTOUCHED


async def candidates() -> list[ServerId]:
    """The servers of all allowed subscriptions that need a look, in order."""
    rows = {row.id: row async for row in store.list_servers()}
    tags: dict[ServerId, dict[str, str]] = {}
    for subscription in settings().allowed_subscriptions:
        tags |= {id: found async for id, found in flexible_server.list_servers(subscription)}
    return sorted(id for id in rows.keys() | tags.keys() if needs_look(tags.get(id), rows.get(id), settings()))


def needs_look(tags: Mapping[str, str] | None, row: ServerRow | None, settings: Settings) -> bool:
    """Whether a server is not as it should be, as far as its tags and its row tell. `tags` is None: it is gone."""
    if tags is None:
        return row is not None and row.phase != "Deleted"
    try:
        said = desired.read_tags(tags, settings.tag_prefix)
    except InvalidInput:
        return row is None or row.phase != "Blocked"
    if row is None:
        return said.state is True
    request = msgspec.json.decode(row.request, type=Wish) if row.request else None
    intent = desired.combine(said, request, settings)
    if not intent.wanted:
        return row.phase not in UNTOUCHED
    return row.phase != "Mirrored" or row.fingerprint != intent.fingerprint or row.rotation > row.rotated
