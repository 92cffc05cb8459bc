"""How a run ends: the phase of its server, the reasons, and the sentence that people read. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from shared.platform import reasons as short_form
from shared.platform.reasons import Reason

type OutcomePhase = Literal["Mirrored", "Released", "Deleted", "Missing", "Blocked", "Unconcerned", "Superseded"]

GOALS = frozenset({"Mirrored", "Released"})
"""Phases of a run that did all of what it began."""
_SENTENCES: dict[str, str] = {
    "Mirrored": "Every database is mirrored.",
    "Released": "The server is released.",
    "Deleted": "The server was deleted.",
    "Unconcerned": "Nobody wants this server mirrored.",
    "Superseded": "Something else is wanted by now; the next run does that.",
}


class Outcome(msgspec.Struct, frozen=True):
    """The end of a run."""

    phase: OutcomePhase
    reasons: tuple[Reason, ...] = ()

    @property
    def sentence(self) -> str:
        """What the status of the run says."""
        return self.reasons[0].message if self.reasons else _SENTENCES[self.phase]

    @property
    def is_recorded(self) -> bool:
        """Whether the server's row takes the outcome: not where the server concerns nobody, or the next run goes on."""
        return self.phase not in ("Unconcerned", "Superseded")


def blocked(*reasons: Reason) -> Outcome:
    """The end of a run that something stood in the way of, with the reasons in short form: an outcome goes into a
    history, a row and a notice."""
    return Outcome("Blocked", short_form.short(reasons))


def of_preparation(reasons: tuple[Reason, ...]) -> Outcome:
    """The end of a preparation: one reason is enough for Blocked."""
    return blocked(*reasons) if reasons else Outcome("Mirrored")


def of_release(reasons: tuple[Reason, ...], left: tuple[Reason, ...]) -> Outcome:
    """The end of a release. `reasons`: what stood in the way; `left`: what stays as it is, once all is given back."""
    return blocked(*reasons) if reasons else Outcome("Released", left)


def left(parameters: tuple[str, ...], recorded: bool = True) -> tuple[Reason, ...]:
    """What stays as it is after a release. `parameters`: the server parameters that the app set; where that was not
    `recorded`, those that it may have set."""
    if not parameters:
        return ()
    set_them = "set" if recorded else "may have set (the record of it was lost)"
    return (
        Reason(
            "ParametersLeft",
            f"Server parameters that the app {set_them} were left as they are: {', '.join(parameters)}. Taking them "
            "back may need a restart, and others may rely on them.",
            "Where nobody does, set them back in the Azure portal, and restart the server at a time that suits it.",
        ),
    )
