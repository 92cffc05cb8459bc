"""Traces, through the OpenTelemetry API: whoever runs the app chooses where they go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace

from shared.platform.version import VERSION

NAME = "fabric_mirror"
"""The name of the app's tracer and meter. The names of spans, attributes and instruments begin with it."""

_tracer = trace.get_tracer(NAME, VERSION)


@contextmanager
def step(name: str, about: Mapping[str, str]) -> Iterator[None]:
    """A span of one step of a run. `about` becomes its attributes (the server, the run); empty values are left out."""
    attributes = {f"{NAME}.{key}": value for key, value in about.items() if value}
    with _tracer.start_as_current_span(f"{NAME}.{name}", attributes=attributes):
        yield
