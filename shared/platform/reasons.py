"""The reason for a state, in a form that the app records and shows, and that people search for.

The docstring of the type is its description in the API's document and in the schema of the notices.
"""

from __future__ import annotations

import msgspec

from shared.platform.errors import MirrorError


class Reason(msgspec.Struct, frozen=True):
    """A stable `code`, a sentence, and what to do (`remedy` is empty where there is nothing to do)."""

    code: str
    message: str
    remedy: str = ""


def of(error: MirrorError) -> Reason:
    """An error as a reason."""
    return Reason(error.code, error.message, error.remedy)
