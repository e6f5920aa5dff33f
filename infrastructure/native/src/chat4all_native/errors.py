"""The one error of the launcher, and plain words for what engines say when they die."""

from __future__ import annotations

from collections.abc import Sequence

# What engines write into their logs when they give up -> what it means for the person at the keyboard.
_KNOWN = (
    ("No space left on device", "the disk is full; free some space and start again"),
    ("Address already in use", "one of its ports was taken while it started; stop the other program or set CHAT4ALL_PORT_BASE"),
    ("address already in use", "one of its ports was taken while it started; stop the other program or set CHAT4ALL_PORT_BASE"),
    ("There is insufficient memory", "the machine has too little free memory; close something and start again"),
    ("Cannot allocate memory", "the machine has too little free memory; close something and start again"),
    ("Too many open files", "the limit of open files is too low; raise it with `ulimit -n 4096` and start again"),
)


class StartFailed(Exception):
    """A part could not be started or stopped.

    Args:
        name: the part, or `stack` when it concerns all.
        sentence: what happened and what to do next, in one plain sentence.
        log_tail: the last lines of that part's own log of this start; empty when it never ran.
    """

    def __init__(self, name: str, sentence: str, log_tail: Sequence[str] = ()) -> None:
        super().__init__(name, sentence, list(log_tail))
        self.name = name
        self.sentence = sentence
        self.log_tail = list(log_tail)

    def __str__(self) -> str:
        """The sentence, then the log lines."""
        return "\n".join([f"{self.name}: {self.sentence}", *(f"    {line}" for line in self.log_tail)])


def diagnose(log_tail: Sequence[str]) -> str | None:
    """The known cause in these log lines, in plain words; None when nothing is recognised."""
    text = "\n".join(log_tail)
    return next((meaning for words, meaning in _KNOWN if words in text), None)
