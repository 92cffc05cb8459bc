"""A Functions app that uses each thing the local host has to offer, so that its tests can look at it from outside."""

import asyncio
import contextlib
import json
import logging
import time
from datetime import timedelta
from pathlib import Path

import azure.durable_functions as df
import azure.functions as func
from durabletask import task
from durabletask.entities import DurableEntity, EntityInstanceId

app = df.DFApp(http_auth_level=func.AuthLevel.FUNCTION)
plain = func.Blueprint()  # it has the retry decorator, which a durable app lacks
seen: dict[str, list] = {"events": [], "ticks": [], "attempts": [], "startup": [], "slow": []}
busy = {"now": 0, "most": 0}
crowded = asyncio.Event()
HOST_JSON = json.loads(Path(__file__).with_name("host.json").read_text())
AT_A_TIME = HOST_JSON["extensions"]["durableTask"]["maxConcurrentActivityFunctions"]
COMPANY_SECONDS = 5


def _json(body: object, status: int = 200) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(body), status_code=status, mimetype="application/json")


@app.route(route="echo/{kind:int}/{*rest}", methods=["GET", "POST"], auth_level=func.AuthLevel.ANONYMOUS)
def echo(req: func.HttpRequest) -> func.HttpResponse:
    response = func.HttpResponse(
        json.dumps(
            {
                "method": req.method,
                "url": req.url,
                "route": dict(req.route_params),
                "query": dict(req.params),
                "headers": dict(req.headers),
                "body": req.get_body().hex(),
            }
        ),
        status_code=201,
        headers={"X-Answer": "42"},
        mimetype="application/json",
    )
    response.headers.add("Set-Cookie", "crumb=1; Path=/sample; HttpOnly; SameSite=Lax; Max-Age=60")
    response.headers.add("Set-Cookie", "loaf=2; Domain=example.com; Secure; Expires=Fri, 01 Jan 2027 12:00:00 GMT")
    return response


