"""The checker accuses nobody: runs in which every promise was kept are clean, and they contain what is hard to judge."""

from __future__ import annotations

from collections import Counter

import pytest
from checker import Rules, check, merge
from checker.proof import RESUME_LIMIT, Shape, good_history

RULES = Rules(resume_limit=RESUME_LIMIT)


@pytest.mark.parametrize("seed", range(25))
def test_good_history_is_clean(seed: int) -> None:
    report = check(merge(good_history(seed)), RULES)
    assert report.clean, report.render()


def test_crowded_history_is_clean() -> None:
    report = check(merge(good_history(7, Shape(tenants=1, conversations=2, users=9, steps=6000))), RULES)
    assert report.clean, report.render()


def test_good_histories_contain_the_hard_cases() -> None:
    """A generator that never retries, resumes, resets, refuses or changes members would prove nothing."""
    found: Counter[str] = Counter()
    for seed in range(5):
        records = good_history(seed)
        counts = check(merge(records), RULES).counts
        for name in ("unknown_outcomes", "refused", "resumes", "resets", "faults"):
            found[name] += getattr(counts, name)
        found.update(record.op for record in records)
        found["replay"] += sum(getattr(record, "source", "") == "replay" for record in records)
        found["conflict"] += sum(getattr(record, "reason", "") == "MESSAGE_ID_CONFLICT" for record in records)
    wanted = {"unknown_outcomes", "refused", "resumes", "resets", "faults", "join", "leave", "mark_read", "replay", "conflict"}
    assert not [name for name in wanted if not found[name]], found


def test_equal_seeds_give_equal_histories() -> None:
    assert good_history(3) == good_history(3)
    assert good_history(3) != good_history(4)
