"""The HTTP API described as OpenAPI 3.1. The schemas are those of the values that the doors really answer."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from functions.problems import TITLES
from shared.dashboard import listing
from shared.dashboard.query import LEVELS
from shared.decisions.progress import Status
from shared.decisions.readiness import Report
from shared.desired.intent import RIGHTS, Wish
from shared.platform.version import VERSION
from shared.steps.requests import ServerState

JSON, HTML, PROBLEM = "application/json", "text/html", "application/problem+json"


class Accepted(msgspec.Struct):
    """The request is kept, and a run looks at the server. `location` is where to see how far it is."""

    server: str
    location: str


class Mirroring(ServerState, frozen=True, kw_only=True):
    """A server as `ServerState` says, whether a run is under way, and how far it is."""

    running: bool
    progress: Status | None


class Reseed(msgspec.Struct):
    """That every table of a mirror is to be copied again; only `true` is taken."""

    reseed: bool


class Asked(msgspec.Struct):
    """A run looks at the server that the mirror belongs to."""

    server: str


class RestartDecision(msgspec.Struct):
    """Whether the restart that a run waits for may be."""

    restart: bool


class Live(msgspec.Struct):
    """The app is up, in this version."""

    status: str
    version: str


class Problem(msgspec.Struct):
    """What went wrong (RFC 9457). `code` is stable; `remedy` says what to do."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    remedy: str


