"""The mailbox of a server, which starts its runs: one at a time."""

from __future__ import annotations

from typing import Any

import azure.durable_functions as df
from durabletask.entities import DurableEntity, EntityInstanceId

blueprint = df.Blueprint()


def mailbox(server: str) -> EntityInstanceId:
    """The mailbox of the server with this key."""
    return EntityInstanceId("server_mailbox", server)


@blueprint.entity_trigger(context_name="context")
class server_mailbox(DurableEntity):  # noqa: N801 - the name of the function
    """One run at a time for a server, and no change lost: a signal during a run means one more run.

    State: `runs` counts them, `running` is the instance id of the present one or empty, `again` remembers a signal.
    """

    def look(self, _: Any = None) -> None:
        """Something may have changed."""
        box = self._box()
        if box["running"]:
            box["again"] = True
        else:
            self._start(box)
        self.set_state(box)

    def finished(self, run: str) -> None:
        """The run with this instance id is over, by its own word or because it was found dead."""
        box = self._box()
        if run == box["running"]:
            box["running"] = ""
            if box["again"]:
                self._start(box)
        self.set_state(box)

    def _box(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get_state(dict, {"runs": 0, "running": "", "again": False})
        return found

    def _start(self, box: dict[str, Any]) -> None:
        server = self.entity_context.entity_id.key
        box["runs"] += 1
        box["running"] = f"{server}:{box['runs']}"
        box["again"] = False
        self.entity_context.schedule_new_orchestration(
            "reconcile_server", input={"server": server}, instance_id=box["running"]
        )
