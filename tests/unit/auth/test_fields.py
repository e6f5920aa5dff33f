"""The rules of request fields: what passes is safe to keep, what does not is refused with its field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat4all_auth.domain import fields
from chat4all_runtime.errors import Code, DomainError
from chat4all_runtime.ids import new_id

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates and NUL too

RULES = {
    "username": fields.username,
    "login_name": fields.login_name,
    "password": fields.new_password,
    "login_password": fields.login_password,
    "display_name": fields.display_name,
    "email": fields.email,
    "tenant_id": fields.tenant_id,
    "device": lambda value: fields.device(value, "device_id"),
    "query": fields.query,
    "user_id": fields.user_id,
    "session_id": fields.session_id,
}


@pytest.mark.parametrize("name", RULES)
@given(text=ANY_TEXT)
def test_whatever_passes_can_be_stored(name, text):
    """Every text is either refused as INVALID_ARGUMENT or free of what PostgreSQL cannot hold; nothing else is raised."""
    try:
        value = RULES[name](text)
    except DomainError as refused:
        value, error = None, refused
    else:
        error = None
    if error is None:
        assert value is None or "\x00" not in value.encode().decode()
    else:
        assert error.code is Code.INVALID_ARGUMENT
        assert error.field is not None
        assert error.metadata["field"] == error.field


def test_names_are_folded_and_plain():
    """Case is folded; letters that only look like ASCII, or fold to it, are refused."""
    assert fields.username("Ana.Silva-1_x") == "ana.silva-1_x"
    for bad in ("an", "a" * 65, "ana silva", "аna", "\u212aate", "ana\n"):
        with pytest.raises(DomainError, match="username must be"):
            fields.username(bad)


def test_login_name_of_nobody_is_not_told_apart():
    """A name nobody can have is treated like an unknown one, not refused."""
    assert fields.login_name("not a name!") is None
    assert fields.login_name("Ana") == "ana"


def test_passwords_are_one_however_they_are_typed():
    """Composed and decomposed accents are the same password (RFC 8265)."""
    assert fields.new_password("contraseña") == fields.login_password("contrasen\u0303a")


@pytest.mark.parametrize("good", ["a@b.org", "First.Last+tag@mail.example.org", ""])
def test_addresses_that_pass(good):
    """Ordinary addresses pass, in lower case; none is allowed."""
    assert fields.email(good) == good.lower()


@pytest.mark.parametrize("bad", ["a", "a@b", "@b.org", "a@b..org", "a b@c.org", "a@b.org\n", "a@@b.org"])
def test_addresses_that_do_not_pass(bad):
    """What cannot be an address is refused."""
    with pytest.raises(DomainError, match="email must be"):
        fields.email(bad)


def test_search_ignores_case_and_composition():
    """A query finds names written with other case or composition."""
    assert fields.search_key("Ângela STRASSE") == fields.search_key("a\u0302ngela straße")


def test_batches_are_bounded_and_without_repeats():
    """At most 200 ids, each once."""
    one = new_id()
    assert fields.user_ids([one, one]) == [one]
    with pytest.raises(DomainError, match="at most 200"):
        fields.user_ids([new_id() for _ in range(201)])
