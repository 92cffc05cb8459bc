"""HTTP doors of the pages that people look at."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import azure.durable_functions as df
import azure.functions as func

from functions import signals
from functions.problems import TITLES, UNEXPECTED, Door, require_readable, status_of
from shared.platform.errors import MirrorError

if TYPE_CHECKING:
    from shared.dashboard.links import Links

blueprint = df.Blueprint()
OF_LIST = ("health", "server", "workspace", "search", "page")
"""What chooses mirrors of the list. The page of one mirror takes it along, for the way back."""
log = logging.getLogger(__name__)


def shown(*query: str) -> Callable[[Door], Door]:
    """Let a door answer with a page for people whatever goes wrong behind it. `query`: the parameters that it takes."""

    def guard(door: Door) -> Door:
        @functools.wraps(door)
        async def guarded(req: func.HttpRequest, *clients: df.DurableFunctionsClient) -> func.HttpResponse:
            try:
                require_readable(req, query)
                return await door(req, *clients)
            except MirrorError as error:
                return _problem(req, error)
            except Exception:
                log.exception("%s failed", door.__name__)
                return _problem(req, UNEXPECTED)

        return guarded

    return guard


@blueprint.route(route="dashboard", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@blueprint.durable_client_input(client_name="client")
@shown(*OF_LIST)
async def get_dashboard(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    """Every mirror, worst first, and the servers that are being prepared or need somebody."""
    from shared.dashboard import overview, page

    view = await overview.look(req.params)
    progress = await signals.progress(client, view.runs)
    return _html(page.overview(view, progress, _links(req), f"{req.url.partition('/dashboard')[0]}/"))


@blueprint.route(route="dashboard/{workspace}/{mirror}", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@shown(*OF_LIST, "hours")
async def get_dashboard_mirror(req: func.HttpRequest) -> func.HttpResponse:
    """One mirror with its history."""
    from shared.dashboard import detail, page

    view = await detail.look(req.route_params["workspace"], req.route_params["mirror"], req.params)
    return _html(page.mirror(view, _links(req)))


def _links(req: func.HttpRequest) -> Links:
    from shared.dashboard import links

    return links.of(req.url.partition("?")[0], req.params, depth=len(req.route_params))


def _problem(req: func.HttpRequest, error: MirrorError) -> func.HttpResponse:
    from shared.dashboard import page

    status = status_of(error)
    return _html(page.problem(TITLES[status], error, _links(req)), status)


def _html(text: str, status: int = 200) -> func.HttpResponse:
    from shared.dashboard import page

    return func.HttpResponse(text, status_code=status, mimetype="text/html", charset="utf-8", headers=page.HEADERS)
