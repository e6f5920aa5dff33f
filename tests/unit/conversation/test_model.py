"""Drafts: what makes two requests the same."""

from __future__ import annotations

import dataclasses

import pytest

from chat4all_conversation import checks
from chat4all_conversation.domain.model import ConversationDraft, ConversationType, Role, without_repeats
from chat4all_runtime.errors import DomainError
from chat4all_runtime.ids import new_id

DRAFT = ConversationDraft("default", "a", ConversationType.GROUP, "Team", ("b", "c"), "r1")


def test_the_pair_has_one_key_whoever_asks() -> None:
    """Promise: one direct conversation per pair."""
    one = dataclasses.replace(DRAFT, type=ConversationType.DIRECT, member_ids=("b",))
    other = dataclasses.replace(one, creator_id="b", member_ids=("a",))
    assert one.direct_key == other.direct_key == "a:b"
    assert DRAFT.direct_key is None


def test_the_digest_tells_other_content_and_ignores_the_order_of_members() -> None:
    """Promise: a repeat is a repeat in whatever order the client names people; anything else is a conflict."""
    assert dataclasses.replace(DRAFT, member_ids=("c", "b")).digest == DRAFT.digest
    for other in (
        dataclasses.replace(DRAFT, title="Teams"),
        dataclasses.replace(DRAFT, type=ConversationType.CHANNEL),
        dataclasses.replace(DRAFT, member_ids=("b",)),
        dataclasses.replace(DRAFT, title="Teamb", member_ids=("c",)),
    ):
        assert other.digest != DRAFT.digest


def test_the_creator_owns_a_group_and_a_pair_belongs_to_both() -> None:
    """Promise: a direct conversation has no owner."""
    assert dict(DRAFT.roles()) == {"a": Role.OWNER, "b": Role.MEMBER, "c": Role.MEMBER}
    direct = dataclasses.replace(DRAFT, type=ConversationType.DIRECT, member_ids=("b",))
    assert set(dict(direct.roles()).values()) == {Role.MEMBER}


def test_repeats_are_dropped_in_order() -> None:
    """Promise: naming somebody twice, or oneself, changes nothing."""
    assert without_repeats(["b", "a", "b", "c"], except_for="a") == ("b", "c")


def test_titles_are_trimmed_and_bounded() -> None:
    """Promise: 200 characters of any script, no control characters."""
    assert checks.title("title", "  Équipe 🎉 ") == "Équipe 🎉"
    assert checks.title("title", "é" * 200) == "é" * 200
    for wrong in ("x" * 201, "a\nb", "a\u0085b", "\x00"):
        with pytest.raises(DomainError) as refused:
            checks.title("title", wrong)
        assert refused.value.field == "title"


def test_wrong_ids_name_their_place() -> None:
    """Promise: INVALID_ARGUMENT says which of many ids it is."""
    with pytest.raises(DomainError) as refused:
        checks.identifiers("user_ids", [new_id(), new_id().upper()], 10)
    assert refused.value.field == "user_ids[1]"
    with pytest.raises(DomainError, match="at most 1"):
        checks.identifiers("user_ids", [new_id(), new_id()], 1)
