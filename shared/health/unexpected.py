"""What goes wrong in a look though nobody expected it: the log tells where, and the look has a reason as any other."""

from __future__ import annotations

from shared.platform import logs
from shared.platform.errors import MirrorError
from shared.platform.reasons import Reason
from shared.platform.server_id import ServerId

log = logs.logger(__name__)


def reason(server: ServerId, error: Exception) -> Reason:
    """Why a side of the server's mirrors could not be seen, once it is logged."""
    with logs.about(server=server.key):
        log.error("A look failed unexpectedly.", exc_info=error)
    message = f"Looking at server {server.name!r} failed unexpectedly: {type(error).__name__}."
    return Reason(MirrorError.code, message, "The app's log tells where; tell the maintainers.")
