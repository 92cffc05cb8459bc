"""The activities: one short function each. They decode, call a step of shared/, and encode what it answers."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import azure.durable_functions as df
import msgspec

from shared.desired.server_id import ServerId, from_key
from shared.platform.errors import MirrorError

blueprint = df.Blueprint()


async def answer(payload: dict[str, Any], work: Coroutine[Any, Any, Any]) -> dict[str, Any]:
    """What the orchestrator gets: the value, or why there is none and whether waiting helps (see `flow`)."""
    from shared.platform import logs, telemetry

    step = getattr(work, "__name__", "step")
    place = {name: str(payload.get(name, "")) for name in ("server", "run", "database")}
    with logs.about(**place), telemetry.step(step, place):
        try:
            return {"value": msgspec.to_builtins(await work)}
        except MirrorError as error:
            level = logging.INFO if error.retryable else logging.WARNING
            logs.logger(__name__).log(level, "%s: %s: %s", step, error.code, error.message)
            reason = {"code": error.code, "message": error.message, "remedy": error.remedy}
            if error.retryable:
                return {"later": {**reason, "retry_after": error.retry_after, "patience": error.patience}}
            return {"problem": reason}


def _server(payload: dict[str, Any]) -> ServerId:
    return from_key(payload["server"])


def _begun(payload: dict[str, Any]) -> datetime:
    """When the sweep began."""
    return datetime.fromisoformat(payload["begun"]).replace(tzinfo=UTC)


def _place(payload: dict[str, Any]) -> tuple[ServerId, str, str]:
    """The server, the database and the server's host."""
    return _server(payload), payload["database"], payload["host"]


def _tables(payload: dict[str, Any]) -> list[tuple[str, str]] | None:
    """Schema and name of the chosen tables; None: all of them."""
    return [(schema, name) for schema, name in payload["tables"]] or None


@blueprint.activity_trigger(input_name="payload")
async def decide_server(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import decide

    return await answer(payload, decide.decide(_server(payload), payload["run"]))


@blueprint.activity_trigger(input_name="payload")
async def start_operation(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.desired import changes
    from shared.source import server

    return await answer(payload, server.begin(_server(payload), msgspec.convert(payload["change"], changes.Change)))


@blueprint.activity_trigger(input_name="payload")
async def poll_operation(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.desired import changes
    from shared.source import server

    change = msgspec.convert(payload["change"], changes.Change)
    return await answer(payload, server.poll(_server(payload), change, payload["token"]))


@blueprint.activity_trigger(input_name="payload")
async def find_pending_restart(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import restart

    return await answer(payload, restart.pending(_server(payload)))


@blueprint.activity_trigger(input_name="payload")
async def decide_restart(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import restart

    now = datetime.fromisoformat(payload["now"])
    return await answer(payload, restart.decide(_server(payload), payload["policy"], payload["pending"], now))


@blueprint.activity_trigger(input_name="payload")
async def record_waiting(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import restart

    return await answer(payload, restart.record_waiting(_server(payload), payload["verdict"]))


@blueprint.activity_trigger(input_name="payload")
async def record_refusal(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import restart

    return await answer(payload, restart.record_refusal(_server(payload), payload["fingerprint"], payload["code"]))


@blueprint.activity_trigger(input_name="payload")
async def is_still_waiting(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import restart

    known = payload["fingerprint"], payload["rotation"], payload["restarts"], payload["databases"]
    return await answer(payload, restart.is_still_waiting(_server(payload), *known))


@blueprint.activity_trigger(input_name="payload")
async def rotate_password(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import login

    known = payload["host"], payload["rotation"], payload["databases"]
    return await answer(payload, login.rotate(_server(payload), *known))


@blueprint.activity_trigger(input_name="payload")
async def restart_mirror(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import mirror

    return await answer(payload, mirror.restart(_server(payload), payload["database"]))


@blueprint.activity_trigger(input_name="payload")
async def record_preparing(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import restart

    return await answer(payload, restart.record_preparing(_server(payload)))


@blueprint.activity_trigger(input_name="payload")
async def ensure_role(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import login

    known = payload["host"], payload["workspace"], payload["rotation"]
    return await answer(payload, login.ensure_role(_server(payload), *known))


@blueprint.activity_trigger(input_name="payload")
async def ensure_workspace_access(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import prepare

    return await answer(payload, prepare.ensure_workspace_access(_server(payload), payload["workspace"]))


@blueprint.activity_trigger(input_name="payload")
async def prepare_database(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import prepare

    return await answer(payload, prepare.prepare_database(*_place(payload), _tables(payload)))


@blueprint.activity_trigger(input_name="payload")
async def ensure_connection(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import mirror

    return await answer(payload, mirror.ensure_connection(*_place(payload), payload["gateway"], payload["rotation"]))


@blueprint.activity_trigger(input_name="payload")
async def ensure_mirror(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import mirror

    place = payload["database"], payload["workspace"], payload["workspace_name"]
    return await answer(payload, mirror.ensure_mirror(_server(payload), *place, _tables(payload), payload["adopt"]))


@blueprint.activity_trigger(input_name="payload")
async def advance_mirror(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import mirror

    return await answer(payload, mirror.advance(_server(payload), payload["database"], payload["started"]))


@blueprint.activity_trigger(input_name="payload")
async def give_back_surplus(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import prepare

    return await answer(payload, prepare.give_back_surplus(*_place(payload), _tables(payload)))


@blueprint.activity_trigger(input_name="payload")
async def record_mirror_problem(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import record

    return await answer(payload, record.mirror_problem(_server(payload), payload["database"], payload["reasons"]))


@blueprint.activity_trigger(input_name="payload")
async def record_outcome(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import record

    return await answer(payload, record.outcome(_server(payload), payload["phase"], payload["reasons"]))


@blueprint.activity_trigger(input_name="payload")
async def release_mirror(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import release

    return await answer(payload, release.release_mirror(_server(payload), payload["database"]))


@blueprint.activity_trigger(input_name="payload")
async def release_database(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import release

    return await answer(payload, release.release_database(_server(payload), payload["database"]))


@blueprint.activity_trigger(input_name="payload")
async def release_server(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import release

    return await answer(payload, release.release_server(_server(payload)))


@blueprint.activity_trigger(input_name="payload")
async def forget_server(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import release

    return await answer(payload, release.forget_server(_server(payload)))


@blueprint.activity_trigger(input_name="payload")
async def plan_sweep(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import sweep

    return await answer(payload, sweep.plan())


@blueprint.activity_trigger(input_name="payload")
async def probe_mirrors(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.records.columns import Watched
    from shared.steps import sweep

    mirrors = msgspec.convert(payload["mirrors"], tuple[Watched, ...])
    return await answer(payload, sweep.probe(mirrors, _begun(payload)))


@blueprint.activity_trigger(input_name="payload")
async def conclude_sweep(payload: dict) -> dict:  # type: ignore[type-arg]
    from shared.steps import sweep

    return await answer(payload, sweep.conclude(_begun(payload), payload["calls"], payload["failed"]))
