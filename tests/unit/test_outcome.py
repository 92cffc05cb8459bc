"""How a run ends."""

from __future__ import annotations

import pytest

from shared.decisions import outcome
from shared.decisions.outcome import Outcome
from shared.platform.reasons import Reason

WHY = Reason("RightsMissing", "A right is missing.")
LEFT = Reason("ParametersLeft", "The parameters were left.")


def test_a_preparation_is_mirrored_or_blocked_with_its_reasons() -> None:
    assert outcome.of_preparation(()) == Outcome("Mirrored")
    assert outcome.of_preparation((WHY,)) == Outcome("Blocked", (WHY,))


def test_a_release_says_what_stays_unless_something_stands_in_its_way() -> None:
    assert outcome.of_release((), (LEFT,)) == Outcome("Released", (LEFT,))
    assert outcome.of_release((WHY,), (LEFT,)) == Outcome("Blocked", (WHY,))


@pytest.mark.parametrize("phase", ["Mirrored", "Released", "Deleted", "Unconcerned", "Superseded"])
def test_every_end_has_a_sentence_and_the_first_reason_is_a_better_one(phase: outcome.OutcomePhase) -> None:
    assert Outcome(phase).sentence.endswith(".")
    assert Outcome(phase, (WHY, LEFT)).sentence == WHY.message


def test_a_run_that_concerned_nobody_or_that_the_next_one_goes_on_with_leaves_the_row_as_it_is() -> None:
    recorded = [phase for phase in outcome._SENTENCES if Outcome(phase).is_recorded]  # type: ignore[arg-type]
    assert recorded == ["Mirrored", "Released", "Deleted"]
    assert Outcome("Blocked", (WHY,)).is_recorded


def test_what_stays_after_a_release_names_the_parameters_and_how_sure_the_app_is() -> None:
    assert outcome.left(()) == ()
    [sure] = outcome.left(("wal_level", "max_wal_senders"))
    [unsure] = outcome.left(("wal_level",), recorded=False)
    assert "that the app set were left as they are: wal_level, max_wal_senders." in sure.message
    assert "that the app may have set (the record of it was lost) were left" in unsure.message
