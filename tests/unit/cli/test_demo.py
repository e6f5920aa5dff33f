"""The demo's comparison: it must see what is lost, doubled, foreign, moved or changed."""

from __future__ import annotations

import pytest

from chat4all_cli.corpus import load
from chat4all_cli.demo import compare

SENT = [(1, "a", "u1", "one"), (2, "b", "u2", "two"), (3, "c", "u1", "three")]


def test_equal_is_fine() -> None:
    """The same rows are no problem."""
    assert compare(SENT, list(SENT), "screen") == []


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        (SENT[:2], "lost"),
        ([*SENT, SENT[2]], "doubled"),
        ([*SENT, (4, "d", "u1", "four")], "foreign"),
        ([SENT[1], SENT[0], SENT[2]], "order"),
        ([SENT[0], (2, "b", "u2", "tow"), SENT[2]], "bytes"),
        ([SENT[0], (2, "b", "u1", "two"), SENT[2]], "sender"),
    ],
)
def test_every_fault_is_named(seen: list[tuple[int, str, str, str]], word: str) -> None:
    """One word says what is wrong."""
    assert word in " ".join(compare(SENT, seen, "screen"))


def test_the_corpus_is_real() -> None:
    """28 languages, among them scripts that run from right to left."""
    languages = {language.name: language for language in load()}
    assert len(languages) == 28
    assert any("\u0590" <= letter <= "\u05ff" for _, line in languages["hebrew"].lines for letter in line)
    assert sum(len(language.lines) for language in languages.values()) > 15_000
