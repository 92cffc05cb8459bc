"""What depends on the owner of tables, on real PostgreSQL: what the analysis names breaks, and nothing else does.

Every scene has a statement of its application. A database of all scenes is looked at, then taken for the fabric role as
the app does it: exactly the scenes that the analysis names have another outcome now. In a second database the
statements that the analysis gives are run before: there nothing changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import msgspec
import pytest
from psycopg import sql

from shared.decisions import harm
from shared.source.facts import Dependent
from tests.component.conftest import Postgres
from tests.component.scenery import Scenery, outcomes, plant, scenery
from tests.component.scenes import BROKEN, HARMLESS, Scene

VERSIONS = [16, *(pytest.param(version, marks=pytest.mark.exhaustive) for version in (14, 15, 17, 18))]


OF_OWNERS = {"set role", "schema"}
"""Kinds of what is true of the owner of all scenes."""


class Told(msgspec.Struct, frozen=True):
    """What the analysis says of a database of scenes, and what they do before and after its tables were taken."""

    made: Scenery
    scenes: dict[str, Scene]
    facts: tuple[Dependent, ...]
    before: dict[str, str]
    after: dict[str, str]

    def harmed(self, scene: str) -> set[str]:
        """The kinds of what the analysis names in a scene."""
        facts = [fact for fact in self.facts if fact.table.schema == scene and fact.kind not in OF_OWNERS]
        return {fact.kind for fact in facts if harm.harms([fact], self.made.version)}


@pytest.fixture(scope="module", params=VERSIONS)
def postgres(request: pytest.FixtureRequest, postgres_server: Callable[[int], Postgres]) -> Iterator[Postgres]:
    found = postgres_server(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(found.authority))
        yield found


@pytest.fixture(scope="module")
def told(postgres: Postgres) -> Told:
    made = scenery(postgres)
    scenes = {name: scene for name, scene in (BROKEN | HARMLESS).items() if scene.exists_since <= postgres.version}
    plant(made, scenes)
    before = outcomes(made, scenes)

    async def taken() -> tuple[Dependent, ...]:
        await made.prepare()
        facts = await made.look()
        await made.take()
        return facts

    facts = asyncio.run(taken())
    return Told(made, scenes, facts, before, outcomes(made, scenes))


def test_every_scene_works_before(told: Told) -> None:
    assert {name: outcome for name, outcome in told.before.items() if not outcome.startswith(("done", "["))} == {}


def test_the_analysis_names_what_breaks_and_nothing_else(told: Told) -> None:
    version = told.made.version
    expected = {name: scene.expected(version) for name, scene in told.scenes.items()}
    assert {name: told.harmed(name) for name in told.scenes} == expected
    changed = {name: outcome for name, outcome in told.after.items() if outcome != told.before[name]}
    assert changed.keys() == {name for name, kinds in expected.items() if kinds}, changed


@pytest.fixture(scope="module")
def cured(postgres: Postgres) -> Told:
    """The scenes that break, where the statements of the analysis were run before the tables were taken."""
    made = scenery(postgres)
    scenes = {name: scene for name, scene in BROKEN.items() if scene.curable}
    plant(made, scenes)
    before = outcomes(made, scenes)

    async def taken() -> tuple[Dependent, ...]:
        await made.prepare()
        for found in harm.harms(await made.look(), made.version):
            if found.cure.startswith(("ALTER", "GRANT")):
                made.control_plane(sql.SQL(found.cure))  # type: ignore[arg-type]
        facts = await made.look()
        await made.take()
        return facts

    facts = asyncio.run(taken())
    return Told(made, scenes, facts, before, outcomes(made, scenes))


def test_what_the_analysis_advises_prevents_every_harm(cured: Told) -> None:
    facts = [fact for fact in cured.facts if fact.kind not in OF_OWNERS]
    assert harm.harms(facts, cured.made.version) == ()
    assert cured.after == cured.before