class Parameter(msgspec.Struct, frozen=True):
    """A parameter in the query. `schema` is JSON Schema."""

    name: str
    description: str
    schema: dict[str, object] = msgspec.field(default_factory=lambda: {"type": "string"})


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. `answer` is what comes with `status`: a type as JSON, or the name of a media type."""

    id: str
    method: str
    path: str
    tag: str
    summary: str
    answer: Any
    description: str = ""
    query: tuple[Parameter, ...] = ()
    body: type | None = None
    body_required: bool = True
    status: int = 200
    problems: tuple[int, ...] = ()
    open: bool = False


def _number(default: int, most: int | None = None) -> dict[str, object]:
    return {"type": "integer", "minimum": 1, "default": default} | ({"maximum": most} if most else {})


SERVER = "/servers/{subscription}/{resource_group}/{server}"
MIRROR = "/mirrors/{workspace}/{mirror}"
CONTINUATION = Parameter("continuation", "What the last answer gave as its continuation: the list goes on from there.")
LIMIT = Parameter("limit", "How many to give at most.", _number(listing.LIMIT, listing.MOST))
OF_MIRRORS = (
    Parameter("health", "Only mirrors of this level. Letter case carries no meaning.", {"enum": list(LEVELS)}),
    Parameter("server", "Only mirrors of this server: its name, or its resource id."),
    Parameter("workspace", "Only mirrors in this Fabric workspace.", {"type": "string", "format": "uuid"}),
    Parameter("search", "Only mirrors in whose names, ids, level or reasons each of these words occurs."),
)
OF_LIST = (*OF_MIRRORS, Parameter("page", "Which page of the list.", _number(1)))
HOURS = Parameter("hours", "How far back to look, at most HISTORY_DAYS.", _number(listing.HOURS))
OF_PATH = {
    "subscription": Parameter("subscription", "The subscription's id.", {"type": "string", "format": "uuid"}),
    "resource_group": Parameter("resource_group", "The resource group's name."),
    "server": Parameter("server", "The flexible server's name."),
    "workspace": Parameter("workspace", "The Fabric workspace's id.", {"type": "string", "format": "uuid"}),
    "mirror": Parameter("mirror", "The mirrored database's id.", {"type": "string", "format": "uuid"}),
}

DOORS = (
    Door(
        id="listServers", method="get", path="/servers", tag="servers", answer=listing.Servers, problems=(400,),
        summary="The servers that somebody asked for, those that want attention first",
        query=(
            Parameter("phase", "Only servers in this phase.", {"enum": list(listing.PHASES)}),
            Parameter("search", "Only servers in whose resource id each of these words occurs."),
            LIMIT, CONTINUATION,
        ),
    ),
    Door(
        id="getReadiness", method="get", path=f"{SERVER}/readiness", tag="servers", answer=Report,
        problems=(400, 403, 404), summary="What would be done to a server; nothing is changed",
        query=(
            Parameter("databases", "Names, with commas between them. Without it: as the tag or the request says."),
            Parameter("workspace", "The Fabric workspace to check.", {"type": "string", "format": "uuid"}),
            Parameter("gateway", "The virtual network data gateway to check.", {"type": "string", "format": "uuid"}),
            Parameter("rights", "How the fabric role is to get its rights on tables.", {"enum": list(RIGHTS)}),
        ),
    ),
    Door(
        id="putMirroring", method="put", path=f"{SERVER}/mirroring", tag="servers", answer=Accepted, status=202,
        body=Wish, body_required=False, problems=(400, 403, 404, 409), summary="Have a server mirrored",
        description="Without a body: every user database, into the default workspace. The same request again joins "
        "what is being done. 409 where a tag of the server says otherwise.",
    ),
    Door(
        id="getMirroring", method="get", path=f"{SERVER}/mirroring", tag="servers", answer=Mirroring,
        problems=(400, 403, 404), summary="Phase, progress, mirrors and the last report of a server",
    ),
    Door(
        id="getReport", method="get", path=f"{SERVER}/mirroring/report", tag="servers", answer=Report,
        problems=(400, 403, 404), summary="The last report of a server in full",
        description="`getMirroring` has a long report in short form: `left_out` counts the checks that it leaves out.",
    ),
    Door(
        id="deleteMirroring", method="delete", path=f"{SERVER}/mirroring", tag="servers", answer=Accepted, status=202,
        problems=(400, 403, 404, 409), summary="Release a server",
        description="Withdraws what was asked over HTTP. 409 where a tag still wants the server mirrored.",
    ),
    Door(
        id="decideRestart", method="post", path=f"{SERVER}/mirroring/restart-decision", tag="servers",
        body=RestartDecision, answer=Accepted, status=202, problems=(400, 403, 409),
        summary="Allow or refuse the restart that a run waits for",
    ),
    Door(
        id="rotatePassword", method="post", path=f"{SERVER}/mirroring/rotate-password", tag="servers",
        answer=Accepted, status=202, problems=(400, 403, 404, 409),
        summary="Give the fabric role of a server a new password, and its connections too",
    ),
    Door(
        id="listMirrors", method="get", path="/mirrors", tag="mirrors", answer=listing.Mirrors, problems=(400,),
        summary="Every mirror as it was last seen, worst first", query=(*OF_MIRRORS, LIMIT, CONTINUATION),
    ),
    Door(
        id="getMirror", method="get", path=MIRROR, tag="mirrors", answer=listing.MirrorHistory, problems=(400, 404),
        summary="One mirror and its history, newest first",
        query=(
            HOURS,
            Parameter(
                "limit", "How many observations to give at most.",
                _number(listing.OBSERVATIONS, listing.MOST_OBSERVATIONS),
            ),
            CONTINUATION,
        ),
    ),
    Door(
        id="restartMirror", method="post", path=f"{MIRROR}/restart", tag="mirrors", body=Reseed, answer=Asked,
        status=202, problems=(400, 404), summary="Stop a mirror and start it again",
        description="Every table is copied again; until that is done, readers see the old state.",
    ),
    Door(
        id="getDashboard", method="get", path="/dashboard", tag="pages", answer=HTML, problems=(400,),
        summary="The page that an operator keeps open",
        query=OF_LIST,
    ),
    Door(
        id="getDashboardMirror", method="get", path="/dashboard/{workspace}/{mirror}", tag="pages", answer=HTML,
        problems=(400, 404), summary="The page of one mirror", query=(HOURS, *OF_LIST),
    ),
    Door(id="getOpenApi", method="get", path="/openapi.json", tag="app", answer=dict, summary="This description"),
    Door(id="getLive", method="get", path="/live", tag="app", answer=Live, open=True, summary="Whether the app is up"),
    Door(
        id="headLive", method="head", path="/live", tag="app", answer=Live, open=True,
        summary="The same without the body, as the health probes of Azure Front Door ask",
    ),
)  # fmt: skip


def document(address: str) -> dict[str, object]:
    """The description of the API that begins at `address` (e.g. `https://…/api`)."""
    paths: dict[str, dict[str, object]] = {}
    for door in DOORS:
        paths.setdefault(door.path, {})[door.method] = _operation(door)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fabric mirrors of Azure Database for PostgreSQL",
            "version": VERSION,
            "description": "Has flexible servers mirrored into Microsoft Fabric, and tells how the mirrors are doing.",
        },
        "servers": [{"url": address}],
        "security": [{"key": []}, {"code": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas()[1],
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-functions-key", "description": "A function key."},
                "code": {"type": "apiKey", "in": "query", "name": "code", "description": "The same, for browsers."},
            },
        },
    }


@cache
def _schemas() -> tuple[dict[type, dict[str, object]], dict[str, object]]:
    """The schema of each type that a door takes or answers, and the components that they refer to."""
    kinds = {kind for door in DOORS for kind in (door.body, door.answer) if isinstance(kind, type)} | {Problem}
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    schemas, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    plain: dict[str, object] = msgspec.json.decode(msgspec.json.encode(components))
    return dict(zip(ordered, schemas, strict=True)), plain


def _operation(door: Door) -> dict[str, object]:
    named = [OF_PATH[part[1:-1]] for part in door.path.split("/") if part.startswith("{")]
    problems = {*door.problems, 400, 413, 500, 503}
    operation: dict[str, object] = {
        "operationId": door.id,
        "tags": [door.tag],
        "summary": door.summary,
        "parameters": [
            *({**_parameter(parameter), "in": "path", "required": True} for parameter in named),
            *({**_parameter(parameter), "in": "query"} for parameter in door.query),
        ],
        "responses": {
            str(door.status): _answer(door),
            **({} if door.open else {"401": {"description": "No key, or a wrong one. The body is empty."}}),
            **{
                str(status): _refusal(door, status)
                for status in sorted(problems)
                if not door.open or status in (400, 413)
            },
        },
    }
    if door.description:
        operation["description"] = door.description
    if door.open:
        operation["security"] = []
    if door.body:
        content = {JSON: {"schema": _schemas()[0][door.body]}}
        operation["requestBody"] = {"required": door.body_required, "content": content}
    return operation


def _parameter(parameter: Parameter) -> dict[str, object]:
    return {"name": parameter.name, "description": parameter.description, "schema": parameter.schema}


def _answer(door: Door) -> dict[str, object]:
    if door.answer == HTML:
        return {"description": "A page.", "content": {HTML: {"schema": {"type": "string"}}}}
    answer: dict[str, object] = {
        "description": door.summary if door.status == 200 else "Accepted: a run looks at the server.",
        "content": {JSON: {"schema": _schemas()[0][door.answer]}},
    }
    if door.answer is Accepted:
        answer["headers"] = {
            "Location": {"description": "Where to see how far it is.", "schema": {"type": "string", "format": "uri"}},
            "Retry-After": {"description": "Seconds until a look is worth while.", "schema": {"type": "integer"}},
        }
    return answer


def _refusal(door: Door, status: int) -> dict[str, object]:
    if door.answer == HTML:
        return {"description": TITLES[status], "content": {HTML: {"schema": {"type": "string"}}}}
    return {"description": TITLES[status], "content": {PROBLEM: {"schema": _schemas()[0][Problem]}}}
