"""A made-up messenger that keeps every promise, in one thread and without a clock: what `scenario` moves step by step.

It knows logs, members, devices with sockets, and writes the records that real clients would write.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from ..records import (
    ADDED_KIND,
    REMOVED_KIND,
    Entry,
    HistoryPage,
    Join,
    Leave,
    Nemesis,
    Record,
    Recv,
    Reset,
    Resume,
    Session,
    SessionPhase,
    StoreRow,
    TimeseriesRow,
)

PAGE_SIZE = 25
RESUME_LIMIT = 30


def body_sha256(text: str) -> str:
    """Return the digest a client would record for a content."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(slots=True)
class Conversation:
    """One log with its members (user → first readable number)."""

    conversation_id: str
    tenant_id: str
    shares_past: bool
    members: dict[str, int] = field(default_factory=dict)
    log: list[Entry] = field(default_factory=list)

    def find(self, message_id: str) -> Entry | None:
        """Return the entry of a message."""
        return next((entry for entry in self.log if entry.message_id == message_id), None)


@dataclass(slots=True)
class Device:
    """One device of a user; `wire` holds what was pushed to its socket and has not arrived yet."""

    user_id: str
    device_id: str
    tenant_id: str
    cursors: dict[str, int] = field(default_factory=dict)
    wire: list[tuple[Conversation, Entry]] = field(default_factory=list)
    session_id: str = ""
    sessions_opened: int = 0
    client_sequence: int = 0


