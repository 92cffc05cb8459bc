"""The errors of this system. Each has a stable code, a message for people, and a remedy."""

from __future__ import annotations

from typing import ClassVar


class MirrorError(Exception):
    """The root of all errors of this system."""

    code: str = "InternalError"
    """Stable and documented."""
    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later although nobody does anything."""

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        code: str = "",
        retry_after: float | None = None,
        patience: float | None = None,
    ):
        super().__init__(message)
        self.message = message
        """Names the value, and what was expected."""
        self.remedy = remedy
        """Says what to do; empty where nothing has to be done, or where the message says it."""
        if code:
            self.code = code
        self.retry_after = retry_after
        """Seconds to wait before the next try, where the service says so."""
        self.patience = patience
        """Seconds for which to try since this error first occurred, where that differs from the usual time."""


class InvalidInput(MirrorError):
    """A tag, a body or an address that somebody wrote is malformed."""

    code = "InvalidInput"


class TooLarge(MirrorError):
    """The body of a request is larger than the app takes."""

    code = "BodyTooLarge"


class InvalidSetting(MirrorError):
    """An app setting is missing or malformed."""

    code = "InvalidSetting"


class NotAllowed(MirrorError):
    """The app's settings do not allow this subscription or workspace, or a service refused the app's identity."""

    code = "NotAllowed"


class NotFound(MirrorError):
    """Something does not exist, or the app can't see it."""

    code = "NotFound"


class Conflict(MirrorError):
    """A request contradicts the request of somebody else, or something that exists."""

    code = "Conflict"


class Blocked(MirrorError):
    """A person has to do something first."""

    code = "Blocked"


class Unavailable(MirrorError):
    """A service is busy, throttles the app, or is out of reach for now."""

    code = "Unavailable"
    retryable = True
