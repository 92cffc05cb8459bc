"""Measurements and traces, through the OpenTelemetry API: whoever runs the app chooses where they go.

Instruments are named after what they measure, in the units of OpenTelemetry's semantic conventions (UCUM).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
from opentelemetry import metrics, trace

from shared.platform.version import VERSION

NAME = "fabric_mirror"
LEVELS = ("Healthy", "Unknown", "Stopped", "Degraded", "Unhealthy")

_tracer = trace.get_tracer(NAME, VERSION)
_meter = metrics.get_meter(NAME, VERSION)
_mirrors = _meter.create_gauge("fabric_mirror.mirrors", "{mirror}", "Mirrors, by level of health")
_duration = _meter.create_histogram("fabric_mirror.sweep.duration", "s", "How long a health sweep took")
_calls = _meter.create_counter("fabric_mirror.sweep.fabric_calls", "{call}", "Calls to Fabric that sweeps made")
_skipped = _meter.create_counter("fabric_mirror.sweep.skipped", "{sweep}", "Sweeps left out for a running one")
_retained = _meter.create_gauge("fabric_mirror.wal.retained", "By", "The most WAL that one mirror's slot retains")
_oldest = _meter.create_gauge("fabric_mirror.figures.age", "s", "Age of the oldest observation of a mirror")


@contextmanager
def step(name: str, about: Mapping[str, str]) -> Iterator[None]:
    """A span of one step of a run, with the server and the run that it is about. What is empty is left out."""
    attributes = {f"{NAME}.{key}": value for key, value in about.items() if value}
    with _tracer.start_as_current_span(f"{NAME}.{name}", attributes=attributes):
        yield


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep came to: mirrors by level, how long it took, its calls to Fabric, the most bytes of WAL that one
    mirror's slot retains, and the age in seconds of the oldest observation."""

    levels: dict[str, int]
    seconds: float
    calls: int
    retained_wal: int
    oldest: float


def swept(sweep: Sweep) -> None:
    """Measure a sweep."""
    for level in LEVELS:
        _mirrors.set(sweep.levels.get(level, 0), {"level": level})
    _duration.record(sweep.seconds)
    _calls.add(sweep.calls)
    _retained.set(sweep.retained_wal)
    _oldest.set(sweep.oldest)


def skipped() -> None:
    """Count a sweep that was left out."""
    _skipped.add(1)
