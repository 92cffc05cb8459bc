"""The schema of MusicBrainz, the open music encyclopedia, as its own scripts make it (from the package `mbdata`).

375 tables (two of them partitioned) with sequences, foreign keys, views, triggers and types of their own. Needs
PostgreSQL 15, and the extensions `cube` and `unaccent`.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any, LiteralString, cast

import psycopg

TABLES = 375
SCRIPTS = (
    "CreateSearchConfiguration", "CreateCollations", "CreateTypes", "CreateTables", "CreatePrimaryKeys",
    "CreateFunctions", "CreateConstraints", "CreateFKConstraints", "CreateViews", "CreateMirrorOnlyFunctions",
    "CreateTriggers", "InsertDefaultRows",
)  # fmt: skip
COMMANDS_OF_PSQL = re.compile(r"^\\.*$", re.MULTILINE)


def install(connection: psycopg.Connection[Any]) -> None:
    """Make the schema `musicbrainz` in the connection's database, as the role of the connection."""
    connection.execute("SET client_min_messages = warning")
    connection.execute("CREATE SCHEMA musicbrainz")
    connection.execute("SET search_path = musicbrainz, public")
    for name in SCRIPTS:
        script = (files("mbdata") / "sql" / f"{name}.sql").read_text()
        connection.execute(cast("LiteralString", COMMANDS_OF_PSQL.sub("", script)))
