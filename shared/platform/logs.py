"""Log lines that say which server and which run they are about: at their end, and as attributes of the record."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

LIBRARIES = ("azure", "durabletask", "durabletask-tracing", "grpc", "msal", "aiohttp", "psycopg", "opentelemetry")
"""Loggers of the libraries: of what they tell, the app's log keeps warnings and errors."""

_about: ContextVar[Mapping[str, str]] = ContextVar("logs_about", default=MappingProxyType({}))


@contextmanager
def about(**what: str) -> Iterator[None]:
    """What lines are about that are logged within, and in tasks started within: `server="…", run="…"`. Empty: not."""
    token = _about.set({**_about.get(), **{name: value for name, value in what.items() if value}})
    try:
        yield
    finally:
        _about.reset(token)


def quiet_libraries() -> None:
    """Let libraries log warnings and errors alone. Otherwise they write most of the lines of a run, which cost money in
    Application Insights and hide what the app says."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def logger(name: str) -> logging.LoggerAdapter[logging.Logger]:
    """The logger of a module."""
    return _Logger(logging.getLogger(name))


class _Logger(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        found = _about.get()
        if not found:
            return msg, kwargs
        kwargs["extra"] = {**found, **(kwargs.get("extra") or {})}
        told = " ".join(f"{name}={value}" for name, value in found.items())
        return f"{msg} [{told.replace('%', '%%')}]", kwargs
