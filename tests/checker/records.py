"""What a run writes down: one record per thing that was tried or seen.

The records are the only thing the checker believes. They say what a client did and saw, never what it concludes.
Producers are the test harness's clients, its fault injector and its store dumps; the readers are `history` and
`observations`. An id that does not apply is the empty string. Sequence numbers count from 1 inside a conversation.
Nothing changes a record once it is written; the classes are not frozen because making a frozen one takes four times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

SendPhase = Literal["invoke", "ok", "fail", "info"]
SendState = Literal["accepted", "stored", ""]
SessionPhase = Literal["open", "attached", "close"]

MESSAGE_KIND = "message"
ADDED_KIND = "member_added"
REMOVED_KIND = "member_removed"


@dataclass(slots=True, kw_only=True)
class Record:
    """The part all records share; the writer fills it in at the moment of writing.

    Attributes:
        monotonic_ns: CLOCK_MONOTONIC, comparable between the processes of one machine; the checker orders by it.
        wall_ns: time since 1970, for people who compare a run with logs; no check reads it.
        writer: who wrote it: one process or client, one file.
        index: 0, 1, 2 … inside the writer's file.
    """

    op: ClassVar[str] = ""
    phases: ClassVar[frozenset[str]] = frozenset()

    monotonic_ns: int = 0
    wall_ns: int = 0
    writer: str = ""
    index: int = 0

    @property
    def label(self) -> str:
        """Where to find the record: `writer#index`."""
        return f"{self.writer}#{self.index}"


class Entry(NamedTuple):
    """One entry of a conversation's log as a history page showed it."""

    sequence_number: int
    message_id: str
    sender_user_id: str
    body_sha256: str
    kind: str = MESSAGE_KIND
    subject_user_id: str = ""


@dataclass(slots=True, kw_only=True)
class Session(Record):
    """One socket (or one reader over REST) from opening to closing; not the sign-in session, which outlives sockets.

    Phases: `open` before the hello is sent; `attached` once a message sent from now on must arrive live;
    `close` with `settled` when the client closed it itself after traffic had stopped and the settle time had passed.
    """

    op: ClassVar[str] = "session"
    phases: ClassVar[frozenset[str]] = frozenset({"open", "attached", "close"})

    phase: SessionPhase
    session_id: str
    user_id: str
    device_id: str
    tenant_id: str
    settled: bool = False


@dataclass(slots=True, kw_only=True)
class Send(Record):
    """One step of one attempt to send a message.

    `invoke` is written before the bytes leave; `ok` after an answer (`state` accepted or stored, the latter with its
    number; both may come for one attempt); `fail` when the server refused it for certain; `info` when nobody can know
    (cut, timeout). A retry is another `invoke` with the same message_id. `client_sequence` counts a device's messages
    in the order it meant them.
    """

    op: ClassVar[str] = "send"
    phases: ClassVar[frozenset[str]] = frozenset({"invoke", "ok", "fail", "info"})

    phase: SendPhase
    conversation_id: str
    message_id: str
    user_id: str
    device_id: str
    client_sequence: int
    body_sha256: str
    session_id: str = ""
    state: SendState = ""
    sequence_number: int = 0
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Recv(Record):
    """One numbered log entry that reached a client: `replay` before the conversation's `resumed`, `live` otherwise."""

    op: ClassVar[str] = "recv"

    source: Literal["live", "replay"]
    session_id: str
    user_id: str
    conversation_id: str
    sequence_number: int
    message_id: str
    sender_user_id: str
    body_sha256: str
    kind: str = MESSAGE_KIND
    subject_user_id: str = ""


@dataclass(slots=True, kw_only=True)
class HistoryPage(Record):
    """One answered page of history, ascending after or descending before a number; `drain` marks the final reading."""

    op: ClassVar[str] = "history_page"

    session_id: str
    user_id: str
    conversation_id: str
    entries: tuple[Entry, ...]
    after_sequence_number: int | None = None
    before_sequence_number: int | None = None
    drain: bool = False


@dataclass(slots=True, kw_only=True)
class Resume(Record):
    """A cursor given in a hello (`invoke`) and the `resumed` frame that answered it (`ok`).

    Nothing missed is from = cursor + 1, to = cursor.
    """

    op: ClassVar[str] = "resume"
    phases: ClassVar[frozenset[str]] = frozenset({"invoke", "ok"})

    phase: Literal["invoke", "ok"]
    session_id: str
    user_id: str
    conversation_id: str
    cursor: int
    from_sequence_number: int = 0
    to_sequence_number: int = 0


@dataclass(slots=True, kw_only=True)
class Reset(Record):
    """A `reset` frame: the client must page history instead; live events go on after `last_sequence_number`."""

    op: ClassVar[str] = "reset"

    session_id: str
    user_id: str
    conversation_id: str
    cursor: int
    last_sequence_number: int
    reason: str


@dataclass(slots=True, kw_only=True)
class MarkRead(Record):
    """A read mark set (`invoke`, then `ok` with the mark the server now has, `fail`, `info`) or read back (`observed`).

    Transient `message.read` events carry no order and are not written down.
    """

    op: ClassVar[str] = "mark_read"
    phases: ClassVar[frozenset[str]] = frozenset({"invoke", "ok", "fail", "info", "observed"})

    phase: Literal["invoke", "ok", "fail", "info", "observed"]
    session_id: str
    user_id: str
    conversation_id: str
    sequence_number: int
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Join(Record):
    """A membership begins with the entry of this number: 0 for founders, None when only the log knows.

    `visible_from_sequence_number` is the first entry the member may read; the joining itself when None.
    """

    op: ClassVar[str] = "join"

    conversation_id: str
    user_id: str
    sequence_number: int | None = None
    visible_from_sequence_number: int | None = None


@dataclass(slots=True, kw_only=True)
class Leave(Record):
    """A membership ends with the entry of this number, the last the member may see; None when only the log knows."""

    op: ClassVar[str] = "leave"

    conversation_id: str
    user_id: str
    sequence_number: int | None = None


@dataclass(slots=True, kw_only=True)
class StoreRow(Record):
    """One document of the message store, dumped after traffic stopped."""

    op: ClassVar[str] = "store_row"

    tenant_id: str
    conversation_id: str
    sequence_number: int
    message_id: str
    sender_user_id: str
    body_sha256: str
    kind: str = MESSAGE_KIND
    subject_user_id: str = ""


@dataclass(slots=True, kw_only=True)
class TimeseriesRow(Record):
    """One document of the time series, dumped after traffic stopped; it holds no content."""

    op: ClassVar[str] = "timeseries_row"

    tenant_id: str
    conversation_id: str
    sequence_number: int
    message_id: str
    sender_user_id: str
    kind: str = MESSAGE_KIND


@dataclass(slots=True, kw_only=True)
class Nemesis(Record):
    """A fault was put in place (`start`) or taken away (`stop`)."""

    op: ClassVar[str] = "nemesis"
    phases: ClassVar[frozenset[str]] = frozenset({"start", "stop"})

    phase: Literal["start", "stop"]
    fault: str
    target: str


RECORD_TYPES: Mapping[str, type[Record]] = {
    cls.op: cls
    for cls in (
        Session,
        Send,
        Recv,
        HistoryPage,
        Resume,
        Reset,
        MarkRead,
        Join,
        Leave,
        StoreRow,
        TimeseriesRow,
        Nemesis,
    )
}
