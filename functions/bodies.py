"""Bodies of requests that answer one question."""

from __future__ import annotations

import json
from typing import Any


def said(body: bytes, member: str) -> bool | None:
    """What a JSON object says that has this one member, a boolean; None for every other body."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        return None
    if not isinstance(found, dict) or found.keys() != {member} or not isinstance(found[member], bool):
        return None
    return bool(found[member])
