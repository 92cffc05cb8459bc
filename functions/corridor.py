"""The corridor between orchestrations and activities: what travels there is typed at both ends, and plain JSON between.

A history outlives a deployment, so it holds no class paths: a message is decoded by the type that its receiver names,
and one that does not fit fails with the path of the field (`$.request.server`). Activities and orchestrations are
called by the values that the decorators here return, which know the types of request and answer; so mypy sees a call
with a wrong message. The SDK's own converters would need classes of their own, and give up the message's types.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator
from datetime import timedelta
from typing import Any, cast, get_type_hints

import azure.durable_functions as df
import msgspec
from durabletask import task

from shared.platform import reasons
from shared.platform.errors import MirrorError
from shared.platform.reasons import Reason

type Context = task.OrchestrationContext
type Flow[T] = Generator[task.Task[Any], Any, T]

CRASHED = task.RetryPolicy(
    first_retry_interval=timedelta(seconds=2),
    max_number_of_attempts=4,
    backoff_coefficient=3,
    max_retry_interval=timedelta(minutes=1),
)
"""For activities that failed unexpectedly, or whose worker died. What services answer is not retried by it."""


class Message[Q](msgspec.Struct, frozen=True):
    """What an activity is sent: the request, and the instance id of the run, which logs and traces name."""

    run: str
    request: Q


class Value[A](msgspec.Struct, frozen=True, tag="value"):
    """An activity's answer: it did its work."""

    value: A


class Later(msgspec.Struct, frozen=True, tag="later"):
    """An activity's answer: nothing is wrong, but it can't be done now."""

    reason: Reason
    retry_after: float | None = None
    """Seconds until the next try, where the service named them."""
    patience: float | None = None
    """Seconds to go on trying, where that differs from the usual."""


class Problem(msgspec.Struct, frozen=True, tag="problem"):
    """An activity's answer: a person has to do something."""

    reason: Reason


type Answer[A] = Value[A] | Later | Problem


class Activity[Q: msgspec.Struct, A]:
    """An activity: how orchestrations call it, and how its function serves them.

    The annotations of `work` say what the message and the answer hold.
    """

    def __init__(self, work: Callable[[Q], Awaitable[A]]):
        self.name, request, answer = _signature(work)
        self._work = work
        self._message = prepared(_of(Message, request))
        self._answer = prepared(_of(Value, answer) | Later | Problem)

    def begin(self, ctx: Context, request: Q) -> task.Task[Any]:
        """Schedule the activity. Its result is what `answer` reads."""
        message = msgspec.to_builtins(Message(ctx.instance_id, request))
        return ctx.call_activity(self.name, input=message, retry_policy=CRASHED)

    def answer(self, result: object) -> Answer[A]:
        """The answer in the result of a task. Raises `msgspec.ValidationError` naming the field that does not fit."""
        answer: Answer[A] = msgspec.convert(result, self._answer)
        return answer

    async def serve(self, payload: object) -> object:
        """The answer to a message, both as plain JSON. An error of this system is an answer; any other is raised."""
        from shared.platform import logs, telemetry

        message = msgspec.convert(payload, self._message)
        about = _about(message)
        with logs.about(**about), telemetry.step(self.name, about):
            try:
                return msgspec.to_builtins(Value(await self._work(message.request)))
            except MirrorError as error:
                level = logging.INFO if error.retryable else logging.WARNING
                logs.logger(__name__).log(level, "%s: %s: %s", self.name, error.code, error.message)
                reason = reasons.of(error)
                later = Later(reason, error.retry_after, error.patience)
                return msgspec.to_builtins(later if error.retryable else Problem(reason))


