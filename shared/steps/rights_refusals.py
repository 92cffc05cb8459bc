"""The refusals of a preparation: what the app may not do, with the statements that somebody else has to run."""

from __future__ import annotations

from collections.abc import Iterable

from shared.decisions.rights import Plan
from shared.desired.takeover import NotTakeable
from shared.platform.brief import NAMED, listed
from shared.platform.errors import Blocked
from shared.source.facts import Missing, TableReport


def require_plan(plan: Plan) -> None:
    if plan.problems:
        first, *more = plan.problems
        raise Blocked(
            listed([first.message, *(it.message for it in more)], " "),
            code=first.code,
            remedy=listed(list(dict.fromkeys(it.remedy for it in plan.problems)), " "),
        )


def require_takeable(refused: tuple[NotTakeable, ...]) -> None:
    if refused:
        names = listed([f"{table.schema}.{table.table} of {table.owner!r}" for table in refused])
        raise Blocked(
            f"The app may not take {len(refused)} tables: {names}.",
            code="TableNotTakeable",
            remedy=_statements((table.statement, table.run_as) for table in refused),
        )


def require_granted(missing: tuple[Missing, ...]) -> None:
    if missing:
        raise Blocked(
            "The app may not grant the fabric role what it needs: " + listed([lack.subject for lack in missing]) + ".",
            code="GrantNotPermitted",
            remedy=_statements((lack.statement, lack.run_as) for lack in missing),
        )


def _statements(lacking: Iterable[tuple[str, tuple[str, ...]]]) -> str:
    """What somebody else has to run, each statement once, and as whom; readiness names all of them."""
    lines = dict.fromkeys(f"{statement} (as {' or '.join(run_as) or 'a superuser'})" for statement, run_as in lacking)
    return "Run: " + listed(list(lines), " ") + (" (GET …/readiness)" if len(lines) > NAMED else "")


def require_accepted(report: TableReport, database: str) -> None:
    """Raise `Blocked` where a chosen table can't be mirrored. `report`: on the chosen tables."""
    refused = [table for table in report.tables if table.status == "ERROR"]
    if refused:
        named = listed([f"{table.schema}.{table.name}: {table.message}" for table in refused], " ")
        raise Blocked(
            f"The service refuses {len(refused)} of the tables that were chosen of database {database!r}. {named}",
            code="TableRefused",
            remedy="Change these tables, or choose others.",
        )
