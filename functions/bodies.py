"""Bodies of requests: how large they may be, and those that answer one question."""

from __future__ import annotations

import json

from shared.platform.errors import TooLarge

MOST_BYTES = 256 * 1024
"""Enough for a wish that names a thousand tables with the longest names; the row of a server has room for it."""


def require_small(body: bytes) -> None:
    """Raise `TooLarge` for a body of more than `MOST_BYTES`, before anybody reads it."""
    if len(body) > MOST_BYTES:
        raise TooLarge(
            f"The body has {len(body):,} bytes; at most {MOST_BYTES:,} were expected.",
            remedy="Name fewer tables: without any, every table is mirrored.",
        )


def only_boolean(body: bytes, member: str) -> bool | None:
    """The value of `member` in a JSON object that has no other member; None for a body of any other form."""
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.keys() != {member} or not isinstance(document[member], bool):
        return None
    return bool(document[member])
