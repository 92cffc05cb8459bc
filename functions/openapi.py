"""HTTP door of the API's own description, for portals and gateways that import it."""

from __future__ import annotations

import azure.durable_functions as df
import azure.functions as func

from functions.problems import answer, with_problems

blueprint = df.Blueprint()


@blueprint.route(route="openapi.json", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
@with_problems()
async def get_openapi(req: func.HttpRequest) -> func.HttpResponse:
    """OpenAPI 3.1 of every HTTP door of this app."""
    from functions import api_document

    return answer(api_document.document(req.url.partition("/openapi.json")[0]))
