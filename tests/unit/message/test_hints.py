"""Reading the live channel's lines."""

from __future__ import annotations

from chat4all_message.hints_redis import channel, stored_ids


def test_only_log_entries_are_hints() -> None:
    """Entries and removals carry ids of stored messages; passing news do not; a broken line is left out."""
    payload = b"\n".join(
        [
            b'e\t41\tuser\tid-1\t{"a":"tab \\t inside"}',
            b"r\t42\t\tid-2\t{}",
            b"t\t0\tuser\tid-3\t{}",
            b"e\t43",
            b"",
        ]
    )
    assert stored_ids(payload) == ["id-1", "id-2"]


def test_channel_is_the_conversations_own() -> None:
    """The name is the one the router publishes to."""
    assert channel("c") == b"conversation:c:events"
