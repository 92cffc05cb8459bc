"""The Event Grid door: an event only says «look at this server again»."""

from __future__ import annotations

import azure.durable_functions as df
import azure.functions as func

from functions import signals
from shared.decisions import allowed
from shared.desired import events
from shared.platform import logs
from shared.platform.settings import settings

blueprint = df.Blueprint()
log = logs.logger(__name__)


@blueprint.event_grid_trigger(arg_name="event")
@blueprint.durable_client_input(client_name="client")
async def server_changed(event: func.EventGridEvent, client: df.DurableFunctionsClient) -> None:
    """Event Grid events and CloudEvents of the watched subscriptions."""
    # The binding gives a CloudEvent, which calls its type otherwise, where the subscription delivers such.
    event_type = getattr(event, "event_type", None) or getattr(event, "type", None)
    content = events.read(event_type, event.subject, event.get_json(), settings().identity.object_id)
    if isinstance(content, events.Ignored):
        log.info("Event %s ignored: %s.", event.id, content.reason)
    elif problem := allowed.server_problem(content.server, settings()):
        log.warning("Event %s ignored: %s", event.id, problem.message)
    else:
        with logs.about(server=content.server.key):
            log.info("Event %s: %s.", event.id, type(content).__name__.lower())
            if isinstance(content, events.Deleted):
                from shared.steps import presence

                await presence.note_deletion(content.server)
            await signals.look(client, content.server)
