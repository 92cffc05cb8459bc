"""HTTP doors of the mirrors: how they are doing, and whether the app is up."""

from __future__ import annotations

import azure.durable_functions as df
import azure.functions as func
import msgspec

from functions import bodies, signals
from functions.problems import answer, with_problems
from shared.platform.errors import InvalidInput
from shared.platform.version import VERSION

blueprint = df.Blueprint()


@blueprint.route(route="mirrors", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@with_problems("health", "server", "workspace", "search", "limit", "continuation")
async def get_mirrors(req: func.HttpRequest) -> func.HttpResponse:
    """The mirrors as they were last seen, worst first; the query chooses some, and a page of them."""
    from shared.dashboard import listing

    return answer(msgspec.to_builtins(await listing.mirrors(req.params)))


@blueprint.route(route="mirrors/{workspace}/{mirror}", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@with_problems("hours", "limit", "continuation")
async def get_mirror(req: func.HttpRequest) -> func.HttpResponse:
    """One mirror with its history, newest first; `?hours=` says how far back (24 where it does not)."""
    from shared.dashboard import listing

    mirror = await listing.mirror(req.route_params["workspace"], req.route_params["mirror"], req.params)
    return answer(msgspec.to_builtins(mirror))


@blueprint.route(route="mirrors/{workspace}/{mirror}/restart", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@blueprint.durable_client_input(client_name="client")
@with_problems()
async def post_restart(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    """Stop a mirror and start it again, which copies its tables again; the body has to confirm that."""
    from shared.dashboard.query import guid
    from shared.steps import requests

    workspace = guid("workspace", req.route_params["workspace"])
    mirror = guid("mirrored database", req.route_params["mirror"])
    if bodies.only_boolean(req.get_body(), "reseed") is not True:
        raise InvalidInput(
            "Restarting a mirror copies every table again; until that is done, readers see the old state.",
            code="ReseedNotConfirmed",
            remedy='Send {"reseed": true} as the body if that is meant.',
        )
    server = await requests.reseed(workspace, mirror)
    await signals.look(client, server)
    return answer({"server": str(server)}, 202)


@blueprint.route(route="live", methods=["GET", "HEAD"], auth_level=func.AuthLevel.ANONYMOUS)
@with_problems()
async def get_live(req: func.HttpRequest) -> func.HttpResponse:
    """Whether the app is up, and which version of it."""
    return answer({"status": "ok", "version": VERSION})
