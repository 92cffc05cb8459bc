"""The story that `make demo` tells: two servers become Fabric mirrors while their applications keep writing.

One is asked for by a tag, the other over HTTP. The `azure_cdc` of the first accepts members of the tables' owners, and
that of the second insists on the owner. At the end everything is checked: the exit status is 0 only if both mirrors are
healthy, each server was restarted once, no write was lost, and the applications can do all they did.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import requests
from azure.core.exceptions import AzureError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from local.application import Account, Application
from local.scenario import Operator, Refused, Server, acting_as, eventually
from local.stack import ROOT, Stack
from local.topology import IN_MEMORY, MEMBERSHIP, OWNERSHIP
from local.watch import Course, follow

HEALTH_SECONDS = 20.0
PAGE = "/api/dashboard"
CHARACTER_TAG = "local-azure-cdc"
console = Console(highlight=False)


class Role(msgspec.Struct, frozen=True):
    """A server of the story.

    `tagged`: asked for by its tag, otherwise over HTTP. `azure_cdc`: one of `topology.CHARACTERS`. `rich`: its
    application has what another owner of its tables would harm.
    """

    server: str
    version: int
    database: str
    tagged: bool
    azure_cdc: str
    rich: bool


CAST = (
    Role("pg-shop", 16, "shop", tagged=True, azure_cdc=MEMBERSHIP, rich=True),
    Role("pg-crm", 18, "crm", tagged=False, azure_cdc=OWNERSHIP, rich=False),
)


class Actor(msgspec.Struct):
    """A server with its application, and how both were in the end.

    `rows`: the number of rows at first. `rights`: by database, the rights on the tables that its mirror got.
    """

    role: Role
    server: Server
    application: Application
    rows: int
    restarts: int = 0
    inabilities: dict[str, str] = {}
    account: Account | None = None
    rights: dict[str, str] = {}
    health: dict[str, Any] = {}


def main(folder: Path = ROOT / ".local", engine: str = IN_MEMORY) -> int:
    """Tell the story, with one of `topology.ENGINES`. The exit status is 0 if it ended well."""
    begun = time.monotonic()
    console.print("Starting Azure on this machine …")
    with Stack(folder, engine=engine) as stack, acting_as(stack, "operator"):
        _tell(
            True,
            f"The stack is up, in {time.monotonic() - begun:.1f} s. Its logs are in {stack.topology.path / 'logs'}.",
        )
        operator = Operator(stack)
        try:
            good = play(operator)
        except (AzureError, psycopg.Error, requests.RequestException, TimeoutError, Refused) as error:
            good = False
            _tell(False, f"The demo could not go on: {str(error).partition('\n')[0]}")
        finally:
            operator.close()
        for part in stack.ended():
            _tell(False, f"{part} ended by itself. Its log ends with:")
            console.print(stack.tail(part), markup=False, soft_wrap=True)
    seconds = time.monotonic() - begun
    _tell(good, f"{'All of it holds' if good else 'Not all of it holds'}; it took {seconds:.0f} s.")
    if not good:
        console.print(f"The logs of every part are in {folder / 'logs'}.", soft_wrap=True)
    return 0 if good else 1


def play(operator: Operator) -> bool:
    """Tell the story on a running stack. True: everything in it holds."""
    with ThreadPoolExecutor() as pool:
        actors = list(pool.map(lambda role: _cast(operator, role), CAST))
    with ExitStack() as writing:
        for actor in actors:
            writing.enter_context(actor.application.writing())
        for actor in actors:
            _ask(operator, actor)
        courses = follow(operator, [actor.server for actor in actors], console)
        for name, course in courses.items():
            for reason in course.reasons:
                _tell(False, f"{name}: {reason['message']} {reason.get('remedy', '')}")
        if any(course.phase != "Mirrored" for course in courses.values()):
            return False
        _record_health(operator, actors)
        for actor in actors:
            actor.inabilities = actor.application.inabilities()
    for actor in actors:
        actor.account = actor.application.account()
        actor.restarts = operator.restarts(actor.server)
        mirrors = operator.mirroring(actor.server).get("mirrors", [])
        actor.rights = {mirror["database"]: mirror["rights"] for mirror in mirrors if mirror.get("rights")}
    _show_mirrors(actors)
    _show_seconds(courses)
    verdicts = [*(verdict for actor in actors for verdict in _judge(actor)), _judge_page(operator, actors)]
    for good, text in verdicts:
        _tell(good, text)
    return all(good for good, _ in verdicts)


def _cast(operator: Operator, role: Role) -> Actor:
    begun = time.monotonic()
    tags = {CHARACTER_TAG: role.azure_cdc}
    server = operator.create_server(role.server, role.version, role.database, tags=tags)
    application = operator.install(server, role.database, role.rich)
    rows = application.rows()
    _tell(
        True,
        f"{role.server}: PostgreSQL {role.version} at {server.address}, database {role.database}, "
        f"{len(application.tables)} tables of {application.role} with {rows} rows, "
        f"in {time.monotonic() - begun:.1f} s.",
    )
    return Actor(role, server, application, rows)


def _ask(operator: Operator, actor: Actor) -> None:
    if actor.role.tagged:
        operator.tag(actor.server, **{"fabric-mirror": "enabled", CHARACTER_TAG: actor.role.azure_cdc})
        _tell(True, f"{actor.server.name}: tagged fabric-mirror=enabled. The rest is up to the event.")
        return
    answer = operator.call("PUT", operator.door(actor.server), {"databases": [actor.role.database]})
    _tell(answer.status == 202, f"{actor.server.name}: PUT …/mirroring answered {answer.status}.")
    if answer.status != 202:
        raise Refused(f"the app answered {answer.body}")


def _record_health(operator: Operator, actors: list[Actor]) -> None:
    """Fire the health timer until both are healthy, and read what it wrote back from Table Storage."""

    def look() -> list[Actor]:
        operator.sweep()
        rows = {(row["server"].lower(), row["database"]): row for row in operator.rows("MirrorHealth")}
        for actor in actors:
            actor.health = rows.get((actor.server.id.lower(), actor.role.database), {})
        return actors

    with suppress(TimeoutError):  # the last check judges it
        eventually(look, lambda seen: all(actor.health.get("level") == "Healthy" for actor in seen), HEALTH_SECONDS)


def _judge(actor: Actor) -> Iterator[tuple[bool, str]]:
    name, health, account = actor.server.name, actor.health, actor.account
    assert account is not None
    status, level = health.get("status", "unknown"), health.get("level", "not recorded")
    why = "; ".join(reason["message"] for reason in json.loads(health.get("reasons") or "[]"))
    yield (status, level) == ("Running", "Healthy"), f"{name}: the mirror is {status} and {level}. {why}"
    copied = health.get("rows") or 0
    yield copied >= actor.rows, f"{name}: {copied} rows were replicated; there were {actor.rows} when it began."
    for database, rights in actor.rights.items():
        yield (
            rights == actor.role.azure_cdc,
            f"{name}: azure_cdc asks for {actor.role.azure_cdc}; the mirror of {database} got {rights}.",
        )
    times = "once" if actor.restarts == 1 else f"{actor.restarts} times"
    yield actor.restarts == 1, f"{name}: restarted {times}."
    lost = account.lost + len(account.refused)
    why = "; ".join(sorted(set(account.refused)))
    yield (
        lost == 0 and account.written > 0,
        (
            f"{name}: the application wrote {account.written} times and lost {lost}; "
            f"the longest write took {account.longest_pause:.1f} s. {why}"
        ),
    )
    abilities = len(actor.application.abilities)
    able = abilities - len(actor.inabilities)
    yield (
        not actor.inabilities,
        f"{name}: the application can still do {able} of the {abilities} things that it could do before.",
    )
    for ability, error in actor.inabilities.items():
        yield False, f"{name}: the application can't {ability}: {error}"


def _judge_page(operator: Operator, actors: list[Actor]) -> tuple[bool, str]:
    """Whether the page that people look at shows every mirror as healthy."""
    mirrors = operator.call("GET", "/api/mirrors").body["value"]
    healthy = {mirror["server"].lower() for mirror in mirrors if mirror["level"] == "Healthy"}
    page = operator.call("GET", PAGE)
    shown = page.status == 200 and all(f">{actor.server.name}</a>" in page.body for actor in actors)
    good = shown and {actor.server.id.lower() for actor in actors} <= healthy
    address = f"{operator.topology.address('host')}{PAGE}"
    return good, f"The page {address} showed {len(healthy)} healthy mirrors; `make start` keeps one open."


def _show_mirrors(actors: list[Actor]) -> None:
    heads = "Server", "Database", "Status", "Tables", "Rows", "Latency", "Health"
    table = Table(*heads, title="Mirrors, as Table Storage has them", title_justify="left")
    for actor in actors:
        health = actor.health
        latency = health.get("latency_seconds")
        table.add_row(
            f"{actor.server.name} ({actor.role.version})",
            actor.role.database,
            str(health.get("status", "-")),
            f"{health.get('tables_replicating', '-')} of {health.get('tables', '-')}",
            str(health.get("rows", "-")),
            "-" if latency is None else f"{latency:.1f} s",
            str(health.get("level", "-")),
        )
    console.print(table)


def _show_seconds(courses: dict[str, Course]) -> None:
    table = Table("Step", *courses, title="Seconds each step took", title_justify="left")
    fullest_first = sorted(courses.values(), key=lambda course: -len(course.seconds))
    steps = dict.fromkeys(step for course in fullest_first for step in course.seconds)
    for step in steps:
        table.add_row(step, *(f"{course.seconds.get(step, 0):.1f}" for course in courses.values()))
    table.add_section()
    table.add_row("all", *(f"{sum(course.seconds.values()):.1f}" for course in courses.values()))
    console.print(table)


def _tell(good: bool, text: str) -> None:
    console.print(f"{'[green]✓[/]' if good else '[red]✗[/]'} {escape(text.strip())}", soft_wrap=True)
