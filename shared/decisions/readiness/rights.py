"""The checks of the fabric role's rights in a database: how it gets them, what stands in the way, and what it gains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.decisions import rights
from shared.decisions.harm import Harm
from shared.decisions.readiness.facts import DatabaseFacts
from shared.decisions.readiness.report import TUTORIAL, Check, Outcome
from shared.desired.takeover import NotTakeable
from shared.platform.reasons import Reason
from shared.source.facts import Missing


def rights_checks(database: DatabaseFacts) -> Iterator[Check]:
    """All checks of this file."""
    if database.owners:
        yield table_rights(database)
    for owner in database.strong_owners:
        yield owner_became_strong(database.name, owner)
    for problem in database.rights.problems:
        yield rights_problem(database.name, problem)
    if not database.rights.problems:
        for harm in database.harms:
            yield ownership_changes(database.name, harm)
    of_owner: dict[str, list[NotTakeable]] = {}
    for table in database.not_takeable:
        of_owner.setdefault(table.owner, []).append(table)
    for tables in of_owner.values():
        yield table_not_takeable(database.name, tables)
    for missing in database.missing:
        yield grant_not_permitted(database.name, missing)


def table_rights(database: DatabaseFacts) -> Check:
    """How the role gets its rights on the tables, and what it reaches besides them."""
    plan = database.rights
    status: Outcome = "pass" if all(owner.joined for owner in database.owners) else "will_fix"
    ways = {
        "member of": [owner.name for owner in database.owners if owner.name in plan.membership],
        "owner of the tables of": [owner.name for owner in database.owners if owner.name in plan.ownership],
    }
    roles = "; ".join(f"{way} {', '.join(names)}" for way, names in ways.items() if names)
    gains = rights.gains(database.owners, plan)
    return Check(
        id="TableRights",
        subject=database.name,
        status="warn" if gains else status,
        found=plan.way,
        wanted=roles,
        message=f"{plan.why} {gains}".strip(),
        remedy="Nothing, if the fabric role may reach that. Or set rights to ownership." if gains else "",
        reference=TUTORIAL,
    )


def owner_became_strong(database: str, owner: str) -> Check:
    """The role leaves an owner that makes it more than this application's, whatever else stands in the way."""
    return Check(
        id="OwnerBecameStrong",
        subject=f"{database}: {owner}",
        status="will_fix",
        found="member",
        wanted="no member",
        message=f"Role {owner!r} has become an administrator of the server, or reaches beyond its application. The "
        "app ends the membership of the fabric role in it, which it granted before.",
    )


def rights_problem(database: str, problem: Reason) -> Check:
    """The role can reach the tables of every owner in the way that was chosen. The check's id is the reason's code."""
    return Check(
        id=problem.code,
        subject=database,
        status="fail",
        message=f"Database {database!r}: {problem.message}",
        remedy=problem.remedy,
        reference=TUTORIAL,
    )


def ownership_changes(database: str, harm: Harm) -> Check:
    """Somebody named ownership as the way, and this changes for the application."""
    return Check(
        id="OwnershipChanges",
        subject=f"{database}: {harm.object}",
        status="warn",
        message=harm.consequence,
        remedy=harm.cure,
        reference=TUTORIAL,
    )


def table_not_takeable(database: str, tables: Sequence[NotTakeable]) -> Check:
    """The app may act for the owner of these tables, so that it can make them the fabric role's."""
    first = tables[0]
    run_as = " or ".join(first.run_as) or "a superuser"
    many = "" if len(tables) == 1 else f" and {len(tables) - 1} more tables"
    return Check(
        id="TableNotTakeable",
        subject=f"{database}: {first.schema}.{first.table}",
        status="fail",
        found=first.owner,
        message=f"Table {first.schema}.{first.table}{many} of database {database!r} belong{'s' if not many else ''} to "
        f"{first.owner!r}, for whom the app may not act.",
        remedy=f"Run as {run_as}: {first.statement}",
        reference=TUTORIAL,
    )


def grant_not_permitted(database: str, missing: Missing) -> Check:
    """The app may grant what the role needs in the database, and create the extension there."""
    run_as = " or ".join(missing.run_as) or "a superuser"
    return Check(
        id="GrantNotPermitted",
        subject=f"{database}: {missing.subject}",
        status="fail",
        message=f"In database {database!r} the app may not give the fabric role what it needs: {missing.subject}.",
        remedy=f"Run as {run_as}, in this database: {missing.statement}",
        reference=TUTORIAL,
    )
