"""What a table of Table Storage holds, and what is read of it: frozen structs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import quote, unquote

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BATCH = 100
"""Rows of one partition that one transaction writes at most."""


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """Columns of a table that are read together. A field named `etag` gets the row's ETag, which is not a column."""

    texts: ClassVar[Mapping[type, Callable[[str], Any]]] = {}
    """Types that the table keeps as `str` writes them, and the function that reads the text. Other structs and lists
    are kept as JSON."""


class Row(Columns, frozen=True, kw_only=True):
    """A whole row of a table, which can be written too."""

    updated_at: datetime = EPOCH
    """When the row was last written."""
    etag: str = ""
    """Guards the next write."""

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
