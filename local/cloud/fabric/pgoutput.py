"""Reads the messages of PostgreSQL's `pgoutput` plugin (protocol version 1), as far as counting changes needs them.

The format is the one in PostgreSQL's manual, "Logical Replication Message Formats".
"""

from __future__ import annotations

import struct

import msgspec

POSTGRES_EPOCH = 946_684_800
CHANGES = {b"I", b"U", b"D"}


class Relation(msgspec.Struct, frozen=True):
    """What an oid in the following changes stands for."""

    oid: int
    schema: str
    table: str


class Change(msgspec.Struct, frozen=True):
    """One row inserted, updated or deleted. `size`: bytes of its column data on the wire."""

    relation: int
    size: int


class Commit(msgspec.Struct, frozen=True):
    """The end of a transaction. `end`: WAL position; `time`: seconds since the Unix epoch, by the source's clock."""

    end: int
    time: float


def parse(message: bytes) -> Relation | Change | Commit | None:
    """One message, or None for a kind that says nothing about rows."""
    kind = message[:1]
    if kind in CHANGES:
        return Change(struct.unpack_from("!I", message, 1)[0], len(message) - 6)
    if kind == b"R":
        schema, table = message[5:].split(b"\0", 2)[:2]
        return Relation(struct.unpack_from("!I", message, 1)[0], schema.decode(), table.decode())
    if kind == b"C":
        end, microseconds = struct.unpack_from("!qq", message, 10)
        return Commit(end, microseconds / 1e6 + POSTGRES_EPOCH)
    return None
