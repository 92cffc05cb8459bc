"""HTTP doors of one server: the plan, the wish, how far it is, the restart decision, and the way back."""

from __future__ import annotations

import azure.durable_functions as df
import azure.functions as func
import msgspec

from functions import bodies, signals
from functions.messages import RestartDecision
from functions.problems import answer, with_problems
from shared.decisions import allowed
from shared.desired import server_id
from shared.desired.intent import listed
from shared.desired.server_id import ServerId
from shared.platform.errors import Conflict, InvalidInput, NotAllowed
from shared.platform.settings import settings

blueprint = df.Blueprint()

SERVER = "servers/{subscription}/{resource_group}/{server}"


@blueprint.route(route="servers", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@blueprint.durable_client_input(client_name="client")
@with_problems("phase", "search", "limit", "continuation")
async def get_servers(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    """The recorded servers with phase and progress; those that need attention come first."""
    from shared.dashboard import listing

    page = await listing.servers(req.params)
    progress = await signals.progress(client, (server.run for server in page.value if server.phase != "Mirrored"))
    return answer(msgspec.to_builtins(listing.with_progress(page, progress)))


@blueprint.route(route=f"{SERVER}/readiness", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@with_problems("databases", "workspace", "gateway", "rights")
async def get_readiness(req: func.HttpRequest) -> func.HttpResponse:
    """The checks and the plan for a server; nothing is changed."""
    from shared.steps import requests

    asked = {name: text for name in ("workspace", "gateway", "rights") if (text := req.params.get(name, "").strip())}
    databases = {"databases": listed(text)} if (text := req.params.get("databases", "")) else {}
    report = await requests.readiness_of(_server(req), asked | databases)
    return answer(msgspec.to_builtins(report))


@blueprint.route(route=f"{SERVER}/mirroring", methods=["PUT"], auth_level=func.AuthLevel.FUNCTION)
@blueprint.durable_client_input(client_name="client")
@with_problems()
async def put_mirroring(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    """Have the server mirrored. The same wish again joins what is being done."""
    from shared.steps import requests

    server = _server(req)
    await requests.ask(server, req.get_body())
    await signals.look(client, server)
    return _accepted(req, server)


@blueprint.route(route=f"{SERVER}/mirroring", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@blueprint.durable_client_input(client_name="client")
@with_problems()
async def get_mirroring(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    """Phase, progress, mirrors and the last report of a server."""
    from shared.steps import requests

    server = _server(req)
    run = await signals.present_run(client, server)
    state = await requests.describe(server, bool(run))
    progress = await signals.custom_status(client, run) if run else None
    shown = {"run": run or state.run, "running": bool(run), "progress": msgspec.to_builtins(progress)}
    return answer(msgspec.to_builtins(state) | shown)


@blueprint.route(route=f"{SERVER}/mirroring/report", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@with_problems()
async def get_report(req: func.HttpRequest) -> func.HttpResponse:
    """The last report of a server in full, however long it is."""
    from shared.steps import requests

    return answer(msgspec.to_builtins(await requests.last_report(_server(req))))


@blueprint.route(route=f"{SERVER}/mirroring", methods=["DELETE"], auth_level=func.AuthLevel.FUNCTION)
@blueprint.durable_client_input(client_name="client")
@with_problems()
async def delete_mirroring(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    """Release the server: withdraw the wish that came over HTTP. 409 where a tag still wants it."""
    from shared.steps import requests

    server = _server(req)
    await requests.withdraw(server)
    await signals.look(client, server)
    return _accepted(req, server)


@blueprint.route(route=f"{SERVER}/mirroring/restart-decision", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@blueprint.durable_client_input(client_name="client")
@with_problems()
async def post_restart_decision(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    """Allow or refuse the restart that a run waits for."""
    server = _server(req)
    if not await signals.decide_restart(client, server, _decision(req.get_body())):
        raise Conflict(
            f"Nothing waits for a restart decision on server {server.name!r}.",
            code="NothingToDecide",
            remedy="GET the server's mirroring to see what it is doing.",
        )
    return _accepted(req, server)


@blueprint.route(route=f"{SERVER}/mirroring/rotate-password", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
@blueprint.durable_client_input(client_name="client")
@with_problems()
async def post_rotate_password(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    """Give the fabric role a new password, and its connections too."""
    from shared.steps import requests

    server = _server(req)
    await requests.rotate(server)
    await signals.look(client, server)
    return _accepted(req, server)


def _server(req: func.HttpRequest) -> ServerId:
    """The server that the address names. Raises `InvalidInput`, and `NotAllowed` for a foreign subscription."""
    parts = req.route_params
    server = server_id.of(parts["subscription"], parts["resource_group"], parts["server"])
    if problem := allowed.server_problem(server, settings()):
        raise NotAllowed(problem.message, code=problem.code, remedy=problem.remedy)
    return server


def _decision(body: bytes) -> RestartDecision:
    decided = bodies.only_boolean(body, "restart")
    if decided is None:
        raise InvalidInput(
            "The body does not say whether to restart.",
            code="InvalidBody",
            remedy='Send {"restart": true} or {"restart": false}.',
        )
    return RestartDecision(decided)


def _accepted(req: func.HttpRequest, server: ServerId) -> func.HttpResponse:
    location = (
        f"{req.url.split('/servers/')[0]}/servers/{server.subscription}/{server.resource_group}/{server.name}/mirroring"
    )
    return answer({"server": str(server), "location": location}, 202, {"Location": location, "Retry-After": "5"})
