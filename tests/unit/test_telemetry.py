"""What the app measures and traces, read through OpenTelemetry's own SDK, and what its log lines are about."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from functions.corridor import Activity
from shared.desired.server_id import ServerId
from shared.platform import errors, logs, telemetry
from shared.platform.telemetry import Sweep
from tests.source import ROOT

SERVER = {"subscription": "s", "resource_group": "rg", "name": "pg-1"}
PAYLOAD = {"run": "s:rg:pg-1:7", "request": {"server": SERVER, "database": "50%s", "password": "hunter2"}}


class Asked(msgspec.Struct):
    """A request as any other, with something in it that is nobody's business."""

    server: ServerId
    database: str = ""
    password: str = ""


def doing(result: object) -> Activity[Asked, object]:
    """An activity that comes to this result."""

    async def work(_: Asked) -> object:
        logs.logger("shared.somewhere").info("at work, 100%% of %s", "it")
        if isinstance(result, Exception):
            raise result
        return result

    return Activity(work)


@pytest.fixture(scope="module")
def reader() -> InMemoryMetricReader:
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    return reader


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.INFO)
    return caplog


def measured(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """Data points by instrument."""
    data = reader.get_metrics_data()
    found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
    return {metric.name: list(metric.data.data_points) for metric in found}


def test_a_sweep_is_measured(reader: InMemoryMetricReader) -> None:
    first = Sweep(levels={"Healthy": 7, "Degraded": 2}, seconds=12.5, calls=11, retained_wal=2**31, oldest=900.0)
    telemetry.swept(first)
    telemetry.swept(Sweep(levels={"Healthy": 9}, seconds=7.5, calls=9, retained_wal=5, oldest=300.0))
    telemetry.skipped()
    found = measured(reader)
    levels = {point.attributes["level"]: point.value for point in found["fabric_mirror.mirrors"]}
    assert levels == {"Healthy": 9, "Unknown": 0, "Stopped": 0, "Degraded": 0, "Unhealthy": 0}
    [took] = found["fabric_mirror.sweep.duration"]
    assert (took.count, took.sum) == (2, 20.0)
    values = {
        name: points[0].value for name, points in found.items() if len(points) == 1 and hasattr(points[0], "value")
    }
    assert values == {
        "fabric_mirror.sweep.fabric_calls": 20,
        "fabric_mirror.sweep.skipped": 1,
        "fabric_mirror.wal.retained": 5,
        "fabric_mirror.figures.age": 300.0,
    }


async def test_a_step_has_a_span_and_its_lines_say_what_they_are_about(
    spans: InMemorySpanExporter, lines: pytest.LogCaptureFixture
) -> None:
    assert await doing({"done": True}).serve(PAYLOAD) == {"type": "value", "value": {"done": True}}
    [span] = spans.get_finished_spans()
    assert span.name == "fabric_mirror.work"
    assert span.attributes == {
        "fabric_mirror.server": "s:rg:pg-1", "fabric_mirror.run": "s:rg:pg-1:7", "fabric_mirror.database": "50%s",
    }  # fmt: skip
    [record] = lines.records
    assert record.getMessage() == "at work, 100% of it [server=s:rg:pg-1 run=s:rg:pg-1:7 database=50%s]"
    assert (record.server, record.run) == ("s:rg:pg-1", "s:rg:pg-1:7")  # type: ignore[attr-defined]
    assert "hunter2" not in f"{lines.text} {span.to_json()}"


@pytest.mark.parametrize(
    ("error", "level", "key"),
    [
        (errors.Blocked("No right.", code="RightsMissing"), logging.WARNING, "problem"),
        (errors.Unavailable("Busy."), logging.INFO, "later"),
    ],
)
async def test_what_stands_in_the_way_is_logged_with_its_code(
    error: errors.MirrorError, level: int, key: str, lines: pytest.LogCaptureFixture
) -> None:
    assert (await doing(error).serve(PAYLOAD))["type"] == key
    record = lines.records[-1]
    assert record.levelno == level
    assert record.getMessage().startswith(f"work: {error.code}: {error.message} [server=s:rg:pg-1 run=")


async def test_a_step_that_crashes_leaves_its_exception_in_the_span(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ZeroDivisionError):
        await doing(ZeroDivisionError("1/0")).serve(PAYLOAD)
    [span] = spans.get_finished_spans()
    assert not span.status.is_ok
    assert span.events[0].attributes["exception.type"] == "ZeroDivisionError"  # type: ignore[index]


async def test_lines_of_steps_at_the_same_time_are_told_apart(lines: pytest.LogCaptureFixture) -> None:
    servers = [{**SERVER, "name": name} for name in ("a", "b")]
    await asyncio.gather(*(doing(None).serve({"run": "", "request": {"server": server}}) for server in servers))
    logs.logger("x").info("outside")
    told = [record.getMessage() for record in lines.records]
    assert [text.partition(" [")[2] for text in told] == ["server=s:rg:a]", "server=s:rg:b]", ""]


def test_every_measurement_is_described(reader: InMemoryMetricReader) -> None:
    telemetry.swept(Sweep(levels={}, seconds=1, calls=1, retained_wal=1, oldest=1))
    telemetry.skipped()
    section = (ROOT / "docs/operations.md").read_text().partition("## Measurements\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE)) == set(measured(reader))


def test_libraries_log_warnings_alone_and_the_app_says_what_it_does() -> None:
    """Also a logger that a library makes below its own, whatever the host has set for the root."""
    code = (
        "import logging; logging.basicConfig(level=logging.INFO, format='%(name)s'); import function_app\n"
        "for name in ('azure.core.pipeline.policies.http_logging_policy', 'azure.identity.aio',\n"
        "             'durabletask.serialization',\n"
        "             'durabletask.client', 'shared.steps.decide', 'functions.corridor'):\n"
        "    logging.getLogger(name).info('said')"
    )
    logged = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert logged.stderr.split() == ["shared.steps.decide", "functions.corridor"]