@app.route(route="echo/{kind}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def echo_word(req: func.HttpRequest) -> func.HttpResponse:
    return _json({"word": req.route_params["kind"]})


@app.route(route="binary", methods=["POST", "HEAD"])
async def binary(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(req.get_body()[::-1], mimetype="application/octet-stream")


@app.route(route="locked", methods=["GET"], auth_level=func.AuthLevel.ADMIN)
def locked(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(status_code=204)


@app.route(route="broken", auth_level=func.AuthLevel.ANONYMOUS)
def broken(req: func.HttpRequest) -> func.HttpResponse:
    raise RuntimeError("broken on purpose")


@app.route(route="slow", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def slow(req: func.HttpRequest) -> func.HttpResponse:
    await asyncio.sleep(0.5)
    return func.HttpResponse("done")


@app.route(route="seen/{what}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def what_was_seen(req: func.HttpRequest) -> func.HttpResponse:
    return _json(seen[req.route_params["what"]])


@app.route(route="start/{name}/{instance}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    instance = req.route_params["instance"]
    wanted = req.get_json() if req.get_body() else None
    await client.schedule_new_orchestration(req.route_params["name"], input=wanted, instance_id=instance)
    return client.create_check_status_response(req, instance)


@app.route(route="signal/{key}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def signal(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    for _ in range(int(req.params["times"])):
        await client.signal_entity(EntityInstanceId("mailbox", req.route_params["key"]), "look")
    return func.HttpResponse(status_code=202)


@app.event_grid_trigger(arg_name="event")
async def resource_changed(event: func.EventGridEvent) -> None:
    if event.subject == "fail":
        raise ValueError("not today")
    seen["events"].append([event.id, event.subject, event.get_json()])


@app.event_grid_trigger(arg_name="event")
async def cloud_changed(event: func.CloudEvent) -> None:
    seen["events"].append([event.id, event.subject, event.get_json()])


@app.timer_trigger(schedule="%TICK_SCHEDULE%", arg_name="timer", use_monitor=False)
async def tick(timer: func.TimerRequest) -> None:
    seen["ticks"].append([time.time(), timer.past_due, timer.schedule_status, timer.schedule])


@app.timer_trigger(schedule="*/1 * * * * *", arg_name="timer")
async def slow_tick(timer: func.TimerRequest) -> None:
    seen["slow"].append(["start", time.time(), timer.past_due])
    await asyncio.sleep(1.3)
    seen["slow"].append(["end", time.time(), timer.past_due])


@app.timer_trigger(schedule="0 0 5 1 1 *", arg_name="timer", run_on_startup=True)
def yearly(timer: func.TimerRequest) -> None:
    seen["startup"].append([timer.past_due, timer.schedule_status])


@plain.timer_trigger(schedule="0 5 1 1 *", arg_name="timer")
@plain.retry(strategy="fixed_delay", max_retry_count="2", delay_interval="00:00:00")
def flaky_timer(timer: func.TimerRequest, context: func.Context) -> None:
    seen["attempts"].append([context.retry_context.retry_count, context.retry_context.max_retry_count])
    raise RuntimeError("always")


@app.orchestration_trigger(context_name="context")
def fan_out(ctx: task.OrchestrationContext, wanted: dict):
    results = yield task.when_all([ctx.call_activity("add_one", input=n) for n in range(wanted["n"])])
    return {"sum": sum(results)}


@app.orchestration_trigger(context_name="context")
def parent(ctx: task.OrchestrationContext, wanted: dict):
    ctx.set_custom_status({"phase": "child"})
    total = yield ctx.call_sub_orchestrator("fan_out", input=wanted, instance_id=f"{ctx.instance_id}:child")
    ctx.set_custom_status({"phase": "decision"})
    decision = yield ctx.wait_for_external_event("decision")
    yield ctx.create_timer(timedelta(seconds=0.1))
    return {"total": total, "decision": decision}


@app.orchestration_trigger(context_name="context")
def persistent(ctx: task.OrchestrationContext, wanted: dict):
    policy = task.RetryPolicy(first_retry_interval=timedelta(seconds=0.05), max_number_of_attempts=3)
    result = yield ctx.call_activity("fails_twice", input=ctx.instance_id, retry_policy=policy)
    return result


@app.orchestration_trigger(context_name="context")
def fragile(ctx: task.OrchestrationContext, wanted: dict):
    result = yield ctx.call_activity("fails_twice", input=ctx.instance_id)
    return result


@app.orchestration_trigger(context_name="context")
def catching(ctx: task.OrchestrationContext, activity: str):
    try:
        yield ctx.call_activity(activity, input=None)
    except task.TaskFailedError as error:
        return {"type": error.details.error_type, "message": error.details.message}
    return "nothing was raised"


@app.orchestration_trigger(context_name="context")
def unlucky(ctx: task.OrchestrationContext, wanted: str):
    raise LookupError(f"no {wanted}")


@app.orchestration_trigger(context_name="context")
def secretive(ctx: task.OrchestrationContext, wanted: dict):
    result = yield ctx.call_activity("add_word", input=wanted)
    return len(result)


@app.orchestration_trigger(context_name="context")
def crowd(ctx: task.OrchestrationContext, count: int):
    yield task.when_all([ctx.call_activity("linger", input=None) for _ in range(count)])
    most = yield ctx.call_activity("most_at_once", input=None)
    return most


@app.orchestration_trigger(context_name="context")
def asks_counter(ctx: task.OrchestrationContext, wanted: str):
    counter = EntityInstanceId("Counter", "one")
    yield ctx.call_entity(counter, "add", 2)
    total = yield ctx.call_entity(counter, "add", 3)
    try:
        yield ctx.call_entity(counter, "spoil")
    except task.TaskFailedError as error:
        return {"total": total, "error": str(error)}
    return "nothing was raised"


@app.orchestration_trigger(context_name="context")
def asks_nobody(ctx: task.OrchestrationContext, entity: str):
    try:
        yield ctx.call_entity(EntityInstanceId(entity, "one"), "look")
    except task.TaskFailedError as error:
        return str(error)
    return "nothing was raised"


@app.orchestration_trigger(context_name="context")
def patient(ctx: task.OrchestrationContext, seconds: float):
    if seconds:
        yield ctx.call_sub_orchestrator("naps", input=seconds)
    return "rested"


@app.orchestration_trigger(context_name="context")
def reports(ctx: task.OrchestrationContext, count: int):
    reasons = yield ctx.call_activity("judge", input=count)
    repeated = yield ctx.call_activity("repeat", input=reasons)
    return repeated


@app.orchestration_trigger(context_name="context")
def naps(ctx: task.OrchestrationContext, seconds: float):
    yield ctx.create_timer(timedelta(seconds=seconds))


@app.orchestration_trigger(context_name="context")
def visit(ctx: task.OrchestrationContext, key: str):
    yield ctx.create_timer(timedelta(seconds=0.4))
    ctx.signal_entity(EntityInstanceId("mailbox", key), "finished")


@app.entity_trigger(context_name="context", entity_name="mailbox")
class Mailbox(DurableEntity):
    """One run at a time; a signal during a run means one more run."""

    def look(self, _=None):
        box = self.get_state(dict, {"runs": 0, "running": False, "again": False})
        if box["running"]:
            box["again"] = True
        else:
            box.update(runs=box["runs"] + 1, running=True)
            key = self.entity_context.entity_id.key
            self.entity_context.schedule_new_orchestration("visit", input=key, instance_id=f"{key}:{box['runs']}")
        self.set_state(box)

    def finished(self, _=None):
        box = self.get_state(dict, {"runs": 0, "running": False, "again": False})
        again, box["running"], box["again"] = box["again"], False, False
        self.set_state(box)
        if again:
            self.look()


@app.entity_trigger(context_name="context")
class Counter(DurableEntity):
    def add(self, amount: int) -> int:
        total = self.get_state(int, 0) + amount
        self.set_state(total)
        return total

    def spoil(self, _=None):
        raise ValueError("spoilt")


@app.activity_trigger(input_name="number")
async def add_one(number: int) -> int:
    return number + 1


@app.activity_trigger(input_name="count")
async def judge(count: int) -> list:
    message = (
        "The table sales.orders_{} has a column of a type that Fabric does not take, which is left out of the mirror."
    )
    remedy = "Nothing has to be done. To have it mirrored, give it a type from the list of those that are taken."
    return [{"code": "TypeLeftOut", "message": message.format(n), "remedy": remedy} for n in range(count)]


@app.activity_trigger(input_name="reasons")
async def repeat(reasons: list) -> list:
    return reasons


@app.activity_trigger(input_name="given")
def add_word(given: dict) -> str:
    logging.getLogger("sample").info("adding a word")
    return given["word"] + "-and-more"


@app.activity_trigger(input_name="nothing")
def fails(nothing: str) -> str:
    raise PermissionError("must be owner of table orders")


@app.activity_trigger(input_name="nothing")
def fails_silently(nothing: str) -> str:
    raise RuntimeError


attempts: dict[str, int] = {}


@app.activity_trigger(input_name="instance")
async def fails_twice(instance: str) -> int:
    attempts[instance] = attempts.get(instance, 0) + 1
    if attempts[instance] < 3:
        raise ConnectionError("not yet")
    return attempts[instance]


@app.activity_trigger(input_name="nothing")
async def linger(nothing: str) -> None:
    """Wait until as many run as host.json allows, and a little longer, in which one more would be seen."""
    busy["now"] += 1
    busy["most"] = max(busy.values())
    if busy["most"] >= AT_A_TIME:
        crowded.set()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(crowded.wait(), COMPANY_SECONDS)
    await asyncio.sleep(0.1)
    busy["now"] -= 1


@app.activity_trigger(input_name="nothing")
async def most_at_once(nothing: str) -> int:
    return busy["most"]


app.register_functions(plain)
