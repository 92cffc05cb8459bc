"""The errors of this system. Each has a stable code, a message for people, and a remedy."""

from __future__ import annotations

from typing import ClassVar


class MirrorError(Exception):
    """The root of all errors of this system."""

    code: str = "InternalError"
    """Stable and documented."""
    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later although nobody does anything."""

    usual_remedy: ClassVar[str] = "See the app's log, which says where it failed; then try again."
    """What to do about an error of this kind that says nothing more particular."""

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
        self.remedy = remedy or self.usual_remedy
        """Says what to do."""
        if code:
            self.code = code
        self.retry_after = retry_after
        """Seconds to wait before the next try, where the service says so."""
        self.patience = patience
        """Seconds for which to try since this error first occurred, where that differs from the usual time."""


class InvalidInput(MirrorError):
    """A tag, a body or an address that somebody wrote is malformed."""

    code = "InvalidInput"
    usual_remedy = "Correct it as the message says, then try again."


class TooLarge(MirrorError):
    """The body of a request is larger than the app takes."""

    code = "BodyTooLarge"
    usual_remedy = "Send less."


class InvalidSetting(MirrorError):
    """An app setting is missing or malformed."""

    code = "InvalidSetting"
    usual_remedy = "Correct the app setting; docs/operations.md lists them."


class NotAllowed(MirrorError):
    """The app's settings do not allow this subscription or workspace, or a service refused the app's identity."""

    code = "NotAllowed"
    usual_remedy = "Run make check-rights: it says what the app lacks, and who can grant it."


class NotFound(MirrorError):
    """Something does not exist, or the app can't see it."""

    code = "NotFound"
    usual_remedy = "Correct the name or the id, and see that the app's identity has a role there."


class Conflict(MirrorError):
    """A request contradicts the request of somebody else, or something that exists."""

    code = "Conflict"
    usual_remedy = "Change the request, or what it contradicts."


class Blocked(MirrorError):
    """A person has to do something first."""

    code = "Blocked"
    usual_remedy = (
        "Do what the message says, then have the server looked at again: PUT its mirroring, or change its tag."
    )


class Unavailable(MirrorError):
    """A service is busy, throttles the app, or is out of reach for now."""

    code = "Unavailable"
    usual_remedy = (
        "Nothing at first: it is tried again. If it lasts, look at the health of the service, and at the network."
    )
    retryable = True
