"""Good histories by seed: people who send, drop off, come back, join, leave and read, under faults that cost nothing.

The outcomes are what a real run sees: acknowledged once or twice, answer lost after the message was taken or before,
refused, an id used again by somebody else; devices pipeline several sends and try again with the same id.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from ..claims import CONFLICT_REASON
from ..records import Entry, MarkRead, Record, Send, SendPhase, SendState
from .world import Conversation, Device, World, body_sha256


@dataclass(frozen=True, slots=True)
class Shape:
    """How big a made-up run is: per tenant, and in steps of about one and a half records each."""

    tenants: int = 2
    conversations: int = 3
    users: int = 5
    steps: int = 1500


def good_history(seed: int, shape: Shape | None = None) -> list[Record]:
    """Return the records of a run in which every promise was kept; equal seeds give equal runs."""
    return _Scenario(Random(seed), shape if shape is not None else Shape()).run()


@dataclass(slots=True)
class _Attempt:
    """A message under way: `tries` invocations so far."""

    device: Device
    conversation: Conversation
    invoke: Send
    tries: int = 1


class _Scenario:
    def __init__(self, rng: Random, shape: Shape) -> None:
        self._rng = rng
        self._steps = shape.steps
        conversations: list[Conversation] = []
        devices: list[Device] = []
        for tenant in range(shape.tenants):
            users = [f"u{tenant}{number}" for number in range(shape.users)]
            for number in range(shape.conversations):
                founders = rng.sample(users, rng.randint(2, shape.users - 1))
                conversations.append(
                    Conversation(f"c{tenant}{number}", f"t{tenant}", rng.random() < 0.5, dict.fromkeys(founders, 1))
                )
            for user_id in users:
                for number in range(rng.randint(1, 2)):
                    devices.append(Device(user_id, f"{user_id}-d{number}", f"t{tenant}"))
        self._world = World(rng, conversations, devices)
        self._pending: dict[str, list[_Attempt]] = {device.device_id: [] for device in devices}
        self._marks: dict[tuple[str, str], int] = {}
        self._users_of = {
            conversation.conversation_id: sorted(
                {device.user_id for device in devices if device.tenant_id == conversation.tenant_id}
            )
            for conversation in conversations
        }

    def run(self) -> list[Record]:
        world = self._world
        actions: list[tuple[Callable[[Device], None], int]] = [
            (self._send, 30),
            (self._progress, 40),
            (self._arrive, 60),
            (self._reconnect, 6),
            (self._change_members, 2),
            (self._mark, 4),
            (self._browse, 3),
        ]
        choices, weights = zip(*actions, strict=True)
        for device in world.devices:
            world.connect(device)
        for step in range(self._steps):
            if step == self._steps // 4:
                world.nemesis(start=True)
            elif step == self._steps // 2:
                world.nemesis(start=False)
            self._rng.choices(choices, weights)[0](self._rng.choice(world.devices))
        self._settle()
        return world.records

    def _settle(self) -> None:
        world = self._world
        for device in world.devices:
            if not device.session_id and self._rng.random() < 0.7:
                world.connect(device)
            for attempt in self._pending[device.device_id]:
                if attempt.tries > 1:
                    self._write(attempt, "invoke")
                self._take(attempt, stored=True)
        for device in world.devices:
            if device.session_id:
                world.arrive(device, len(device.wire))
                world.disconnect(device, settled=True)
        world.drain()
        world.dump()

    def _member_of(self, device: Device) -> Conversation | None:
        mine = [conversation for conversation in self._world.conversations if device.user_id in conversation.members]
        return self._rng.choice(mine) if mine else None

    def _send(self, device: Device) -> None:
        conversation = self._member_of(device)
        if conversation is None:
            return
        device.client_sequence += 1
        message_id = f"m-{device.device_id}-{device.client_sequence}"
        invoke = Send(
            phase="invoke",
            conversation_id=conversation.conversation_id,
            message_id=message_id,
            user_id=device.user_id,
            device_id=device.device_id,
            client_sequence=device.client_sequence,
            body_sha256=body_sha256(message_id),
            session_id=device.session_id,
        )
        attempt = _Attempt(device, conversation, invoke)
        self._write(attempt, "invoke")
        self._pending[device.device_id].append(attempt)

    def _progress(self, device: Device) -> None:
        pending = self._pending[device.device_id]
        if not pending:
            return
        attempt = pending.pop(0)
        fate = self._rng.random()
        if fate < 0.75:
            self._take(attempt, stored=self._rng.random() < 0.7)
        elif fate < 0.85:  # taken, but nobody learned of it
            self._store(attempt)
            self._retry(attempt, "info")
        elif fate < 0.95:  # lost on the way, or refused for now: what was sent after it may overtake it
            self._retry(attempt, "info" if fate < 0.91 else "fail")
        elif attempt.tries == 1:
            self._write(attempt, "fail", reason="RATE_LIMITED")
        else:
            self._take(attempt, stored=True)

    def _retry(self, attempt: _Attempt, phase: SendPhase) -> None:
        self._write(attempt, phase, reason="UNAVAILABLE")
        self._write(attempt, "invoke")
        attempt.tries += 1
        self._pending[attempt.device.device_id].append(attempt)

    def _take(self, attempt: _Attempt, *, stored: bool) -> None:
        entry = self._store(attempt)
        if not stored or self._rng.random() < 0.5:
            self._write(attempt, "ok", state="accepted")
        if stored:
            self._write(attempt, "ok", state="stored", sequence_number=entry.sequence_number)
        if self._rng.random() < 0.02:
            self._steal_id(attempt)

    def _steal_id(self, attempt: _Attempt) -> None:
        """Let another user try an id that is taken."""
        thief = self._rng.choice(self._world.devices)
        conversation = self._member_of(thief)
        if conversation is None or thief.user_id == attempt.device.user_id:
            return
        stolen = replace(
            attempt.invoke,
            conversation_id=conversation.conversation_id,
            user_id=thief.user_id,
            device_id=thief.device_id,
            body_sha256=body_sha256("something else"),
        )
        theft = _Attempt(thief, conversation, stolen)
        self._write(theft, "invoke")
        if self._rng.random() < 0.5:
            self._write(theft, "info", reason="UNAVAILABLE")
            self._write(theft, "invoke")
        self._write(theft, "fail", reason=CONFLICT_REASON)

    def _store(self, attempt: _Attempt) -> Entry:
        sent = attempt.invoke
        known = attempt.conversation.find(sent.message_id)
        if known is not None:
            return known
        return self._world.append(attempt.conversation, Entry(0, sent.message_id, sent.user_id, sent.body_sha256))

    def _write(
        self, attempt: _Attempt, phase: SendPhase, *, state: SendState = "", sequence_number: int = 0, reason: str = ""
    ) -> None:
        record = replace(attempt.invoke, phase=phase, state=state, sequence_number=sequence_number, reason=reason)
        self._world.write(attempt.device.device_id, record)

    def _arrive(self, device: Device) -> None:
        if device.session_id:
            self._world.arrive(device, self._rng.randint(1, 30))

    def _reconnect(self, device: Device) -> None:
        if device.session_id:
            self._world.disconnect(device)
        else:
            self._world.connect(device)

    def _change_members(self, device: Device) -> None:
        conversation = self._member_of(device)
        if conversation is None:
            return
        user_id = self._rng.choice(self._users_of[conversation.conversation_id])
        sending = any(
            attempt.conversation is conversation and attempt.device.user_id == user_id
            for pending in self._pending.values()
            for attempt in pending
        )
        if user_id not in conversation.members:
            self._world.join(conversation, user_id, device.user_id)
        elif len(conversation.members) > 2 and not sending:
            self._world.leave(conversation, user_id)

    def _mark(self, device: Device) -> None:
        conversation = self._member_of(device)
        if conversation is None or not device.session_id:
            return
        who = (conversation.conversation_id, device.user_id)
        asked = device.cursors.get(conversation.conversation_id, 0)
        ids: dict[str, Any] = {"session_id": device.session_id, "user_id": device.user_id, "conversation_id": who[0]}
        self._world.write(device.device_id, MarkRead(phase="invoke", sequence_number=asked, **ids))
        self._marks[who] = max(self._marks.get(who, 0), asked)
        self._world.write(device.device_id, MarkRead(phase="ok", sequence_number=self._marks[who], **ids))
        if self._rng.random() < 0.5:
            self._world.write(device.device_id, MarkRead(phase="observed", sequence_number=self._marks[who], **ids))

    def _browse(self, device: Device) -> None:
        conversation = self._member_of(device)
        if conversation is None or not device.session_id or not conversation.log:
            return
        number = self._rng.randint(0, len(conversation.log))
        if self._rng.random() < 0.5:
            self._world.page(device, conversation, number)
        else:
            self._world.page_down(device, conversation, number + 1)
