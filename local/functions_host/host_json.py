"""The part of host.json that this host obeys; the rest concerns Azure alone."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class HostJsonInvalid(Exception):
    """host.json cannot be used; the message says which file and why."""


class Http(msgspec.Struct, frozen=True, rename="camel"):
    route_prefix: str = "api"


class DurableTask(msgspec.Struct, frozen=True, rename="camel"):
    """The default number of concurrent activities is that of the Durable extension: ten for each core."""

    hub_name: str = "LocalHub"
    max_concurrent_activity_functions: int = 10 * (os.cpu_count() or 1)


class Extensions(msgspec.Struct, frozen=True, rename="camel"):
    http: Http = Http()
    durable_task: DurableTask = DurableTask()


class HostJson(msgspec.Struct, frozen=True):
    extensions: Extensions = Extensions()


def load(directory: Path) -> HostJson:
    """The host.json of the app in `directory`. Raises `HostJsonInvalid`."""
    path = directory / "host.json"
    try:
        settings = msgspec.json.decode(path.read_bytes(), type=HostJson)
    except FileNotFoundError:
        raise HostJsonInvalid(
            f'{path} is missing: every Functions app has one, at least {{"version": "2.0"}}'
        ) from None
    except msgspec.DecodeError as error:
        raise HostJsonInvalid(f"{path} is not a valid host.json: {error}") from None
    activities = settings.extensions.durable_task.max_concurrent_activity_functions
    if activities < 1:
        raise HostJsonInvalid(f"{path}: maxConcurrentActivityFunctions is {activities}, expected 1 or more")
    return settings
