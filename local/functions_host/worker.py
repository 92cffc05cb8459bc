"""The app, behind the worker's own library: index it once, then invoke its functions."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import sys
import time
import uuid
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure_functions_runtime as runtime
import msgspec

from local.functions_host.crashes import Crashes, Moment
from local.functions_host.messages import PROTOS, Message, ParameterBinding, TypedData, request

log = logging.getLogger("Host")

TRIGGERS = (
    "httpTrigger", "timerTrigger", "eventGridTrigger", "orchestrationTrigger", "activityTrigger", "entityTrigger",
)  # fmt: skip
BINDINGS = (*TRIGGERS, "http", "durableClient")


class IndexingFailed(Exception):
    """The app cannot be served; the message says why and, for an error of the app's own, where."""


class InvocationFailed(Exception):
    """A function raised. `error_type` is the name of the exception's class and `message` its text."""

    def __init__(self, exception: Message):
        error_type, separator, message = (exception.message or "").partition(": ")
        self.error_type = error_type if separator else "Exception"
        self.message = (message if separator else error_type) or self.error_type
        self.stack_trace: str = exception.stack_trace or ""
        super().__init__(f"{self.error_type}: {self.message}")


class Retry(msgspec.Struct, frozen=True):
    """A retry policy. `limit` -1 means without end; `first` and `longest` are seconds between attempts."""

    limit: int
    first: float
    longest: float

    def delay(self, attempt: int) -> float:
        """Seconds to wait before retry number `attempt`, which starts at 1; it doubles up to `longest`."""
        return min(self.first * 2.0 ** min(attempt - 1, 60), self.longest)


class Function(msgspec.Struct, frozen=True):
    """One function of the app. `bindings` are as in its function.json; one of them is the trigger."""

    name: str
    id: str
    bindings: tuple[dict[str, Any], ...]
    retry: Retry | None = None

    @property
    def trigger(self) -> dict[str, Any]:
        return next(binding for binding in self.bindings if binding["type"] in TRIGGERS)

    @property
    def kind(self) -> str:
        return str(self.trigger["type"])


class App:
    """An indexed app. Functions with a durable client binding get `durable_client`."""

    def __init__(self, functions: list[Function]):
        self.functions = {function.name: function for function in functions}
        self.durable_client = ""
        self.crashes: Crashes | None = None

    def triggered_by(self, kind: str) -> list[Function]:
        return [function for function in self.functions.values() if function.kind == kind]

    async def invoke(self, function: Function, value: TypedData, reason: str) -> TypedData | None:
        """Run `function` once with `value` for its trigger, and return its answer. Raises `InvocationFailed`."""
        return await self._attempt(function, value, reason, 0)

    async def invoke_with_retries(self, function: Function, value: TypedData, reason: str) -> None:
        """Run `function`, and run it again after a failure as its own retry policy says. Raises `InvocationFailed`."""
        attempt = 0
        while True:
            try:
                await self._attempt(function, value, reason, attempt)
                return
            except InvocationFailed:
                attempt += 1
                if function.retry is None or 0 <= function.retry.limit < attempt:
                    raise
                await asyncio.sleep(function.retry.delay(attempt))

    async def _attempt(self, function: Function, value: TypedData, reason: str, attempt: int) -> TypedData | None:
        invocation, started = str(uuid.uuid4()), time.monotonic()
        log.info("Executing 'Functions.%s' (Reason='%s', Id=%s)", function.name, reason, invocation)
        self._reach(function, "before")
        self._reach(function, "during")
        answer = await runtime.invocation_request(
            request(
                invocation_request=SimpleNamespace(
                    invocation_id=invocation,
                    function_id=function.id,
                    trace_context=_trace(),
                    retry_context=SimpleNamespace(
                        retry_count=attempt,
                        max_retry_count=function.retry.limit if function.retry else 0,
                        exception=None,
                    ),
                    trigger_metadata={},
                    input_data=self._inputs(function, value),
                )
            )
        )
        self._reach(function, "after")
        duration = (time.monotonic() - started) * 1000
        if answer.result.status == PROTOS.StatusResult.Success:
            log.info("Executed 'Functions.%s' (Succeeded, Id=%s, Duration=%.0fms)", function.name, invocation, duration)
            return answer.return_value
        failure = InvocationFailed(answer.result.exception)
        log.error(
            "Executed 'Functions.%s' (Failed, Id=%s, Duration=%.0fms)\n%s",
            function.name, invocation, duration, failure.stack_trace or failure,
        )  # fmt: skip
        raise failure

    def _reach(self, function: Function, when: Moment) -> None:
        if self.crashes:
            self.crashes.reach(function.name, when)

    def _inputs(self, function: Function, value: TypedData) -> list[ParameterBinding]:
        clients = [binding["name"] for binding in function.bindings if binding["type"] == "durableClient"]
        return [
            ParameterBinding(name=function.trigger["name"], data=value),
            *(ParameterBinding(name=name, data=TypedData(string=self.durable_client)) for name in clients),
        ]


async def index(directory: Path) -> App:
    """Import and index the app in `directory`, which becomes the working directory. Raises `IndexingFailed`."""
    os.chdir(directory)
    sys.path.insert(0, str(directory))
    runtime.start_threadpool_executor()
    started = await runtime.worker_init_request(
        request(worker_init_request=SimpleNamespace(capabilities={}, function_app_directory=str(directory)))
    )
    if started.result.status != PROTOS.StatusResult.Success:
        failure = started.result.exception
        raise IndexingFailed(f"The app in {directory} cannot be indexed: {failure.message}\n\n{failure.stack_trace}")
    results = (await runtime.functions_metadata_request(request())).function_metadata_results
    if not results:
        script = os.environ.get("PYTHON_SCRIPT_FILE_NAME", "function_app.py")
        problem = "declares no function" if (directory / script).exists() else "is missing"
        raise IndexingFailed(f"The app in {directory} cannot be indexed: {script} {problem}.")
    return App([_function(metadata) for metadata in results])


def _function(metadata: Message) -> Function:
    bindings = tuple(json.loads(raw) for raw in metadata.raw_bindings)
    for binding in bindings:
        if binding["type"] not in BINDINGS:
            raise IndexingFailed(
                f"The function '{metadata.name}' has a binding of type '{binding['type']}'; "
                f"this host serves {', '.join(BINDINGS)}."
            )
    function = Function(metadata.name, metadata.function_id, bindings, _retry(metadata.retry_options))
    if function.retry and function.kind != "timerTrigger":
        log.warning(
            "The function '%s' has a retry policy, which Azure Functions does not apply to a %s; it is ignored.",
            function.name, function.kind,
        )  # fmt: skip
    return function


def _retry(options: Message | None) -> Retry | None:
    if options is None:
        return None
    seconds = timedelta.total_seconds
    if options.retry_strategy == "fixed_delay":
        return Retry(options.max_retry_count, seconds(options.delay_interval), seconds(options.delay_interval))
    return Retry(options.max_retry_count, seconds(options.minimum_interval), seconds(options.maximum_interval))


def _trace() -> SimpleNamespace:
    return SimpleNamespace(
        trace_parent=f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01", trace_state="", attributes={}
    )
