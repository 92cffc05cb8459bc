"""Replays a recorded history with today's orchestrators, in a process of its own: `python -m tests.replay FILE…`.

It prints what the orchestrator answers to the recorded message, as JSON: for each file its actions, each as text.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure.durable_functions as df
import durabletask.internal.orchestrator_service_pb2 as pb


def orchestrators() -> dict[str, Callable[[Any], Coroutine[Any, Any, str]]]:
    """What the Functions host calls for each orchestration of the app, by name."""
    from functions import orchestrations, suborchestrations, sweeps

    app = df.DFApp()
    for module in (orchestrations, suborchestrations, sweeps):
        app.register_functions(module.blueprint)
    return {
        function.get_function_name(): function.get_user_function()
        for function in app.get_functions()
        if function.get_trigger().get_binding_name() == "orchestrationTrigger"
        and not function.get_function_name().startswith("BuiltIn__")  # the SDK's own
    }


def answer(path: Path) -> list[str]:
    """The actions that today's orchestrator answers with."""
    recorded = json.loads(path.read_bytes())
    return actions(replay(recorded["orchestrator"], recorded["message"]))


def replay(orchestrator: str, message: str) -> str:
    """The answer of today's orchestrator to a message."""
    return asyncio.run(orchestrators()[orchestrator](SimpleNamespace(body=message)))


def actions(message: str) -> list[str]:
    """The actions in an orchestrator's answer, as text."""
    return [str(action) for action in pb.OrchestratorResponse.FromString(base64.b64decode(message)).actions]


if __name__ == "__main__":
    print(json.dumps({name: answer(Path(name)) for name in sys.argv[1:]}))
