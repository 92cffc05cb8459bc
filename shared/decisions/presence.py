"""Whether a server is there, missing or gone, by what Azure answers about it over some time. Pure.

One answer is no fact: a resource provider answers 404 now and then for a server that is alive. So a server is gone only
when two ways say so: its deletion was told, or Azure knew no such server at two looks some minutes apart; and the list
of its subscription, which answers, does not have it. Until then it is missing, and nothing of it is given up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import msgspec

from shared.desired.server_id import ServerId
from shared.platform.reasons import Reason
from shared.records.rows import ServerRow
from shared.source.facts import Absence, Listed, ServerFacts

APART = timedelta(minutes=5)
"""Time between the two looks that have to say the same."""
BETWEEN = timedelta(seconds=15)
"""Time until the next look at a missing server at least; the run waits longer and longer, up to a minute."""
MISSING = "ServerMissing"
"""Code of the reason for which a server is `Missing`."""

type List = Mapping[ServerId, Listed] | Reason
"""The servers that Azure lists in the allowed subscriptions, or why it did not list them."""


class Present(msgspec.Struct, frozen=True):
    """The server is there."""

    why: str


class Another(msgspec.Struct, frozen=True):
    """A server is there, but it is not the one that the record is about: that one was deleted."""

    why: str


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """The server can't be seen, which says not enough to give anything up."""

    reason: Reason
    since: datetime
    """When the first of the looks was that all said the same."""
    code: str
    """The code that Azure answered at each of these looks."""
    look_again: timedelta | None
    """After which time the same run looks again. None: it ends, and the next event or resync looks again."""


class Gone(msgspec.Struct, frozen=True):
    """The server was deleted."""

    why: str


def of_present(facts: ServerFacts, row: ServerRow | None) -> Present | Another:
    """What a server is that answers. Where the record says that the server was deleted, the dates of creation tell: a
    server that was wrongly taken for deleted keeps its record, and a later server of this name has no part in it."""
    name = facts.id.name
    if row is None or row.phase != "Deleted":
        return Present(f"Server {name!r} is there.")
    if row.created_at and facts.created_at and row.created_at != facts.created_at:
        return Another(
            f"Server {name!r} was created at {facts.created_at.isoformat()}. The server of this name that the app "
            f"recorded was created at {row.created_at.isoformat()}, and deleted."
        )
    return Present(f"Server {name!r}, which had been deleted, is there again.")


def of_absent(absence: Absence, row: ServerRow, hosts: Collection[str], listed: List, now: datetime) -> Missing | Gone:
    """A server that Azure does not find. `hosts` are the domain names that its mirrors have, `listed` is what the lists
    of the subscriptions have at the same time."""
    id = row.id
    since = row.missing_since if row.missing_since and row.missing_code == absence.code else now
    evidence, missing = _evidence(absence, row, since, now), f"Azure Resource Manager does not find server {id.name!r}"
    if isinstance(listed, Reason):
        doubt = f"the servers of its subscription can't be listed: {listed.message}"
    elif id in listed:
        doubt = "the list of its subscription has it"
    elif moved := _moved(row, hosts, listed):
        doubt = f"{moved} has its domain name, so that it was moved there; move it back, and release it before a move"
    elif evidence:
        return Gone(f"Server {id.name!r} was deleted: {evidence}, and its subscription does not list it.")
    elif not absence.is_of_server:
        doubt = f"it answered {absence.code or 'no code'}, which is not about the server"
    else:
        doubt = f"it has answered so since {since.isoformat()}, and {APART.seconds // 60} minutes have to pass"
    left = since + APART - now
    return Missing(
        reason=Reason(
            MISSING,
            f"{missing}, but that is no proof of its deletion: {doubt}. Nothing of it was given up.",
            "Where it exists, check that the app's identity still has its role on the subscription. Where it was "
            "deleted, DELETE its mirroring, and the app gives up its mirrors; it looks again each hour by itself.",
        ),
        since=since,
        code=absence.code,
        look_again=min(BETWEEN, left) if left > timedelta() else None,
    )


def _moved(row: ServerRow, hosts: Collection[str], listed: Mapping[ServerId, Listed]) -> ServerId | None:
    """Where the server was moved to: no two servers have a domain name at a time, but a later one may have it."""
    for id, server in listed.items():
        is_later = row.created_at and server.created_at and server.created_at != row.created_at
        if server.host and server.host in hosts and not is_later:
            return id
    return None


def _evidence(absence: Absence, row: ServerRow, since: datetime, now: datetime) -> str:
    """What says that the server was deleted, besides the list; empty: nothing."""
    if row.deletion_told:
        return "its deletion was told"
    if absence.is_of_server and now - since >= APART:
        return f"Azure has known no such server since {since.isoformat()}"
    return ""
