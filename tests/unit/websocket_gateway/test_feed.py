"""A feed shows each number once, in order, whatever Redis loses, repeats or crosses."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.websocket_gateway.doubles import Owner, Socket, entry, feed, line


async def test_in_order_and_once() -> None:
    """Repeats are dropped; a batch in one publish is one write."""
    owner = Owner()
    it, socket = feed(owner), Socket()
    it.live.add(socket.it)
    it.receive(line(1) + b"\n" + line(2))
    it.receive(line(2) + b"\n" + line(3))
    assert socket.numbers() == [1, 2, 3]
    assert len(socket.pending) == 2


async def test_a_gap_holds_what_is_later() -> None:
    """Nothing after a hole is shown before the hole is filled."""
    owner = Owner()
    it, socket = feed(owner), Socket()
    it.live.add(socket.it)
    it.receive(line(1))
    it.receive(line(4))
    it.receive(line(5))
    assert (socket.numbers(), owner.found_by, it.is_behind) == ([1], ["live"], True)
    it.fill([entry(2), entry(3), entry(4)])
    assert socket.numbers() == [1, 2, 3, 4, 5]
    assert not it.is_behind


async def test_a_late_line_closes_the_gap_itself() -> None:
    """Two publishes that crossed need no store."""
    owner = Owner()
    it, socket = feed(owner), Socket()
    it.live.add(socket.it)
    it.receive(line(2))
    it.receive(line(1))
    assert socket.numbers() == [1, 2]


async def test_held_lines_are_bounded() -> None:
    """Beyond the bound entries are read from the log instead of kept."""
    owner = Owner()
    it, socket = feed(owner, held=10), Socket()
    it.live.add(socket.it)
    for number in range(2, 100):
        it.receive(line(number))
    it.fill([entry(1)])
    assert socket.numbers() == list(range(1, 12))
    assert it.is_behind
    it.fill([entry(number) for number in range(12, 100)])
    assert not it.is_behind


async def test_lines_before_the_first_position_are_kept() -> None:
    """What is published while the position is read is neither lost nor shown twice."""
    owner = Owner()
    it = feed(owner, last=-1)
    it.receive(line(7))
    it.receive(line(8))
    assert not it.is_behind
    it.position(7)
    assert it.last == 8


@pytest.mark.parametrize("position", [5, 6])
async def test_a_removal_under_the_first_position_is_doubted(position: int) -> None:
    """A removal that the position already covers may or may not be in the list of members: it is asked again."""
    owner = Owner()
    it = feed(owner, last=-1)
    it.receive(line(5, "r", removed_user_id="gone"))
    it.position(position)
    assert owner.doubts == ["gone"]


async def test_removal_cuts_exactly() -> None:
    """The removed gets the entry of the removal, nothing after it; the others get all."""
    owner = Owner()
    it, stays, goes = feed(owner), Socket("stays"), Socket("goes")
    it.live |= {stays.it, goes.it}
    it.receive(b"\n".join([line(1), line(2, "r", removed_user_id="goes"), line(3)]))
    assert stays.numbers() == [1, 2, 3]
    assert goes.numbers() == [1, 2]
    assert owner.removals == [("goes", 2)]


async def test_transient_lines_pass_by() -> None:
    """Transients are shown at once, even while a hole is open; typing is not shown to the typist."""
    owner = Owner()
    it, typist, other = feed(owner), Socket("sender"), Socket("other")
    it.live |= {typist.it, other.it}
    it.receive(line(5))
    it.receive(b't\t0\tsender\ttyping\t{"type":"event","event_type":"typing"}')
    it.receive(b't\t0\tsender\t\t{"type":"event","event_type":"message.read"}')
    assert [frame["event_type"] for frame in typist.frames()] == ["message.read"]
    assert [frame["event_type"] for frame in other.frames()] == ["typing", "message.read"]


async def test_a_broken_line_costs_only_itself() -> None:
    """What came before it is shown, and what it hid is filled later."""
    owner = Owner()
    it, socket = feed(owner), Socket()
    it.live.add(socket.it)
    with pytest.raises(ValueError, match="not enough values"):
        it.receive(line(1) + b"\nbroken")
    assert socket.numbers() == [1]
    it.receive(line(3))
    assert it.is_behind


async def test_awaited_ids_are_told() -> None:
    """Sends of this gateway hear of their entry, by live line and by fill."""
    owner = Owner(awaited={b"m1": [], b"m2": []})
    it = feed(owner)
    it.receive(line(1))
    it.fill([entry(2), entry(3)])
    assert owner.stored_numbers == [1, 2]


async def test_recent_entries_serve_those_who_join() -> None:
    """While somebody joins, delivered entries are remembered; afterwards no longer."""
    owner = Owner()
    it = feed(owner, last=10)
    it.begin_join()
    it.receive(line(11) + b"\n" + line(12))
    assert [item.sequence_number for item in it.recent_after(10) or ()] == [11, 12]
    assert it.recent_after(9) is None
    assert list(it.recent_after(12) or ()) == []
    it.end_join()
    assert it.recent_after(11) is None


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 80), lost=st.floats(0, 0.6), held=st.integers(1, 20))
def test_any_loss_repeat_and_disorder(seed: int, count: int, lost: float, held: int) -> None:
    """Random losses, repeats, crossings, batches and fills: always 1, 2, 3 … without hole or repeat, and complete in the end."""

    async def run() -> None:
        chance = random.Random(seed)
        owner = Owner()
        it, socket = feed(owner, held=held), Socket()
        it.live.add(socket.it)
        log = [entry(number) for number in range(1, count + 1)]
        sent = [number for number in range(1, count + 1) if chance.random() >= lost]
        sent += [chance.randint(1, count) for _ in range(count // 4)]
        for place in range(len(sent) - 1):
            if chance.random() < 0.2:
                sent[place], sent[place + 1] = sent[place + 1], sent[place]
        while sent:
            batch, sent = sent[: chance.randint(1, 5)], sent[5:]
            it.receive(b"\n".join(line(number) for number in batch))
            if it.is_behind and chance.random() < 0.5:
                it.fill(log[it.last : it.last + chance.randint(1, 10)])
            assert socket.numbers() == list(range(1, it.last + 1))
        it.position(count)
        while it.is_behind:
            it.fill(log[it.last : it.last + 7])
        assert socket.numbers() == list(range(1, count + 1))

    asyncio.run(run())
