"""The function app: registers the doors of functions/ and has telemetry sent, nothing else."""

import os

import azure.durable_functions as df

from functions import activities, dashboard, events, mailbox, mirrors, openapi, orchestrations, servers, timers
from shared.platform import export

export.start(os.environ)
app = df.DFApp()
for module in (events, servers, mirrors, dashboard, openapi, timers, mailbox, orchestrations, activities):
    app.register_functions(module.blueprint)