class Orchestration[Q: msgspec.Struct, A]:
    """An orchestration: how others call it, and how its generator serves them.

    The annotations of `body` say what the input and the answer hold.
    """

    def __init__(self, body: Callable[[Context, Q], Flow[A]]):
        self.name, request, flow = _signature(body)
        self._request, self._answer = prepared(request), prepared(flow.__args__[0])
        self._body = body

    def begin(self, ctx: Context, request: Q, instance_id: str | None = None) -> task.Task[Any]:
        """Schedule it as a sub-orchestration. Its result is what `answer` reads."""
        return ctx.call_sub_orchestrator(self.name, input=msgspec.to_builtins(request), instance_id=instance_id)

    def answer(self, result: object) -> A:
        """The answer in the result of a task. Raises `msgspec.ValidationError` naming the field that does not fit."""
        answer: A = msgspec.convert(result, self._answer)
        return answer

    def serve(self, ctx: Context, payload: object) -> Flow[object]:
        """The answer to an input, both as plain JSON."""
        return msgspec.to_builtins((yield from self._body(ctx, msgspec.convert(payload, self._request))))


class Event[T: msgspec.Struct]:
    """An external event with what it carries."""

    def __init__(self, name: str, data: type[T]):
        self.name = name
        self._data = prepared(data)

    def expect(self, ctx: Context) -> task.Task[Any]:
        """Wait for the next one. Its result is what `read` reads."""
        return ctx.wait_for_external_event(self.name)

    def read(self, arrived: task.Task[Any]) -> T:
        """What the event carries. Raises `msgspec.ValidationError` naming the field that does not fit."""
        return msgspec.convert(arrived.get_result(), self._data)

    def send(self, ctx: Context, run: str, data: T) -> None:
        """Raise the event to the orchestration with this instance id."""
        ctx.send_event(run, self.name, data=msgspec.to_builtins(data))


def activity[Q: msgspec.Struct, A](blueprint: df.Blueprint) -> Callable[[Callable[[Q], Awaitable[A]]], Activity[Q, A]]:
    """Register a function as the activity of its name."""

    def register(work: Callable[[Q], Awaitable[A]]) -> Activity[Q, A]:
        activity = Activity(work)

        async def registered(payload: object) -> object:
            return await activity.serve(payload)

        blueprint.activity_trigger(input_name="payload")(_named(registered, work))
        return activity

    return register


def orchestration[Q: msgspec.Struct, A](
    blueprint: df.Blueprint,
) -> Callable[[Callable[[Context, Q], Flow[A]]], Orchestration[Q, A]]:
    """Register a generator as the orchestration of its name."""

    def register(body: Callable[[Context, Q], Flow[A]]) -> Orchestration[Q, A]:
        orchestration = Orchestration(body)

        def registered(ctx: Context, payload: object) -> Flow[object]:
            return (yield from orchestration.serve(ctx, payload))

        blueprint.orchestration_trigger(context_name="ctx")(_named(registered, body))
        return orchestration

    return register


def prepared[T](kind: T) -> T:
    """The type, ready to be decoded in several threads at once, as the worker runs orchestrators and entities.

    msgspec collects what it has to know of a type at its first use, without a lock: a second thread that comes then
    reads what is not there yet, and ends the process (a segmentation fault in msgspec 0.22).
    """
    msgspec.json.Decoder(cast(Any, kind))
    return kind


def _about(message: Message[Any]) -> dict[str, str]:
    """What log lines and spans name: the server's key, the run and the database, as far as the request has them."""
    server, database = (getattr(message.request, name, None) for name in ("server", "database"))
    return {"server": server.key if server else "", "run": message.run, "database": database or ""}


def _of(generic: Any, argument: Any) -> Any:
    """A generic type of an argument that exists only while the program runs."""
    return generic[argument]


def _signature(function: Callable[..., Any]) -> tuple[str, Any, Any]:
    """Name, type of the last parameter and type of the answer of a function."""
    *parameters, answer = get_type_hints(function).values()
    return function.__name__, parameters[-1], answer


def _named[F: Callable[..., Any]](registered: F, function: Callable[..., Any]) -> F:
    """The SDK goes by a function's name, and the worker by its own signature."""
    registered.__name__ = registered.__qualname__ = function.__name__
    registered.__doc__ = function.__doc__
    registered.__module__ = function.__module__
    return registered
