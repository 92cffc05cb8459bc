"""Why something is as it is, in a form that is kept, shown and searched for."""

from __future__ import annotations

import msgspec

from shared.platform.errors import MirrorError


class Reason(msgspec.Struct, frozen=True):
    """A stable `code`, what is the matter in words, and what to do about it (empty: nothing, or it is in the words)."""

    code: str
    message: str
    remedy: str = ""


def of(error: MirrorError) -> Reason:
    """The reason that an error gives."""
    return Reason(error.code, error.message, error.remedy)
