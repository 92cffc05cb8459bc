"""The mailbox of a server: where it is, and what is written to it."""

from __future__ import annotations

from durabletask.entities import EntityInstanceId

from shared.desired.server_id import ServerId

LOOK = "look"
"""Signal: something may have changed. It carries nothing."""
FINISHED = "finished"
"""Signal: a run is over. It carries `RunEnded`."""


def mailbox(server: ServerId) -> EntityInstanceId:
    """The mailbox of a server."""
    return EntityInstanceId("server_mailbox", server.key)
