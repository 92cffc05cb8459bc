"""The whole stack with the real app, and a server in it that was prepared once for all these tests.

`operator` is a person's way into the stack (see `local.scenario`); the tests' process has the environment of that
person as long as these tests run. `prepared` is a mirrored server with its application: look, write data, but leave it
mirrored. Servers are made by the tests themselves where they need one of their own.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from local.application import Application
from local.scenario import ENDED, Operator, Server, acting_as, eventually
from local.stack import PARTS
from tests import real_parts
from tests.conftest import StackFactory


class Prepared(msgspec.Struct, frozen=True):
    """A server that its tag made a mirror. `rows`: how many the application had before; `runs`: how many it took."""

    server: Server
    application: Application
    rows: int


@pytest.fixture(scope="package")
def operator(stack_factory: StackFactory) -> Iterator[Operator]:
    stack = stack_factory(*PARTS)
    with acting_as(stack, "operator"):
        person = Operator(stack)
        yield person
        person.close()


@pytest.fixture(scope="package")
def prepared(operator: Operator) -> Prepared:
    """PostgreSQL 16, database `shop`, asked for by its tag. Its log tells every statement."""
    server, application = with_application(operator, "pg-prepared", 16)
    assert application.inabilities() == {}
    rows = application.rows()
    operator.set_parameter(server, "log_statement", "all")
    with application.writing():
        operator.tag(server, fabric_mirror="enabled")
        seen = mirrored(operator, server)
    assert seen["phase"] == "Mirrored", seen["reasons"]
    return Prepared(server, application, rows)


def with_application(operator: Operator, name: str, version: int) -> tuple[Server, Application]:
    """A new server, with an application in its database `shop`."""
    server = operator.create_server(name, version, "shop")
    application = operator.install(server, "shop")
    real_parts.used("PostgreSQL", application.server_version())
    return server, application


def mirrored(operator: Operator, server: Server) -> dict:
    """What the app tells of the server when its preparation has ended, well or not."""
    seen = eventually(
        lambda: operator.mirroring(server), lambda seen: seen.get("phase") in ENDED and not seen["running"], 90
    )
    operator.quiet(server)
    return seen
