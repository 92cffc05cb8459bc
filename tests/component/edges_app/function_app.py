"""An echo of every door of the app, as the one behind which the real host's answers were recorded."""

import json

import azure.durable_functions as df
import azure.functions as func
from durabletask import task

SERVER = "servers/{subscription}/{resource_group}/{server}"
MIRROR = "mirrors/{workspace}/{mirror}"
DOORS = {
    "get_servers": ("GET", "servers"),
    "get_readiness": ("GET", f"{SERVER}/readiness"),
    "put_mirroring": ("PUT", f"{SERVER}/mirroring"),
    "get_mirroring": ("GET", f"{SERVER}/mirroring"),
    "delete_mirroring": ("DELETE", f"{SERVER}/mirroring"),
    "post_restart_decision": ("POST", f"{SERVER}/mirroring/restart-decision"),
    "post_rotate_password": ("POST", f"{SERVER}/mirroring/rotate-password"),
    "get_mirrors": ("GET", "mirrors"),
    "get_mirror": ("GET", MIRROR),
    "post_restart": ("POST", f"{MIRROR}/restart"),
    "get_dashboard": ("GET", "dashboard"),
    "get_dashboard_mirror": ("GET", "dashboard/{workspace}/{mirror}"),
    "get_openapi": ("GET", "openapi.json"),
    "get_live": ("GET", "live"),
}
app = df.DFApp()


def _door(name: str, method: str, route: str) -> None:
    def echo(req: func.HttpRequest) -> func.HttpResponse:
        match req.params.get("do"):
            case "fail":
                raise RuntimeError("on order")
            case "204":
                return func.HttpResponse(status_code=204)
            case "none":
                return None
            case "headers":
                headers = {"Location": "/api/x", "Retry-After": "5", "X-One": "1"}
                return func.HttpResponse(
                    '{"a":1}', status_code=202, headers=headers, mimetype="application/problem+json"
                )
        seen = {"function": name, "url": req.url, "method": req.method, "query": dict(req.params)}
        return func.HttpResponse(
            json.dumps({**seen, "params": dict(req.route_params)}), mimetype="application/json", charset="utf-8"
        )

    echo.__name__ = name
    level = func.AuthLevel.ANONYMOUS if name == "get_live" else func.AuthLevel.FUNCTION
    app.route(route=route, methods=[method], auth_level=level)(echo)


for door, (verb, template) in DOORS.items():
    _door(door, verb, template)


@app.event_grid_trigger(arg_name="event")
def server_changed(event: func.EventGridEvent) -> None:
    if event.subject == "BOOM":
        raise RuntimeError("on order")


@app.timer_trigger(schedule="0 0 5 1 1 *", arg_name="timer")
def record_mirror_health(timer: func.TimerRequest) -> None:
    pass


@app.orchestration_trigger(context_name="context")
def orch(ctx: task.OrchestrationContext, _: object):
    if ctx.instance_id.startswith("wait"):
        yield ctx.wait_for_external_event("never")
    return "done"
