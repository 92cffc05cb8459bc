"""Measurements and traces, through the OpenTelemetry API: whoever runs the app chooses where they go.

Instruments are named after what they measure, in the units of OpenTelemetry's semantic conventions (UCUM).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import metrics, trace

from shared.platform.version import VERSION

NAME = "fabric_mirror"
LEVELS = ("Healthy", "Unknown", "Stopped", "Degraded", "Unhealthy")

_tracer = trace.get_tracer(NAME, VERSION)
_meter = metrics.get_meter(NAME, VERSION)
_mirrors = _meter.create_gauge("fabric_mirror.mirrors", "{mirror}", "Mirrors, by level of health")
_duration = _meter.create_histogram("fabric_mirror.sweep.duration", "s", "How long a health sweep took")
_calls = _meter.create_counter("fabric_mirror.sweep.fabric_calls", "{call}", "Calls to Fabric that sweeps made")
_skipped = _meter.create_counter("fabric_mirror.sweep.skipped", "{sweep}", "Sweeps left out, as the last was still on")
_retained = _meter.create_gauge("fabric_mirror.wal.retained", "By", "The most WAL that one mirror's slot retains")
_oldest = _meter.create_gauge("fabric_mirror.figures.age", "s", "Age of the oldest observation of a mirror")


@contextmanager
def step(name: str, about: Mapping[str, str]) -> Iterator[None]:
    """A span of one step of a run, with the server and the run that it is about. What is empty is left out."""
    attributes = {f"{NAME}.{key}": value for key, value in about.items() if value}
    with _tracer.start_as_current_span(f"{NAME}.{name}", attributes=attributes):
        yield


def swept(*, levels: Mapping[str, int], seconds: float, calls: int, retained_wal: int, oldest: float) -> None:
    """Measure a sweep: mirrors by level, how long it took, calls to Fabric, bytes of WAL, age in seconds."""
    for level in LEVELS:
        _mirrors.set(levels.get(level, 0), {"level": level})
    _duration.record(seconds)
    _calls.add(calls)
    _retained.set(retained_wal)
    _oldest.set(oldest)


def skipped() -> None:
    """Count a sweep that was left out."""
    _skipped.add(1)