class World:
    """The state and the records written so far; time moves up to 2 ms with each record."""

    def __init__(self, rng: Random, conversations: list[Conversation], devices: list[Device]) -> None:
        """Start with founders in place and everybody offline."""
        self.rng = rng
        self.conversations = conversations
        self.devices = devices
        self.records: list[Record] = []
        self._now_ns = 10**9
        self._written: dict[str, int] = {}
        for conversation in conversations:
            for user_id in conversation.members:
                self.write("setup", Join(conversation_id=conversation.conversation_id, user_id=user_id, sequence_number=0))

    def write(self, writer: str, record: Record) -> None:
        """Stamp a record and keep it."""
        self._now_ns += self.rng.randint(1, 2_000_000)
        index = self._written.get(writer, 0)
        self._written[writer] = index + 1
        stamps = {"monotonic_ns": self._now_ns, "wall_ns": 1_700_000_000_000_000_000 + self._now_ns}
        self.records.append(replace(record, writer=writer, index=index, **stamps))

    def append(self, conversation: Conversation, entry: Entry) -> Entry:
        """Number an entry, store it, and push it to every member's sockets."""
        numbered = entry._replace(sequence_number=len(conversation.log) + 1)
        conversation.log.append(numbered)
        for device in self.devices:
            if device.session_id and device.user_id in conversation.members:
                device.wire.append((conversation, numbered))
        return numbered

    def arrive(self, device: Device, count: int) -> None:
        """Let up to `count` pushed entries reach the client."""
        for conversation, entry in device.wire[:count]:
            self._receive(device, conversation, entry, live=True)
        del device.wire[:count]

    def connect(self, device: Device) -> None:
        """Open a socket, resume every conversation, attach; once in a while the socket dies in the middle of a replay."""
        device.sessions_opened += 1
        device.session_id = f"{device.device_id}-s{device.sessions_opened}"
        self._session(device, "open")
        for conversation in self.conversations:
            if device.user_id in conversation.members and not self._resume(device, conversation):
                self.disconnect(device)
                return
        self._session(device, "attached")

    def disconnect(self, device: Device, *, settled: bool = False) -> None:
        """Close the socket; what was on the wire is gone."""
        self._session(device, "close", settled=settled)
        device.session_id = ""
        device.wire.clear()

    def join(self, conversation: Conversation, user_id: str, by: str) -> None:
        """Add a member; the joining is an entry the new member sees."""
        number = len(conversation.log) + 1
        visible_from = 1 if conversation.shares_past else number
        conversation.members[user_id] = visible_from
        message_id = f"added-{conversation.conversation_id}-{number}"
        self.append(conversation, Entry(0, message_id, by, body_sha256(message_id), ADDED_KIND, user_id))
        told = number if self.rng.random() < 0.5 or conversation.shares_past else None
        self.write(
            f"user-{by}",
            Join(
                conversation_id=conversation.conversation_id,
                user_id=user_id,
                sequence_number=told,
                visible_from_sequence_number=visible_from if told else None,
            ),
        )

    def leave(self, conversation: Conversation, user_id: str) -> None:
        """Remove a member; the leaving is the last entry they see."""
        message_id = f"removed-{conversation.conversation_id}-{len(conversation.log) + 1}"
        entry = Entry(0, message_id, user_id, body_sha256(message_id), REMOVED_KIND, user_id)
        number = self.append(conversation, entry).sequence_number
        del conversation.members[user_id]
        leave = Leave(conversation_id=conversation.conversation_id, user_id=user_id, sequence_number=number)
        self.write(f"user-{user_id}", leave)

    def page(self, device: Device, conversation: Conversation, after: int, *, drain: bool = False) -> int:
        """Read one page upwards; return how many entries it had."""
        low = max(after + 1, conversation.members[device.user_id])
        return self._page(device, conversation, low, low + PAGE_SIZE - 1, after=after, drain=drain)

    def page_down(self, device: Device, conversation: Conversation, before: int) -> int:
        """Read one page downwards; return how many entries it had."""
        low = max(before - PAGE_SIZE, conversation.members[device.user_id])
        return self._page(device, conversation, low, before - 1, before=before)

    def drain(self) -> None:
        """Let every device of every member read all history by a fresh session."""
        for device in self.devices:
            device.session_id = f"{device.device_id}-drain"
            self._session(device, "open")
            for conversation in self.conversations:
                after = 0
                while device.user_id in conversation.members and self.page(device, conversation, after, drain=True):
                    after = max(after + PAGE_SIZE, conversation.members[device.user_id] - 1 + PAGE_SIZE)
            self.disconnect(device)

    def dump(self) -> None:
        """Write down both stores."""
        for conversation in self.conversations:
            ids: dict[str, Any] = {"tenant_id": conversation.tenant_id, "conversation_id": conversation.conversation_id}
            for entry in conversation.log:
                self.write("store", StoreRow(**ids, **entry._asdict()))
                number, message_id, sender, _, kind, _ = entry
                row = TimeseriesRow(**ids, sequence_number=number, message_id=message_id, sender_user_id=sender, kind=kind)
                self.write("time-series", row)

    def nemesis(self, *, start: bool) -> None:
        """Write down that a fault came or went."""
        self.write("nemesis", Nemesis(phase="start" if start else "stop", fault="kill", target="router"))

    def _resume(self, device: Device, conversation: Conversation) -> bool:
        first_readable = conversation.members[device.user_id]
        cursor = device.cursors.get(conversation.conversation_id, first_readable - 1)
        head = len(conversation.log)
        ids: dict[str, Any] = {
            "session_id": device.session_id,
            "user_id": device.user_id,
            "conversation_id": conversation.conversation_id,
        }
        writer = device.device_id
        self.write(writer, Resume(phase="invoke", cursor=cursor, **ids))
        if head - cursor > RESUME_LIMIT:
            self.write(writer, Reset(cursor=cursor, last_sequence_number=head, reason="TOO_MUCH_MISSED", **ids))
            while cursor < head:
                self.page(device, conversation, cursor)
                cursor = max(cursor, first_readable - 1) + PAGE_SIZE
            device.cursors[conversation.conversation_id] = head
            return True
        missed = [entry for entry in conversation.log[cursor:] if entry.sequence_number >= first_readable]
        for entry in missed:
            self._receive(device, conversation, entry, live=False)
            if self.rng.random() < 0.01:
                return False
        first = missed[0].sequence_number if missed else cursor + 1
        told = Resume(phase="ok", cursor=cursor, from_sequence_number=first, to_sequence_number=head, **ids)
        self.write(writer, told)
        return True

    def _receive(self, device: Device, conversation: Conversation, entry: Entry, *, live: bool) -> None:
        device.cursors[conversation.conversation_id] = entry.sequence_number
        self.write(
            device.device_id,
            Recv(
                source="live" if live else "replay",
                session_id=device.session_id,
                user_id=device.user_id,
                conversation_id=conversation.conversation_id,
                **entry._asdict(),
            ),
        )

    def _page(
        self,
        device: Device,
        conversation: Conversation,
        low: int,
        high: int,
        *,
        after: int | None = None,
        before: int | None = None,
        drain: bool = False,
    ) -> int:
        entries = conversation.log[low - 1 : max(high, 0)]
        if before is not None:
            entries = entries[::-1]
        page = HistoryPage(
            session_id=device.session_id,
            user_id=device.user_id,
            conversation_id=conversation.conversation_id,
            entries=tuple(entries),
            after_sequence_number=after,
            before_sequence_number=before,
            drain=drain,
        )
        self.write(device.device_id, page)
        return len(entries)

    def _session(self, device: Device, phase: SessionPhase, *, settled: bool = False) -> None:
        self.write(
            device.device_id,
            Session(
                phase=phase,
                session_id=device.session_id,
                user_id=device.user_id,
                device_id=device.device_id,
                tenant_id=device.tenant_id,
                settled=settled,
            ),
        )
