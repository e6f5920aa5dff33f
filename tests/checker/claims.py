"""What senders claim: every message that was ever tried, with what became of its attempts."""

from __future__ import annotations

from .records import Send

# The contract's word for "this id belongs to somebody else or to other content": it settles every earlier attempt too.
CONFLICT_REASON = "MESSAGE_ID_CONFLICT"


class Claim:
    """All attempts to send one content under one id by one user into one conversation.

    The id alone is not enough: somebody else's use of it, or other content under it, is a claim of its own that must
    fail.

    Attributes:
        effective_invoke_ns: the last invocation that could have been the one that counted: the last before the first
            `ok`. Retries after an `ok` cannot move a message, retries before it can.
        conflicted: it was refused because the id is taken, which can never change.
        uncertain: at least one attempt ended in `info` or in nothing.
    """

    __slots__ = (
        "_last_phase",
        "client_sequence",
        "conflicted",
        "conversation_id",
        "device_id",
        "effective_invoke_ns",
        "fails",
        "first",
        "first_invoke_ns",
        "first_ok",
        "first_unknown_ns",
        "invokes",
        "message_id",
        "stored",
        "unknowns",
        "user_id",
    )

    def __init__(self, first: Send) -> None:
        """Open the claim with its first record, which is also passed to `add`."""
        self.first = first
        self.message_id = first.message_id
        self.conversation_id = first.conversation_id
        self.user_id = first.user_id
        self.device_id = first.device_id
        self.client_sequence = first.client_sequence
        self.first_invoke_ns = first.monotonic_ns
        self.effective_invoke_ns = first.monotonic_ns
        self.first_unknown_ns = 0
        self.invokes = 0
        self.fails = 0
        self.conflicted = False
        self.unknowns = 0
        self.first_ok: Send | None = None
        self.stored: list[Send] = []
        self._last_phase = ""

    def add(self, send: Send) -> None:
        """Take the next record of this claim, in time order."""
        if send.phase == "invoke":
            if self._last_phase == "invoke":
                self._unknown(send.monotonic_ns)
            self.invokes += 1
            if self.first_ok is None:
                self.effective_invoke_ns = send.monotonic_ns
        elif send.phase == "ok":
            if self.first_ok is None:
                self.first_ok = send
            if send.state == "stored":
                self.stored.append(send)
        elif send.phase == "fail":
            self.fails += 1
            self.conflicted = self.conflicted or send.reason == CONFLICT_REASON
        else:
            self._unknown(send.monotonic_ns)
        self._last_phase = send.phase

    def _unknown(self, at_ns: int) -> None:
        self.unknowns += 1
        if not self.first_unknown_ns:
            self.first_unknown_ns = at_ns

    @property
    def uncertain(self) -> bool:
        """Whether an attempt has no known outcome, be it that its client was killed before it could write one."""
        return self.unknowns > 0 or self._last_phase == "invoke"

    @property
    def unknown_since_ns(self) -> int:
        """When the first attempt became one of unknown outcome; its invocation when nothing was written after it."""
        return self.first_unknown_ns or self.effective_invoke_ns

    @property
    def ended_in_fail(self) -> bool:
        """Whether the last word about it was a certain refusal."""
        return self._last_phase == "fail"

    @property
    def never_happened(self) -> bool:
        """Whether it was refused for certain, in every attempt or for good, so that nobody may ever see the message."""
        return self.first_ok is None and (self.conflicted or (self.fails > 0 and not self.uncertain))
