"""Log lines that name what they are about, such as a server and a run, in the text and in the record's attributes."""

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
    """Add names to all log lines within, also in tasks started within: `server="…", run="…"`. Empty values add none."""
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
        names = _about.get()
        if not names:
            return msg, kwargs
        kwargs["extra"] = {**names, **(kwargs.get("extra") or {})}
        suffix = " ".join(f"{name}={value}" for name, value in names.items())
        return f"{msg} [{suffix.replace('%', '%%')}]", kwargs
