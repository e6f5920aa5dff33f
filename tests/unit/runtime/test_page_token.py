"""Page tokens: what we gave out comes back, anything else is refused and never an exception of another kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat4all_runtime import page_token
from chat4all_runtime.errors import DomainError


@given(st.text(max_size=100), st.integers(min_value=0, max_value=2**53))
def test_round_trip(name: str, number: int) -> None:
    """A token gives back its parts."""
    if not name.isprintable():
        return
    assert page_token.decode(page_token.encode(name, number), str, int) == [name, number]


@given(st.text(max_size=200))
def test_garbage_is_refused(token: str) -> None:
    """Whatever a client sends is either ours, empty, or PAGE_TOKEN_INVALID."""
    assert outcome(token) in ("ours", "PAGE_TOKEN_INVALID")


def outcome(token: str) -> str:
    """What became of a token."""
    try:
        parts = page_token.decode(token, str, int)
    except DomainError as error:
        return error.reason
    return "ours" if parts is None or len(parts) == 2 else "neither"


@pytest.mark.parametrize(("asked", "given_"), [(0, 50), (1, 1), (200, 200)])
def test_page_size(asked: int, given_: int) -> None:
    """Zero means the default, the maximum is allowed."""
    assert page_token.page_size(asked) == given_


@pytest.mark.parametrize("asked", [-1, 201])
def test_page_size_out_of_range(asked: int) -> None:
    """Too many or negative is refused by reason."""
    with pytest.raises(DomainError, match="page_size must be"):
        page_token.page_size(asked)
