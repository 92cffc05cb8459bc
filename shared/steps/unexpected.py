"""What goes wrong in a look though nobody expected it: the log tells where, and the look has a reason as any other."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.decisions.observation import Observation
from shared.desired.server_id import ServerId
from shared.platform import logs
from shared.platform.errors import MirrorError
from shared.platform.reasons import Reason
from shared.records.rows import MirrorRow

log = logs.logger(__name__)


def reason(server: ServerId, error: Exception) -> Reason:
    """Why a side of a mirror of the server could not be seen, once it is logged."""
    with logs.about(server=server.key):
        log.error("A look failed unexpectedly.", exc_info=error)
    message = f"Looking at server {server.name!r} failed unexpectedly: {type(error).__name__}."
    return Reason(MirrorError.code, message, "The app's log tells where; tell the maintainers.")


def nothing(mirror: MirrorRow, error: Exception) -> Observation:
    """What is seen of a mirror whose look failed as a whole."""
    why = reason(mirror.server, error)
    return Observation(mirror=mirror, at=datetime.now(UTC), fabric=why, source=why)
