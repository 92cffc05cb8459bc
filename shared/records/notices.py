"""Notices: what an operator or a portal wants to be told, as CloudEvents 1.0 to an Event Grid topic, and in the log.

A notice's id is made of what it tells, so that telling the same thing again (after a crash, say) gives the same id.
docs/notices.md describes them. Source: "CloudEvents v1.0 schema with Azure Event Grid".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import msgspec
from azure.core.exceptions import AzureError
from azure.core.messaging import CloudEvent

from shared.desired import server_id
from shared.platform import logs
from shared.platform.clients import publisher
from shared.platform.reasons import Reason
from shared.platform.settings import settings

SOURCE = "/fabric-mirror"
LONGEST_SENDING = 30.0
"""Seconds that a topic has to take notices, with all tries and the pauses that it asks for; then they wait."""
_IDS = UUID("6b1c3c0f-6d0e-5b44-9a54-5f6f3b0f4a6e")

log = logs.logger(__name__)


class _Data(msgspec.Struct, frozen=True, kw_only=True):
    server: str
    """The ARM resource id of the flexible server."""

    @classmethod
    def type(cls) -> str:
        """The event type."""
        return f"FabricMirror.{cls.__name__}"


class HealthChanged(_Data, frozen=True, kw_only=True):
    """A mirror has another level of health, and has kept it for as many observations as the settings ask for."""

    database: str
    workspace: str
    mirror: str
    """Id of the mirrored database in the workspace."""
    level: str
    previous: str
    """The level that was told before. A new mirror is taken to be Healthy."""
    since: datetime
    """When the level was first seen."""
    reasons: tuple[Reason, ...]


class PreparationBlocked(_Data, frozen=True, kw_only=True):
    """A server can't be prepared or released until somebody does what the reasons say."""

    run: str
    reasons: tuple[Reason, ...]


class RestartApprovalRequired(_Data, frozen=True, kw_only=True):
    """A server waits for a decision about its restart."""

    run: str
    reasons: tuple[Reason, ...]


class PreparedMirror(msgspec.Struct, frozen=True):
    """One mirrored database of a server. `mirror` is its id in the workspace."""

    database: str
    workspace: str
    mirror: str


class ServerPrepared(_Data, frozen=True, kw_only=True):
    """Every wanted database of a server is mirrored."""

    run: str
    mirrors: tuple[PreparedMirror, ...]


class ServerReleased(_Data, frozen=True, kw_only=True):
    """A server is no longer mirrored; its tables and rights are given back."""

    run: str


type Data = HealthChanged | PreparationBlocked | RestartApprovalRequired | ServerPrepared | ServerReleased


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something to tell of `subject`, an ARM resource id. `change` tells it from what was told of it before."""

    subject: str
    change: str
    at: datetime
    data: Data

    @property
    def id(self) -> str:
        """The same whenever the same is told."""
        return str(uuid5(_IDS, f"{self.data.type()} {self.subject} {self.change}"))


async def publish(told: Sequence[Notice]) -> bool:
    """Log notices, and send them to the topic if there is one. False: the topic did not take them; tell them again."""
    for notice in told:
        with logs.about(server=server_id.parse(notice.data.server).key):
            log.info("%s %s: %s", notice.data.type(), notice.subject, msgspec.json.encode(notice.data).decode())
    if not told or not settings().notice_topic_endpoint:
        return True
    try:
        async with asyncio.timeout(LONGEST_SENDING):
            await publisher().send([_event(notice) for notice in told])
            return True
    except AzureError as error:
        why = error.message
    except TimeoutError:
        why = f"It did not within {LONGEST_SENDING:g} s."
    log.error("The notice topic did not take %d notices; they are told again: %s", len(told), why)
    return False


def _event(notice: Notice) -> CloudEvent[Any]:
    return CloudEvent(
        source=SOURCE,
        type=notice.data.type(),
        subject=notice.subject,
        id=notice.id,
        time=notice.at,
        datacontenttype="application/json",
        data=msgspec.json.decode(msgspec.json.encode(notice.data)),  # the SDK writes tuples as text
    )
