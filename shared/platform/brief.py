"""Long lists and long texts in short form: the one place where they are cut, grouped and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

NAMED = 5
"""How many things of a list a sentence names."""
MOST_LABELS = 50
"""How many groups are counted by name."""
OTHERS = "others"
"""The label of all further groups."""


class Brief[T](msgspec.Struct, frozen=True):
    """The first things of each group, in their order, and how many more there are by the label of the group."""

    shown: tuple[T, ...]
    more: dict[str, int]


def listed(texts: Sequence[str], separator: str = ", ", most: int = NAMED) -> str:
    """The first texts, and how many more there are: `a, b and 12 more`, `a; b; and 12 more`."""
    shown = separator.join(texts[:most])
    return f"{shown}{separator.replace(',', '')}and {len(texts) - most:,} more" if len(texts) > most else shown


def cut(text: str, most: int) -> str:
    """The text in at most `most` bytes as JSON in UTF-8. One that is longer ends with an ellipsis."""
    if size(text) <= most:
        return text
    text = text[:most]
    while text and size(f"{text}…") > most:
        text = text[: len(text) * 9 // 10]
    return f"{text}…"


def size(value: object) -> int:
    """Bytes of a value as JSON in UTF-8. In UTF-16, as Table Storage counts, a text takes at most twice as much."""
    return len(msgspec.json.encode(value))


def brief[T](things: Sequence[T], label: Callable[[T], str], each: int, most: int) -> Brief[T]:
    """At most `each` things of every label, and at most `most` things in all."""
    shown, seen = list[T](), Counter[str]()
    for thing in things:
        seen[label(thing)] += 1
        if seen[label(thing)] <= each and len(shown) < most:
            shown.append(thing)
    counts = (seen - Counter(map(label, shown))).most_common()
    more = dict(counts[:MOST_LABELS])
    if beyond := sum(count for _, count in counts[MOST_LABELS:]):
        more[OTHERS] = more.get(OTHERS, 0) + beyond
    return Brief(tuple(shown), more)
