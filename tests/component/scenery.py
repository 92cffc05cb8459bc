"""A database full of scenes, which is looked at and taken for the fabric role as the app does it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import sql

from shared.desired.takeover import TableName
from shared.source import connection, ownership, role
from shared.source.connection import Connection
from shared.source.dependents import dependents
from shared.source.facts import Dependent
from tests.component.application import IDENTITY, PASSWORD, prepare_server
from tests.component.conftest import Postgres
from tests.component.scenes import Scene

type Run = Callable[..., str]


class Scenery(msgspec.Struct, frozen=True):
    """A database of scenes, one schema for each, and the roles of its application."""

    postgres: Postgres
    database: str
    owner: str
    reader: str
    fabric: str

    @property
    def version(self) -> int:
        return self.postgres.version

    @contextmanager
    def application(self) -> Iterator[Run]:
        """`run(schema, statement)` as the owner: what the last statement returns, or the error.

        `reader=True`: as the reader; `rollback=True`: nothing remains.
        """
        roles = {name: sql.Identifier(getattr(self, name)) for name in ("owner", "reader", "fabric")}
        with (
            self.postgres.connect(self.database, self.owner, PASSWORD) as of_owner,
            self.postgres.connect(self.database, self.reader, PASSWORD) as of_reader,
        ):

            def run(schema: str, statement: LiteralString, *, reader: bool = False, rollback: bool = False) -> str:
                names = {"schema": sql.Identifier(schema), "name": sql.Identifier(f"of_{schema}"), **roles}
                found = of_reader if reader else of_owner
                found.execute(sql.SQL("SET search_path = {}, ext").format(sql.Identifier(schema)))
                try:
                    with found.transaction(force_rollback=rollback):
                        cursor = found.execute(sql.SQL(statement).format(**names))
                        while cursor.nextset():
                            pass
                        return str(cursor.fetchall()) if cursor.description else "done"
                except psycopg.Error as error:
                    return str(error).partition("\n")[0]

            yield run

    def control_plane(self, statement: Any) -> list[dict[str, Any]]:
        return self.postgres.server.execute(statement, None, self.database)

    @property
    def tables(self) -> list[TableName]:
        """The tables that can be mirrored."""
        rows = self.control_plane(
            "SELECT schemaname, tablename FROM pg_tables t JOIN pg_class c ON c.relname = tablename AND"
            " c.relnamespace::regnamespace::text = quote_ident(schemaname) AND relkind = 'r' AND NOT relispartition"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'azure_cdc')"
        )
        return [TableName(row["schemaname"], row["tablename"]) for row in rows]

    @asynccontextmanager
    async def session(self, *, creator: bool = False) -> AsyncIterator[Connection]:
        """A session of the app's identity; of a superuser to create roles with REPLICATION on 14 and 15."""
        user, password = IDENTITY, PASSWORD
        if creator and self.version < 16:
            user, password = self.postgres.administrator, self.postgres.password
        async with connection.connect_as(self.postgres.server.address, self.database, user, password) as found:
            yield found

    async def prepare(self) -> None:
        """Make the fabric role and give it its rights on the schemas, as the app does before it takes tables."""
        async with self.session(creator=True) as found:
            await role.ensure_role(found, self.fabric, PASSWORD)
        async with self.session() as found:
            assert await role.ensure_database(found, self.fabric, sorted({table.schema for table in self.tables})) == ()

    async def look(self) -> tuple[Dependent, ...]:
        async with self.session() as found:
            return await dependents(found, self.fabric, self.tables)

    async def take(self) -> None:
        async with self.session() as found:
            takeover = await ownership.plan_take(found, self.fabric, self.tables)
            assert takeover.not_takeable == ()
            await ownership.apply_take(found, takeover)


def scenery(postgres: Postgres, owner_options: LiteralString = "") -> Scenery:
    prepare_server(postgres)
    tag = secrets.token_hex(3)
    made = Scenery(postgres, postgres.fresh_database(), f"owner {tag}", f"reader_{tag}", f"fabric_{tag}")
    for name, options in ((made.owner, owner_options), (made.reader, "")):
        create_role(made, name, options)
    made.control_plane(
        sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(*map(sql.Identifier, (made.database, made.owner)))
    )
    return made


def create_role(made: Scenery, name: str, options: LiteralString = "") -> None:
    role_name, password = sql.Identifier(name), sql.Literal(PASSWORD)
    made.control_plane(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} ").format(role_name, password) + sql.SQL(options))
    made.control_plane(sql.SQL("GRANT {} TO azure_pg_admin WITH ADMIN OPTION").format(role_name))


def plant(made: Scenery, scenes: Mapping[str, Scene]) -> None:
    made.control_plane("CREATE SCHEMA ext")
    made.control_plane("GRANT USAGE ON SCHEMA ext TO PUBLIC")
    made.control_plane("CREATE SCHEMA hidden")
    made.control_plane(sql.SQL("GRANT USAGE ON SCHEMA hidden TO {}").format(sql.Identifier(made.owner)))
    for extension, schema in (("citext", "ext"), ("pg_trgm", "ext"), ("btree_gist", "ext"), ("ltree", "hidden")):
        made.control_plane(
            sql.SQL("CREATE EXTENSION {} SCHEMA {}").format(sql.Identifier(extension), sql.Identifier(schema))
        )
    with made.application() as run:
        for name, scene in scenes.items():
            run(name, "CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO {reader}")
            assert run(name, scene.plant) == "done", name


def outcomes(made: Scenery, scenes: Mapping[str, Scene]) -> dict[str, str]:
    with made.application() as run:
        return {name: run(name, scene.act, reader=scene.as_reader, rollback=True) for name, scene in scenes.items()}
