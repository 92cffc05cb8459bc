"""What one flexible server tells of all its mirrors, over one connection at a time.

One connection tells the slots of all databases. The tables of a database take a connection to that database.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import msgspec
import psycopg

from shared.decisions.observation import not_ready
from shared.desired.server_id import ServerId
from shared.platform import reasons
from shared.platform.errors import MirrorError
from shared.platform.reasons import Reason
from shared.platform.settings import settings
from shared.source import server as flexible_server
from shared.source import slots, tables
from shared.source.connection import Connection, connect
from shared.source.facts import MAINTENANCE_DATABASE, Glance, Slot, TableStatus, TrackedPublication
from shared.steps import unexpected

REMEDY = "See that the server runs and that the app reaches it. The next sweep looks again."
LONGEST_LOOK = 30.0
"""Seconds after which a database that does not answer counts as out of reach."""
LONGEST_VISIT = 120.0
"""Seconds that the answers of a server may take together; then the rest of its databases count as out of reach."""

type Slots = dict[str, tuple[Slot, ...]]


class Details(msgspec.Struct, frozen=True):
    """What only a connection to the database tells."""

    publications: tuple[TrackedPublication, ...]
    tables: tuple[TableStatus, ...]


class ServerView:
    """One server during one look, asked once for what all its mirrors need. A failed question gives a reason."""

    def __init__(self, id: ServerId):
        self.id = id
        self._turn = asyncio.Lock()
        self._taken = 0.0
        self._slots: asyncio.Task[Slots | Reason] | None = None
        self._azure: asyncio.Task[Glance | Reason] | None = None

    async def slots(self) -> Slots | Reason:
        """The slots of every database. The reason tells the server's state if that explains why there is no answer."""
        if self._slots is None:
            self._slots = asyncio.create_task(self._look_at_slots())
        return await self._slots

    async def storage_gib(self) -> int | None:
        """The size of its storage; None: Azure Resource Manager did not tell it."""
        glance = await self._glance()
        return None if isinstance(glance, Reason) else glance.storage_gib or None

    async def details(self, database: str) -> Details | Reason:
        """The tracked publications and the tables of a database."""

        async def look(connection: Connection) -> Details:
            tracked = await slots.tracked_publications(connection)
            report = await tables.report(connection, settings().login.role, settings().fabric.table_limit)
            return Details(tracked, report.tables)

        return await self._ask(database, look)

    async def _look_at_slots(self) -> Slots | Reason:
        answer = await self._ask(MAINTENANCE_DATABASE, slots.slots_by_database)
        if isinstance(answer, Reason):
            glance = await self._glance()
            return answer if isinstance(glance, Reason) else not_ready(self.id, glance.state, answer)
        return answer

    async def _ask[T](self, database: str, look: Callable[[Connection], Awaitable[T]]) -> T | Reason:
        """What a database tells. The app's token goes to no host but the one that Azure Resource Manager names."""
        glance = await self._glance()
        if isinstance(glance, Reason):
            return glance
        host = glance.host
        async with self._turn:
            begun, left = asyncio.get_running_loop().time(), LONGEST_VISIT - self._taken
            if left <= 0:
                return _unknown(host, f"took all of the {LONGEST_VISIT:g} s of a look for its other databases")
            try:
                async with asyncio.timeout(min(LONGEST_LOOK, left)), connect(host, database) as connection:
                    return await look(connection)
            except MirrorError as error:
                return reasons.of(error)
            except TimeoutError:
                return _unknown(host, f"did not answer within {math.ceil(min(LONGEST_LOOK, left))} s")
            except psycopg.Error as error:
                return _unknown(host, f"did not tell: {str(error).partition('\n')[0]}")
            except Exception as error:  # noqa: BLE001 - one look that fails spoils no other
                return unexpected.reason(self.id, error)
            finally:
                self._taken += asyncio.get_running_loop().time() - begun

    async def _glance(self) -> Glance | Reason:
        if self._azure is None:
            self._azure = asyncio.create_task(self._ask_azure())
        return await self._azure

    async def _ask_azure(self) -> Glance | Reason:
        try:
            async with asyncio.timeout(LONGEST_LOOK):
                return await flexible_server.glance(self.id)
        except MirrorError as error:
            return reasons.of(error)
        except TimeoutError:
            text = f"Azure Resource Manager did not answer for server {self.id.name!r} within {LONGEST_LOOK:.0f} s."
            return Reason("SourceUnknown", text, REMEDY)
        except Exception as error:  # noqa: BLE001 - one look that fails spoils no other
            return unexpected.reason(self.id, error)


def _unknown(host: str, what: str) -> Reason:
    return Reason("SourceUnknown", f"PostgreSQL at {host} {what}.", REMEDY)
