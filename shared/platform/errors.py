"""The errors of this system: what stands in the way, as a stable code, a message for people, and what to do."""

from __future__ import annotations

from typing import ClassVar


class MirrorError(Exception):
    """The root of all errors here.

    `code` is stable and documented; `message` names the value and what was expected; `remedy` says what to do.
    `retryable` tells whether the same call may succeed later without anybody doing anything, `retry_after` how
    long to wait at least (seconds), when the service said so; `patience` how long to go on trying since it was first
    answered so (seconds), where that differs from the usual.
    """

    code: str = "InternalError"
    retryable: ClassVar[bool] = False

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
        self.remedy = remedy
        if code:
            self.code = code
        self.retry_after = retry_after
        self.patience = patience


class InvalidInput(MirrorError):
    """Something that a person wrote (a tag, a body, an address) is malformed."""

    code = "InvalidInput"


class InvalidSetting(MirrorError):
    """An app setting is missing or malformed."""

    code = "InvalidSetting"


class NotAllowed(MirrorError):
    """The settings of this app don't allow it (subscription, workspace), or a service refused its identity."""

    code = "NotAllowed"


class NotFound(MirrorError):
    """What was named does not exist, or this app can't see it."""

    code = "NotFound"


class Conflict(MirrorError):
    """It contradicts what somebody else asked for, or what is there."""

    code = "Conflict"


class Blocked(MirrorError):
    """A person has to do something first."""

    code = "Blocked"


class Unavailable(MirrorError):
    """A service is busy, throttles or is out of reach for now."""

    code = "Unavailable"
    retryable = True
