"""Sends of all sockets, gathered into few calls to the message service.

A conversation is in one call at a time: what one sender puts into one conversation keeps its order, and a conversation that is
slow to answer holds up only those that share its call. A send leaves at once while sends are few. Under load calls leave a few
milliseconds apart, each with all that has come by then: a call costs the message service, Kafka, the router and MongoDB a round
whatever it carries, and at 1,000 sends a second that is most of the CPU.

Each send is answered by `accepted` and later `stored`, each once, or by one `error`. `stored` is seen on the conversation's feed
by its message id, so nobody has to ask for it. While the message service is away a send is tried again, with the same id, until
its deadline; then its outcome is unknown and the client sends it again itself, with the same id.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from itertools import islice
from time import monotonic

import structlog

from chat4all.message.v1 import message_pb2, message_service_pb2
from chat4all_runtime.errors import Code, DomainError
from chat4all_runtime.grpc_errors import from_status
from chat4all_websocket_gateway import answers, metrics
from chat4all_websocket_gateway.backends import TRY_LATER
from chat4all_websocket_gateway.connection import Connection
from chat4all_websocket_gateway.feed import Entry, Feed
from chat4all_websocket_gateway.settings import SendSettings

log = structlog.get_logger()

# Half of gRPC's largest message: what one call carries at most.
_BATCH_BYTES = 2 * 1024 * 1024
_CALL_SECONDS = 5.0
# An accepted send is watched for on the feed this long; its entry reaches the client as an event in any case.
_WATCH_SECONDS = 120.0
_MAX_WATCHED = 100_000
_SUSPICIOUS_AFTER_SECONDS = 2.0
_SUSPECTS_AT_ONCE = 200
# Sends in one pace from which on calls are paced: three calls of four are saved.
_WORTH_WAITING_FOR = 4

Submit = Callable[[Sequence[message_service_pb2.Submission], float], Awaitable[Sequence[message_service_pb2.SendMessageResult]]]

_accepted_seconds = metrics.send_stage_seconds.labels("accepted")
_stored_seconds = metrics.send_stage_seconds.labels("stored")


class PendingSend:
    """One send on its way."""

    __slots__ = ("accepted_at", "connection", "done", "key", "received_at", "ref", "size", "submission", "tried", "user_id")

    def __init__(self, connection: Connection, ref: str | None, submission: message_service_pb2.Submission) -> None:
        self.connection = connection
        self.ref = ref
        self.submission = submission
        self.key = submission.request.message_id.encode()
        self.user_id = submission.sender_user_id
        self.size = submission.ByteSize()
        self.received_at = monotonic()
        self.accepted_at = 0.0
        self.done = False
        # Whether a call carried it that may have taken effect without an answer.
        self.tried = False

    @property
    def message_id(self) -> str:
        """Its id."""
        return self.submission.request.message_id


class Sending:
    """See the module.

    Args:
        submit: passes submissions on, with a deadline in seconds; one result each.
        suspect: told a conversation whose feed should have shown an accepted message by now.
    """

    def __init__(self, settings: SendSettings, submit: Submit, suspect: Callable[[str], None]) -> None:
        self._settings = settings
        self._submit = submit
        self._suspect = suspect
        # What waits, by conversation, and the conversations of these that are in no call.
        self._lanes: dict[str, deque[PendingSend]] = {}
        self._ready: deque[str] = deque()
        self._in_call: set[str] = set()
        self._calls = 0
        self._wake = asyncio.Event()
        self._queued = 0
        # Between two sends, of the last dozen or so.
        self._mean_gap_seconds = 1.0
        self._offered_at = 0.0
        self._idle = asyncio.Event()
        self._idle.set()
        # By message id, oldest first. Usually one each; two when a client resends on a new socket.
        self.awaited: dict[bytes, list[PendingSend]] = {}

    def offer(self, connection: Connection, ref: str | None, submission: message_service_pb2.Submission) -> DomainError | None:
        """Take a send; the error when there is no room for it."""
        if self._queued >= self._settings.queue_items:
            return DomainError(
                Code.RESOURCE_EXHAUSTED,
                "GATEWAY_BUSY",
                "Too many messages wait in this gateway.",
                retry_after=timedelta(seconds=1),
            )
        pending = PendingSend(connection, ref, submission)
        self._mean_gap_seconds += (min(1.0, pending.received_at - self._offered_at) - self._mean_gap_seconds) / 16
        self._offered_at = pending.received_at
        connection.outstanding += 1
        self._queued += 1
        self._idle.clear()
        self._watch(pending)
        conversation_id = submission.request.conversation_id
        lane = self._lanes.get(conversation_id)
        if lane is None:
            lane = self._lanes[conversation_id] = deque()
            if conversation_id not in self._in_call:
                self._ready.append(conversation_id)
                self._wake.set()
        lane.append(pending)
        return None

    def stored(self, feed: Feed, entry: Entry) -> None:
        """An entry with an awaited id is in the log. Only the same sender in the same conversation is meant by it."""
        waiting = self.awaited.get(entry.message_id, [])
        for pending in list(waiting):
            request = pending.submission.request
            if request.conversation_id == feed.conversation_id and pending.user_id.encode() == entry.sender:
                self._finish_stored(pending, entry.sequence_number)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._dispatch(tasks, stop))
            tasks.create_task(self._look_after(stop))

    async def idle(self, timeout_seconds: float) -> bool:
        """Wait until nothing is queued or in flight; False when the time is up first."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def _dispatch(self, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        left_at = 0.0
        while not stop.is_set():
            await self._wake.wait()
            self._wake.clear()
            while self._ready and self._calls < self._settings.calls:
                if (wait := left_at + self._pace_seconds() - monotonic()) > 0:
                    await asyncio.sleep(wait)
                conversations, batch = self._take()
                # A full call tells that more is waiting than one can carry: the next leaves at once.
                left_at = 0.0 if len(batch) == self._settings.batch_items else monotonic()
                self._in_call.update(conversations)
                self._calls += 1
                tasks.create_task(self._carry(conversations, batch))

    def _pace_seconds(self) -> float:
        """How long after the last call the next may leave: no time while waiting would gather too few to be worth the delay."""
        pace = self._settings.pace_ms / 1000
        return pace if self._mean_gap_seconds * _WORTH_WAITING_FOR < pace else 0.0

    def _take(self) -> tuple[list[str], list[PendingSend]]:
        """The sends of the next call, in order, and the conversations they are of."""
        conversations: list[str] = []
        batch: list[PendingSend] = []
        size = 0
        while self._ready and len(batch) < self._settings.batch_items:
            lane = self._lanes[self._ready[0]]
            if batch and size + lane[0].size > _BATCH_BYTES:
                break
            name = self._ready.popleft()
            conversations.append(name)
            while lane and len(batch) < self._settings.batch_items and (not batch or size + lane[0].size <= _BATCH_BYTES):
                pending = lane.popleft()
                size += pending.size
                batch.append(pending)
            if not lane:
                del self._lanes[name]
        return conversations, batch

    async def _carry(self, conversations: list[str], batch: list[PendingSend]) -> None:
        try:
            await self._pass_on(batch)
        finally:
            self._calls -= 1
            self._in_call.difference_update(conversations)
            self._ready.extend(name for name in conversations if name in self._lanes)
            self._wake.set()

    async def _pass_on(self, batch: list[PendingSend]) -> None:
        """Call until each item has an answer or is past its deadline."""
        wait = 0.05
        while batch := self._in_time(batch):
            oldest = min(pending.received_at for pending in batch)
            left = oldest + self._settings.deadline_seconds - monotonic()
            metrics.submit_items.observe(len(batch))
            try:
                results = await self._submit([pending.submission for pending in batch], max(0.2, min(_CALL_SECONDS, left)))
            except DomainError as error:
                if error.code in TRY_LATER:
                    for pending in batch:
                        pending.tried = True
                elif len(batch) == 1:
                    self._refuse(batch[0], error)
                    return
                else:
                    # One item spoils the call for all: find it, in order.
                    log.warning("submission_refused_as_a_whole", reason=error.reason, items=len(batch))
                    for pending in batch:
                        await self._pass_on([pending])
                    return
            else:
                batch = self._answer(batch, results)
                if not batch:
                    return
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, not a secret
            wait = min(wait * 2, 1.0)

    def _in_time(self, batch: list[PendingSend]) -> list[PendingSend]:
        limit = monotonic() - self._settings.deadline_seconds
        in_time = []
        for pending in batch:
            if pending.done:
                continue
            if pending.received_at > limit:
                in_time.append(pending)
                continue
            reason = "OUTCOME_UNKNOWN" if pending.tried else "MESSAGE_UNAVAILABLE"
            message = "No answer in time; send it again with the same message_id."
            self._refuse(
                pending, DomainError(Code.UNAVAILABLE, reason, message, retry_after=timedelta(seconds=1)), outcome="unknown"
            )
        return in_time

    def _answer(self, batch: list[PendingSend], results: Sequence[message_service_pb2.SendMessageResult]) -> list[PendingSend]:
        """Tell each sender; the items to try again are returned, in order."""
        again = []
        for pending, result in zip(batch, results, strict=True):
            if pending.done:
                continue
            if result.HasField("error"):
                error = from_status(result.error)
                if error.code in TRY_LATER:
                    pending.tried = True
                    again.append(pending)
                else:
                    self._refuse(pending, error)
            elif result.state >= message_pb2.MESSAGE_STATE_STORED and result.message.sequence_number:
                self._finish_stored(pending, result.message.sequence_number)
            else:
                self._accept(pending)
        return again

    def _accept(self, pending: PendingSend) -> None:
        if pending.accepted_at:
            return
        pending.accepted_at = monotonic()
        self._settle(pending)
        _accepted_seconds.observe(pending.accepted_at - pending.received_at)
        metrics.sends.labels("accepted").inc()
        pending.connection.write(answers.sent(pending.ref, pending.message_id, "accepted"))

    def _settle(self, pending: PendingSend) -> None:
        pending.connection.outstanding -= 1
        self._queued -= 1
        if not self._queued:
            self._idle.set()

    def _finish_stored(self, pending: PendingSend, sequence_number: int) -> None:
        if pending.done:
            return
        self._accept(pending)  # the feed can be faster than the answer to the call
        pending.done = True
        self._unwatch(pending)
        _stored_seconds.observe(monotonic() - pending.accepted_at)
        metrics.sends.labels("stored").inc()
        pending.connection.write(answers.sent(pending.ref, pending.message_id, "stored", sequence_number))

    def _refuse(self, pending: PendingSend, error: DomainError, outcome: str = "refused") -> None:
        if pending.done:
            return
        pending.done = True
        self._unwatch(pending)
        if not pending.accepted_at:
            self._settle(pending)
        metrics.sends.labels(outcome).inc()
        pending.connection.write(answers.refusal(error, ref=pending.ref, message_id=pending.message_id))

    def _watch(self, pending: PendingSend) -> None:
        self.awaited.setdefault(pending.key, []).append(pending)

    def _unwatch(self, pending: PendingSend) -> None:
        waiting = self.awaited.get(pending.key)
        if waiting is not None and pending in waiting:
            waiting.remove(pending)
            if not waiting:
                del self.awaited[pending.key]

    async def _look_after(self, stop: asyncio.Event) -> None:
        """Once a second: have feeds checked that should have shown a message, and stop watching for very old ones."""
        while not stop.is_set():
            await asyncio.sleep(1.0)
            now = monotonic()
            self._forget_old(now)
            suspects = set()
            for waiting in islice(self.awaited.values(), _SUSPECTS_AT_ONCE):
                pending = waiting[0]
                if pending.accepted_at and now - pending.accepted_at > _SUSPICIOUS_AFTER_SECONDS:
                    suspects.add(pending.submission.request.conversation_id)
            for conversation_id in suspects:
                self._suspect(conversation_id)

    def _forget_old(self, now: float) -> None:
        while self.awaited:
            key, waiting = next(iter(self.awaited.items()))
            oldest = waiting[0]
            if not oldest.accepted_at or (now - oldest.received_at < _WATCH_SECONDS and len(self.awaited) <= _MAX_WATCHED):
                return
            del self.awaited[key]
            for pending in waiting:
                pending.done = pending.done or bool(pending.accepted_at)
                if not pending.done:
                    self._watch(pending)
