"""The HTTP doors of the app. The SDK lists an app's functions once in a process, so all tests share the list."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def doors() -> tuple[tuple[str, str, Any], ...]:
    """Method, route and function of each door."""
    import function_app

    triggers = [(function, function.get_trigger()) for function in function_app.app.get_functions()]
    return tuple(
        (getattr(method, "value", method), f"/{trigger.route}", function)
        for function, trigger in triggers
        if trigger.type == "httpTrigger"
        for method in trigger.methods
    )
