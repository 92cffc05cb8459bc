"""What a table of Table Storage holds: a frozen struct with keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import quote, unquote

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What a table holds. `updated_at` is when it was last written, `etag` what guards the next write.

    `texts`: types that are kept as `str` writes them, and what reads that back. Other structs and lists are kept as
    JSON.
    """

    texts: ClassVar[Mapping[type, Callable[[str], Any]]] = {}
    updated_at: datetime = EPOCH
    etag: str = ""

    @property
    def keys(self) -> tuple[str, str]:
        """Partition key and row key."""
        raise NotImplementedError


def key(text: str) -> str:
    """Any text as a key: letters, digits and `_ . - ~ : ( )` stay, the rest becomes `=` and hexadecimal UTF-8."""
    return quote(text, safe=":()").replace("%", "=")


def text(key: str) -> str:
    """The text of a `key`."""
    return unquote(key.replace("=", "%"))
