"""A stack with the real app and rows in its tables, for tests of what people and portals look at: no server, no Fabric.

The clock's functions stand still, so that nothing but a test changes a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from local.example import Fleet
from local.scenario import Operator, acting_as
from tests.conftest import StackFactory

PARTS = ("front_door", "identity", "azurite", "eventgrid", "host")
NEVER = "0 0 0 29 2 *"
SETTINGS = {"HEALTH_SCHEDULE": NEVER, "RESYNC_SCHEDULE": NEVER, "PRUNE_SCHEDULE": NEVER}


class Seeded(msgspec.Struct, frozen=True):
    """`operator` calls the app, `fleet` writes rows."""

    operator: Operator
    fleet: Fleet

    def key_of_run(self, server: str, number: int) -> str:
        """The instance id of a server's run."""
        topology = self.operator.topology
        return f"{topology.subscription}:{topology.resource_group}:{server}:{number}"


@contextmanager
def seeded(stack_factory: StackFactory) -> Iterator[Seeded]:
    """The session's stack of these parts. What a test writes stays: use names or a workspace of its own."""
    stack = stack_factory(*PARTS, settings=SETTINGS)
    with acting_as(stack, "operator"):
        operator = Operator(stack)
        fleet = Fleet(stack.topology, operator.credential)
        yield Seeded(operator, fleet)
        fleet.close()
        operator.close()
