"""The checks of what stands in the way of publishing tables: event triggers, and replica identities."""

from __future__ import annotations

from collections.abc import Iterator

from shared.decisions.readiness.facts import DatabaseFacts
from shared.decisions.readiness.report import Check
from shared.platform.brief import listed
from shared.source.facts import EventTrigger


def publishing_checks(database: DatabaseFacts) -> Iterator[Check]:
    """All checks of this file."""
    for trigger in database.event_triggers:
        make = event_trigger if trigger.trusted else event_trigger_not_trusted
        yield make(database.name, trigger)
    if database.identities:
        yield replica_identity(database)


def replica_identity(database: DatabaseFacts) -> Check:
    """Once a table is published, PostgreSQL refuses UPDATE and DELETE where it has no replica identity."""
    named = listed([f"{it.before.schema}.{it.before.name} ({it.before.identity})" for it in database.identities])
    return Check(
        id="ReplicaIdentity",
        subject=database.name,
        status="will_fix",
        found=named,
        wanted=listed(list(dict.fromkeys(it.fitting for it in database.identities))),
        message=f"UPDATE and DELETE would fail on tables of database {database.name!r} once they are published, or "
        f"changes would not find their rows: {named}. The app sets a replica identity that fits, and gives the "
        "former one back on release.",
    )


def event_trigger(database: str, trigger: EventTrigger) -> Check:
    """An event trigger may refuse what the app and Fabric have to do."""
    commands = ", ".join(trigger.tags) or "all commands"
    return Check(
        id="EventTrigger",
        subject=f"{database}: {trigger.name}",
        status="warn",
        found=f"{trigger.event}: {commands}",
        message=f"Event trigger {trigger.name!r} of database {database!r} calls {trigger.function}: it sees what the "
        "app runs (CREATE EXTENSION, GRANT, ALTER TABLE) and Fabric's CREATE PUBLICATION. If it raises an exception, "
        "they fail.",
        remedy="Read the function. If it refuses such commands, let it pass those of the app's identity and of the "
        "fabric role.",
    )


def event_trigger_not_trusted(database: str, trigger: EventTrigger) -> Check:
    """The function of an event trigger runs as whoever sends the command: as the app."""
    return Check(
        id="EventTriggerNotTrusted",
        subject=f"{database}: {trigger.name}",
        status="fail",
        found=trigger.owner,
        wanted="an administrator of the server",
        message=f"Event trigger {trigger.name!r} of database {database!r} would run {trigger.function} as the app. It "
        f"belongs to {trigger.owner!r}, who is no administrator of the server and could put anything into it.",
        remedy="Read the function, then give it to an administrator (ALTER FUNCTION … OWNER TO azure_pg_admin;), or "
        "disable the event trigger.",
    )
