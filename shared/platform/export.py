"""Where measurements and traces go: to the Application Insights of this environment.

Logs get there through the Functions host. As whom the exporter sends, APPLICATIONINSIGHTS_AUTHENTICATION_STRING says.
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.platform.version import VERSION

SERVICE = "fabric-mirror"


def start(environment: Mapping[str, str]) -> bool:
    """From here on send what is measured and traced. False where the environment names no Application Insights.

    The exporter is imported only here: that takes a third of a second.
    """
    connection = environment.get("APPLICATIONINSIGHTS_CONNECTION_STRING")
    if not connection:
        return False
    from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter, AzureMonitorTraceExporter
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": SERVICE, "service.version": VERSION})
    measured = AzureMonitorMetricExporter(connection_string=connection)
    metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(measured)], resource=resource))
    traced = AzureMonitorTraceExporter(connection_string=connection)
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(traced))
    trace.set_tracer_provider(tracers)
    return True
