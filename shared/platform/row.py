"""Rows of Table Storage, and selections of their columns, as frozen structs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import quote, unquote

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BATCH = 100
"""The most rows that one transaction writes, all of one partition."""


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """Columns that the app reads together. A field named `etag` gets the row's ETag, which is not a column."""

    texts: ClassVar[Mapping[type, Callable[[str], Any]]] = {}
    """Types whose values the table holds as `str` writes them, each with the function that reads the text. The table
    holds other structs and lists as JSON."""


class Row(Columns, frozen=True, kw_only=True):
    """A whole row, which the app can also write."""

    remedy_when_too_large: ClassVar[str] = ""
    """What to do when a row has more data than Table Storage takes."""

    updated_at: datetime = EPOCH
    """When the row was last written."""
    etag: str = ""
    """The version of the row: a guarded write fails when the row has another version by then."""

    @property
    def keys(self) -> tuple[str, str]:
        """Partition key and row key."""
        raise NotImplementedError


def key(text: str) -> str:
    """Any text as a key. Letters, digits and `_ . - ~ : ( )` stay; the rest becomes `=` and hexadecimal UTF-8."""
    return quote(text, safe=":()").replace("%", "=")


def text(key: str) -> str:
    """The text of a `key`."""
    return unquote(key.replace("=", "%"))
