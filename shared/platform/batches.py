"""Puts what is sent together into as few requests as a service takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator


def by_size[T](items: Iterable[T], size: Callable[[T], int], most_bytes: int, most_items: int = 0) -> Iterator[list[T]]:
    """The items in batches of at most `most_bytes`, and at most `most_items` of them unless that is 0.

    `size` is what an item takes, in bytes. An item that is too large alone is a batch of its own: the service says so.
    """
    batch, taken = list[T](), 0
    for item in items:
        bytes = size(item)
        if batch and (taken + bytes > most_bytes or len(batch) == most_items):
            yield batch
            batch, taken = [], 0
        batch.append(item)
        taken += bytes
    if batch:
        yield batch
