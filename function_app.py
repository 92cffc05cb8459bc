"""The function app: registers the doors of functions/, nothing else."""

import azure.durable_functions as df

from functions import activities, events, mirrors, orchestrations, servers, timers

app = df.DFApp()
for module in (events, servers, mirrors, timers, orchestrations, activities):
    app.register_functions(module.blueprint)
