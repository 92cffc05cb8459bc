"""An error that nobody expected in a look at a mirror: the log says where it was, and the look has it as its reason."""

from __future__ import annotations

from shared.desired.server_id import ServerId
from shared.platform import logs
from shared.platform.errors import MirrorError
from shared.platform.reasons import Reason

log = logs.logger(__name__)


def reason(server: ServerId, error: Exception) -> Reason:
    """Log the error, and return why the app could not see a side of a mirror of the server."""
    with logs.about(server=server.key):
        log.error("A look failed unexpectedly.", exc_info=error)
    message = f"Looking at server {server.name!r} failed unexpectedly: {type(error).__name__}."
    return Reason(MirrorError.code, message, "The app's log tells where; tell the maintainers.")
