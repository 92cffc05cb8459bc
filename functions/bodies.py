"""Bodies of requests that answer one question."""

from __future__ import annotations

import json
from typing import Any


def said(body: bytes, member: str) -> bool | None:
    """What a JSON object says that has this one member, a boolean; None for every other body."""
    try:
        document: Any = json.loads(body)
    except ValueError:
        return None
    if not isinstance(document, dict) or document.keys() != {member} or not isinstance(document[member], bool):
        return None
    return bool(document[member])
