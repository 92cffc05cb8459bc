"""A server parameter of a flexible server, and what others use of those that mirroring shares: the types alone."""

from __future__ import annotations

import msgspec


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One server parameter as Azure Resource Manager describes it."""

    name: str
    value: str
    default: str = ""
    allowed: str = ""
    """The service's text for the allowed values: `a,b,c`, `1-100` or a pattern; '' for no restriction."""
    read_only: bool = False
    dynamic: bool = True
    """The value takes effect at once; otherwise with the next restart."""
    pending_restart: bool = False
    data_type: str = "String"


class Used(msgspec.Struct, frozen=True):
    """How many replication slots and WAL senders others than the app's mirrors use."""

    slots: int = 0
    senders: int = 0
