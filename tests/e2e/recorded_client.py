"""A person on a socket who writes down everything they try and see. They use the public contract only."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from checker.history import HistoryWriter
from checker.records import Entry, HistoryPage, Recv, Reset, Resume, Send, Session

from chat4all_cli.live import LiveClient, LiveRefused, Observer, Outgoing
from chat4all_cli.rest import Json, RestClient
from chat4all_runtime.ids import new_id

TENANT = "default"


def digest(content: Json) -> str:
    """Tells one body from another."""
    return hashlib.sha256(str(content.get("text", "")).encode()).hexdigest()


def entry_of(row: Json) -> Entry:
    """A history row as the checker knows it."""
    removed = row["content"].get("data", {}).get("removed_user_id", "") if row["kind"] == "member_removed" else ""
    return Entry(row["sequence_number"], row["message_id"], row["from_user_id"], digest(row["content"]), row["kind"], removed)


class RecordedClient:
    """One device of one user. Sends in a conversation wait for the acceptance of the one before: their order is the sender's."""

    def __init__(self, rest: RestClient, live_url: str, directory: Path, name: str) -> None:
        assert rest.tokens is not None
        self.rest = rest
        self.name = name
        self.user_id: str = rest.tokens.user["user_id"]
        self.device_id = str(uuid.uuid4())
        self.history = HistoryWriter(directory, name)
        self._session_id = ""
        self._attached = False
        self._numbers: dict[str, Iterator[int]] = {}
        self._client_sequence: dict[str, int] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._unanswered: dict[str, Outgoing] = {}
        self._cursors: dict[str, int] = {}
        observer = Observer(
            wire=self._wire, opening=self._opening, attached=self._now_attached, disconnected=self._disconnected, resumed=self._resumed,
            reset=self._reset, paged=self._paged, sending=self._sending, answered=self._answered,
        )  # fmt: skip
        self.live = LiveClient(rest, live_url, device_id=self.device_id, observer=observer, client_name="recorded")
        self._task: asyncio.Task[None] | None = None

    async def start(self, cursors: dict[str, int]) -> None:
        """Connect, following these conversations from these numbers, and wait until everything missed has come."""
        self.live.cursors = dict(cursors)
        self._task = asyncio.create_task(self.live.run())
        while not self._attached:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.02)

    async def say(self, conversation_id: str, text: str) -> None:
        """Send one message and return when it is accepted, or refused for certain."""
        lock = self._locks.setdefault(conversation_id, asyncio.Lock())
        async with lock:
            numbers = self._numbers.setdefault(conversation_id, itertools.count(1))
            number = next(numbers)
            content = {"type": "text", "text": text}
            message_id = new_id()
            self._client_sequence[message_id] = number
            message = await self.live.send(conversation_id, content, message_id)
            try:
                await message.accepted
            except LiveRefused:
                return  # written down by `_answered`

    def busy(self, conversation_id: str) -> bool:
        """Whether a message to that conversation still waits for its acceptance."""
        lock = self._locks.get(conversation_id)
        return lock is not None and lock.locked()

    async def stop(self) -> None:
        """Close after traffic has stopped and settled."""
        if self._task is not None:
            self._write(Session(phase="close", settled=True, **self._session()))
            self._task.cancel()
            await asyncio.wait({self._task})

    async def drain(self, conversation_ids: list[str]) -> None:
        """Read all history from a fresh sign-in, and write it down."""
        self._session_id = f"drain-{self.name}"
        self._write(Session(phase="open", **self._session()))
        for conversation_id in conversation_ids:
            rows = await self.rest.history(conversation_id)
            entries = tuple(entry_of(row) for row in rows)
            self._write(
                HistoryPage(session_id=self._session_id, user_id=self.user_id, conversation_id=conversation_id, entries=entries,
                            after_sequence_number=0, drain=True)
            )  # fmt: skip
        self._write(Session(phase="close", settled=True, **self._session()))
        self.history.close()

    def _session(self) -> dict[str, Any]:
        return {"session_id": self._session_id, "user_id": self.user_id, "device_id": self.device_id, "tenant_id": TENANT}

    def _write(self, record: Any) -> None:
        self.history.write(record)

    def _opening(self, cursors: dict[str, int]) -> None:
        self._session_id = str(uuid.uuid4())
        self._cursors = cursors
        self._attached = False
        self._write(Session(phase="open", **self._session()))
        for conversation_id, cursor in cursors.items():
            self._write(
                Resume(
                    phase="invoke",
                    session_id=self._session_id,
                    user_id=self.user_id,
                    conversation_id=conversation_id,
                    cursor=cursor,
                )
            )

    def _now_attached(self) -> None:
        if not self._attached:
            self._attached = True
            self._write(Session(phase="attached", **self._session()))

    def _disconnected(self, _: str) -> None:
        self._write(Session(phase="close", **self._session()))
        for message in self._unanswered.values():
            self._write(self._send("info", message))
        self._unanswered.clear()

    def _wire(self, frame: Json, replayed: bool) -> None:
        data = frame["data"]
        self._write(
            Recv(source="replay" if replayed else "live", session_id=self._session_id, user_id=self.user_id,
                 conversation_id=frame["conversation_id"], sequence_number=frame["sequence_number"], message_id=data["message_id"],
                 sender_user_id=data["from_user_id"], body_sha256=digest(data["content"]), kind=data.get("kind", "message"),
                 subject_user_id=data.get("removed_user_id", ""))
        )  # fmt: skip

    def _resumed(self, frame: Json) -> None:
        conversation_id = frame["conversation_id"]
        self._write(
            Resume(phase="ok", session_id=self._session_id, user_id=self.user_id, conversation_id=conversation_id,
                   cursor=self._cursors.get(conversation_id, 0), from_sequence_number=frame["from_sequence_number"],
                   to_sequence_number=frame["to_sequence_number"])
        )  # fmt: skip

    def _reset(self, frame: Json) -> None:
        conversation_id = frame["conversation_id"]
        self._write(
            Reset(session_id=self._session_id, user_id=self.user_id, conversation_id=conversation_id,
                  cursor=self._cursors.get(conversation_id, 0), last_sequence_number=frame["last_sequence_number"], reason=frame["reason"])
        )  # fmt: skip

    def _paged(self, conversation_id: str, after: int, rows: list[Json]) -> None:
        entries = tuple(entry_of(row) for row in rows)
        self._write(
            HistoryPage(session_id=self._session_id, user_id=self.user_id, conversation_id=conversation_id, entries=entries,
                        after_sequence_number=after)
        )  # fmt: skip

    def _send(self, phase: Any, message: Outgoing, **more: Any) -> Send:
        return Send(
            phase=phase, conversation_id=message.conversation_id, message_id=message.message_id, user_id=self.user_id,
            device_id=self.device_id, client_sequence=self._client_sequence[message.message_id],
            body_sha256=digest(message.frame["content"]), session_id=self._session_id, **more,
        )  # fmt: skip

    def _sending(self, message: Outgoing) -> None:
        self._unanswered[message.message_id] = message
        self._write(self._send("invoke", message))

    def _answered(self, message: Outgoing, frame: Json) -> None:
        if frame["type"] == "error":
            self._unanswered.pop(message.message_id, None)
            self._write(self._send("fail", message, reason=str(frame["reason"])))
            return
        if frame["state"] == "stored":
            self._unanswered.pop(message.message_id, None)
        self._write(self._send("ok", message, state=frame["state"], sequence_number=frame.get("sequence_number", 0)))
