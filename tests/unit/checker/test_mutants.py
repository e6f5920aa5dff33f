"""The checker misses nothing we can think of: every way to break a good history is reported, by the right invariant and class."""

from __future__ import annotations

from functools import cache
from random import Random

import pytest
from checker import Record, Rules, ViolationClass, check, merge
from checker.invariants import INVARIANTS
from checker.proof import MUTANTS, RESUME_LIMIT, Mutant, NoVictimError, good_history

RULES = Rules(resume_limit=RESUME_LIMIT)
SEEDS = (0, 1, 2)


@cache
def _history(seed: int) -> list[Record]:
    return good_history(seed)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.name}-{mutant.invariant.__name__}")
def test_no_mutant_survives(mutant: Mutant) -> None:
    broken = 0
    for seed in SEEDS:
        try:
            records = mutant.change(_history(seed), Random(seed))
        except NoVictimError:
            continue
        broken += 1
        report = check(merge(records), RULES)
        found = {(violation.invariant, violation.violation_class) for violation in report.violations}
        assert (mutant.invariant.__name__, mutant.violation_class) in found, f"seed {seed}\n{report.render()}"
    assert broken, "no history had anything to break"


def test_mutants_leave_the_good_history_alone() -> None:
    """Records are shared between a history and its mutants, so a mutant that changed one in place would spoil the next."""
    for mutant in MUTANTS:
        try:
            mutant.change(_history(0), Random(0))
        except NoVictimError:
            continue
    assert _history(0) == good_history(0)


def test_there_are_enough_mutants_and_each_breaks_something_else() -> None:
    assert len({mutant.change for mutant in MUTANTS}) >= 25
    assert {mutant.violation_class for mutant in MUTANTS} == set(ViolationClass)


def test_every_invariant_has_a_mutant() -> None:
    """An invariant nobody ever broke may as well be missing."""
    assert set(INVARIANTS) == {mutant.invariant for mutant in MUTANTS}


def test_numbers_that_skip_one_are_seen_by_one_invariant_only() -> None:
    """All witnesses agree there, so nothing but the count itself can tell."""
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "numbers_skip_one")
    report = check(merge(mutant.change(_history(0), Random(0))), RULES)
    assert {violation.invariant for violation in report.violations} == {"no_holes"}
