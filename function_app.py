"""The function app: quiets the logs of libraries, starts telemetry, and registers the blueprints of `functions/`."""

import os

import azure.durable_functions as df

from functions import (
    activities,
    dashboard,
    entities,
    events,
    mirrors,
    openapi,
    orchestrations,
    servers,
    suborchestrations,
    sweeps,
    timers,
)
from shared.platform import export, logs

logs.quiet_libraries()
export.start(os.environ)
app = df.DFApp()
for module in (events, servers, mirrors, dashboard, openapi, timers):
    app.register_functions(module.blueprint)
for module in (entities, orchestrations, suborchestrations, sweeps, activities):
    app.register_functions(module.blueprint)
