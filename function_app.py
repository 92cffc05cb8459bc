"""The function app: registers the doors of functions/, nothing else."""

import azure.durable_functions as df

from functions import activities, dashboard, events, mirrors, openapi, orchestrations, servers, timers

app = df.DFApp()
for module in (events, servers, mirrors, dashboard, openapi, timers, orchestrations, activities):
    app.register_functions(module.blueprint)
