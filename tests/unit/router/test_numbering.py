"""Numbers follow the log; what does not is repaired before anybody sees it."""

from __future__ import annotations

from chat4all_router.domain.numbering import Move, plan


def test_nothing_there() -> None:
    """New entries go on from the first free number."""
    result = plan(5, [], ["a", "b"])
    assert (result.numbers, result.moves, result.inserts, result.next_number) == ({"a": 5, "b": 6}, [], ["a", "b"], 7)


def test_holes_first_then_behind() -> None:
    """An insert that reached every second row only: the waiting ones get the numbers that were meant for them."""
    result = plan(5, [(6, "b"), (8, "d")], ["a", "b", "c", "d", "e"])
    assert result.numbers == {"a": 5, "b": 6, "c": 7, "d": 8, "e": 9}
    assert (result.moves, result.inserts, result.next_number) == ([], ["a", "c", "e"], 10)


def test_a_hole_nobody_waits_for_is_closed_from_above() -> None:
    """The id meant for number 5 belongs to another conversation after all; the rows behind it move down, in order."""
    result = plan(5, [(6, "b"), (7, "c")], ["b", "c", "d"])
    assert result.moves == [Move("b", 6, 5), Move("c", 7, 6)]
    assert (result.numbers, result.inserts, result.next_number) == ({"b": 5, "c": 6, "d": 7}, ["d"], 8)


def test_a_waiting_entry_does_not_overtake() -> None:
    """A hole below a row is not filled by an entry that comes behind that row in the log."""
    result = plan(5, [(6, "b")], ["b", "c"])
    assert (result.moves, result.numbers) == ([Move("b", 6, 5)], {"b": 5, "c": 6})


def test_rows_from_further_along_the_log_stay() -> None:
    """The hole below them may belong to a record that is not in this batch; it stays the first free number."""
    result = plan(5, [(8, "z")], ["a"])
    assert (result.numbers, result.moves, result.inserts, result.next_number) == ({"a": 5, "z": 8}, [], ["a"], 6)


def test_rows_of_another_owner_that_are_whole_are_counted_in() -> None:
    """Nothing to repair: go on behind them."""
    result = plan(5, [(5, "a"), (6, "z")], ["a"])
    assert (result.numbers, result.moves, result.inserts, result.next_number) == ({"a": 5, "z": 6}, [], [], 7)
