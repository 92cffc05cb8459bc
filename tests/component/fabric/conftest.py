"""A stack of the front door and the Fabric stand-in, and the callers that speak to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from local import certificates
from local.postgres import PostgresServer
from local.stack import Stack
from local.topology import Topology
from tests.component.fabric.callers import Caller, Control
from tests.component.fabric.source import ADMINISTRATOR, ADMINISTRATORS_PASSWORD, Mirror, Source
from tests.real_parts import used

PLENTY = {"calls": 1_000_000, "seconds": 60}


@pytest.fixture(scope="session")
def stack(stack_factory: Callable[..., Stack]) -> Stack:
    return stack_factory("front_door", "fabric", fresh=True)


@pytest.fixture(scope="session")
def topology(stack: Stack) -> Topology:
    return stack.topology


@pytest.fixture(autouse=True)
def control(stack: Stack, become: Callable[[Stack, str], None]) -> Control:
    """This process reaches the stack; the stand-in behaves, and does not count calls."""
    become(stack, "operator")
    control = Control(stack.topology)
    control("DELETE", "faults")
    control("PUT", "quota", PLENTY)
    control("PUT", "behaviour", {"initializingSeconds": 0.1, "operationSeconds": 0.1})
    control("PUT", f"capacities/{stack.topology.capacity}", {"state": "Active"})
    return control


@pytest.fixture(scope="session")
def app(topology: Topology) -> Caller:
    """The app's identity: Member of the workspace."""
    return Caller(topology, "id-fabric-mirror")


@pytest.fixture(scope="session")
def operator(topology: Topology) -> Caller:
    """A person: Admin of the workspace."""
    return Caller(topology, "operator")


@pytest.fixture(scope="session")
def stranger(topology: Topology) -> Caller:
    """Somebody without any role."""
    return Caller(topology, "azure")


@pytest.fixture(scope="session")
def source_of(topology: Topology) -> Iterator[Callable[[int], Source]]:
    """`source_of(18)`: a prepared server of that version, one for the session."""
    sources: dict[int, Source] = {}
    authority = certificates.load(topology.path)

    def get(version: int) -> Source:
        if version not in sources:
            server = PostgresServer.create(
                topology.file(f"source-{version}"), str(version), ADMINISTRATOR, ADMINISTRATORS_PASSWORD, authority
            )
            sources[version] = Source(server, topology)
            sources[version].prepare()
            used("PostgreSQL", server.execute("SHOW server_version")[0]["server_version"])
        return sources[version]

    yield get
    for source in sources.values():
        source.server.drop()


@pytest.fixture
def source(source_of: Callable[[int], Source]) -> Source:
    """Where the administrator is not a superuser."""
    return source_of(18)


@pytest.fixture
def mirror_of(app: Caller) -> Iterator[Callable[..., Mirror]]:
    """`mirror_of(source, database, tables)`: a mirrored database that is deleted at the end."""
    made: list[Mirror] = []

    def make(source: Source, database: str, tables: list[tuple[str, str]] | None = None) -> Mirror:
        made.append(Mirror(app, source, database, tables))
        return made[-1]

    yield make
    for mirror in made:
        app.call("DELETE", mirror.path)
