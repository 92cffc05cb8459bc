"""What a sweep comes to: its measurements, and the mirrors that the log warns of. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from shared.platform.telemetry import Sweep
from shared.records.columns import Swept

ENDANGERING = frozenset({"WalRetained", "SlotAtRisk", "SlotLost"})
"""Codes of reasons that concern the server's disk, or WAL that a slot may lose: one notice of them is not enough."""
MOST_WARNED_OF = 20
"""Mirrors that the log of one sweep warns of."""


def sum_up(rows: Sequence[Swept], begun: datetime, now: datetime, calls: int) -> Sweep:
    """The measurements of a sweep that began and ended then, and took so many calls to Fabric."""
    return Sweep(
        levels=dict(Counter(row.level for row in rows)),
        seconds=(now - begun).total_seconds(),
        calls=calls,
        retained_wal=max((row.retained_wal_bytes or 0 for row in rows), default=0),
        oldest=max(((now - row.updated_at).total_seconds() for row in rows), default=0),
    )


def endangering(rows: Sequence[Swept]) -> list[Swept]:
    """The mirrors that the log warns of, since they endanger their servers: first those that retain most WAL."""
    dangers = [row for row in rows if ENDANGERING & {reason.code for reason in row.reasons}]
    return sorted(dangers, key=lambda row: row.retained_wal_bytes or 0, reverse=True)[:MOST_WARNED_OF]
