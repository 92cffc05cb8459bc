"""Measurements of the health sweep, through the OpenTelemetry API: whoever runs the app chooses where they go.

The names of the instruments say what they measure. Their units follow OpenTelemetry's semantic conventions (UCUM).
"""

from __future__ import annotations

from opentelemetry import metrics

from shared.decisions.health import SEVERITY
from shared.decisions.summary import Sweep
from shared.platform.telemetry import NAME
from shared.platform.version import VERSION

_meter = metrics.get_meter(NAME, VERSION)
_mirrors = _meter.create_gauge("fabric_mirror.mirrors", "{mirror}", "Mirrors, by level of health")
_duration = _meter.create_histogram("fabric_mirror.sweep.duration", "s", "How long a health sweep took")
_calls = _meter.create_counter("fabric_mirror.sweep.fabric_calls", "{call}", "Calls to Fabric that sweeps made")
_skipped = _meter.create_counter("fabric_mirror.sweep.skipped", "{sweep}", "Sweeps left out for a running one")
_retained = _meter.create_gauge("fabric_mirror.wal.retained", "By", "The most WAL that one mirror's slot retains")
_oldest = _meter.create_gauge("fabric_mirror.figures.age", "s", "Age of the oldest observation of a mirror")


def measure(sweep: Sweep) -> None:
    """Measure a sweep that ended."""
    for level in SEVERITY:
        _mirrors.set(sweep.levels.get(level, 0), {"level": level})
    _duration.record(sweep.seconds)
    _calls.add(sweep.calls)
    _retained.set(sweep.retained_wal)
    _oldest.set(sweep.oldest)


def count_skipped() -> None:
    """Count a sweep that was skipped."""
    _skipped.add(1)
