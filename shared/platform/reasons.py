"""The reason for a state, in a form that the app records and shows, and that people search for.

The docstring of the type is its description in the API's document and in the schema of the notices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from shared.platform.brief import brief, cut, size
from shared.platform.errors import MirrorError

MOST_BYTES = 16 * 1024
"""Of the reasons of a server or a mirror together, as JSON in UTF-8: a row, an activity's answer and a notice take them
with much room to spare, and a view of a table reads them whole."""
LONGEST = 4000
"""Bytes of a message, and of a remedy."""
LONGEST_CODE = 100
MORE = "MoreReasons"
EACH = 5
"""How many reasons of one code are shown."""
MOST = 20
"""How many reasons are shown, and one that counts the others."""
_FORMS = ((EACH, MOST, LONGEST), (3, MOST, 1500), (1, MOST, 600), (1, 10, 300), (1, 5, 300))
"""Ever shorter forms: how many reasons of one code, how many in all, and how long the texts are."""


class Reason(msgspec.Struct, frozen=True):
    """A stable `code`, a sentence, and what to do."""

    code: str
    message: str
    remedy: str = ""

    def __post_init__(self) -> None:
        """Codes of services have remedies of their own in the documents alone, and so have the rows of old versions."""
        if not self.remedy:
            msgspec.structs.force_setattr(self, "remedy", f"docs/operations.md says what to do about {self.code}.")


def of(error: MirrorError) -> Reason:
    """An error as a reason. The texts of services have any length, so long ones are cut."""
    return _cut(Reason(error.code, error.message, error.remedy), LONGEST)


def short(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """The reasons in at most `MOST_BYTES`: the first of each code. A last one counts the others by code."""
    shown = tuple(reasons)
    of_code = Counter(reason.code for reason in shown)
    if len(shown) <= MOST + 1 and max(of_code.values(), default=0) <= EACH and size(shown) <= MOST_BYTES:
        return shown
    for each, most, longest in _FORMS:
        shown = _in_form(reasons, each, most, longest)
        if size(shown) <= MOST_BYTES:
            break
    return shown


def _in_form(reasons: Sequence[Reason], each: int, most: int, longest: int) -> tuple[Reason, ...]:
    selected = brief(reasons, lambda reason: cut(reason.code, LONGEST_CODE), each, most)
    shown = tuple(_cut(reason, longest) for reason in selected.shown)
    if not selected.more:
        return shown
    counted = ", ".join(f"{count:,} of {code}" for code, count in selected.more.items())
    remedy = "The last readiness report has all that it is about: GET …/mirroring/report."
    return (*shown, Reason(MORE, cut(f"There are more reasons: {counted}.", longest), remedy))


def _cut(reason: Reason, longest: int) -> Reason:
    return Reason(cut(reason.code, LONGEST_CODE), cut(reason.message, longest), cut(reason.remedy, longest))
