"""Ranges of membership: what must come live, what may be read, what an answer must hold."""

from __future__ import annotations

from checker.membership import FOREVER, covers, membership, memberships
from checker.records import ADDED_KIND, REMOVED_KIND, Join, Leave, StoreRow


def test_founder_sees_everything() -> None:
    member = membership({0: 0}, [])
    assert member.current
    assert member.spells == ((0, FOREVER),)
    assert covers(member.readable, 1)


def test_former_member_sees_the_leaving_and_nothing_after_it() -> None:
    member = membership({3: 3}, [7])
    assert not member.current
    assert [number for number in range(1, 10) if covers(member.spells, number)] == [3, 4, 5, 6, 7]


def test_coming_back_opens_a_second_spell_and_hides_the_first() -> None:
    member = membership({1: 1, 10: 10}, [5])
    assert member.spells == ((1, 5), (10, FOREVER))
    assert member.due(FOREVER) == ((10, FOREVER),)
    assert member.due(4) == ((1, 5),)
    assert covers(member.readable, 4)
    assert not covers(member.readable, 7)


def test_shared_past_is_readable_but_not_live() -> None:
    member = membership({10: 1}, [])
    assert covers(member.readable, 1)
    assert not covers(member.spells, 9)
    assert member.due(FOREVER) == ((1, FOREVER),)
    assert member.due(5) == ((1, FOREVER),)


def test_repeated_changes_mean_nothing() -> None:
    assert membership({1: 1, 2: 2}, [5, 6]).spells == ((1, 5),)


def test_log_and_clients_are_put_together() -> None:
    log = [_change(4, ADDED_KIND, "new"), _change(9, REMOVED_KIND, "old")]
    joins = [
        Join(conversation_id="c", user_id="old", sequence_number=0),
        Join(conversation_id="c", user_id="new"),
        Join(conversation_id="c", user_id="ghost"),
    ]
    ghost = Leave(conversation_id="c", user_id="ghost")
    found, unplaced = memberships(joins, {("c", "ghost"): [ghost], ("c", "old"): []}, log)
    assert found["c", "new"].spells == ((4, FOREVER),)
    assert found["c", "old"].spells == ((0, 9),)
    assert unplaced == [joins[2], ghost]


def _change(number: int, kind: str, user_id: str) -> StoreRow:
    return StoreRow(
        tenant_id="t",
        conversation_id="c",
        sequence_number=number,
        message_id=f"{kind}-{number}",
        sender_user_id="admin",
        body_sha256="",
        kind=kind,
        subject_user_id=user_id,
    )
