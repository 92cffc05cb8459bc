"""The entity behind each server's mailbox, which starts the server's runs: one at a time."""

from __future__ import annotations

from typing import Any

import azure.durable_functions as df
import msgspec
from durabletask.entities import DurableEntity

from functions.corridor import prepared
from functions.messages import Box, OfServer, RunEnded
from functions.orchestrations import reconcile_server
from shared.desired import server_id

blueprint = df.Blueprint()
BOX, RUN_ENDED = prepared(Box), prepared(RunEnded)


@blueprint.entity_trigger(context_name="context")
class server_mailbox(DurableEntity):  # noqa: N801 - the name of the function
    """One run at a time for a server, and no change lost: a signal during a run means one more run."""

    def look(self, _: Any = None) -> None:
        """Something may have changed."""
        box = self._box()
        self._keep(msgspec.structs.replace(box, again=True) if box.running else self._started(box))

    def finished(self, ended: Any) -> None:
        """A run is over (`RunEnded`). A run that is not the present one changes nothing."""
        box = self._box()
        if msgspec.convert(ended, RUN_ENDED).run == box.running:
            self._keep(self._started(box) if box.again else msgspec.structs.replace(box, running=""))

    def _box(self) -> Box:
        return msgspec.convert(self.get_state(dict, {}), BOX)

    def _keep(self, box: Box) -> None:
        self.set_state(msgspec.to_builtins(box))

    def _started(self, box: Box) -> Box:
        key = self.entity_context.entity_id.key
        run = f"{key}:{box.runs + 1}"
        request = msgspec.to_builtins(OfServer(server=server_id.from_key(key)))
        self.entity_context.schedule_new_orchestration(reconcile_server.name, input=request, instance_id=run)
        return Box(runs=box.runs + 1, running=run)
