"""Sending: the one way a message takes, whether it comes alone, in a batch, or in a batch for many senders.

Kafka is the first write and the state is derived from it: a message is accepted when all in-sync replicas have its command, and
the router writes the log from there. So there is no second store to keep in step here.

Order. Messages are handed to Kafka in the order they arrive, for each sender and conversation. A message whose conversation is
remembered and that carries no file is handed over in the very step of the loop it arrives in, before any await. One that has to
wait takes a turn in its lane, and those behind it in the lane wait with it (`lanes.py`). Calls that are under way at the same time
have no order of their own: gRPC 1.85 hands them to the service in any, seen with 150 unary calls on one connection. Who wants two
messages in order sends them in one batch, or the second after the first is accepted.

One message per id. An id used before is found in two places: among the ids this process accepted lately, and in the log, which is
asked while Kafka is already at work. The same message again gets the first result; anything else under the id is a conflict. When
the log says "conflict" after the command went out, the router drops that command for the same reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from chat4all_message import metrics
from chat4all_message.domain import policy
from chat4all_message.domain.errors import message_id_conflict, not_stored_yet
from chat4all_message.domain.model import Draft, Sent, StoredIdentity
from chat4all_message.id_lookup import Answer, IdLookup
from chat4all_message.lanes import Lane, Lanes
from chat4all_message.memberships import Memberships
from chat4all_message.recent_ids import Accepted, Handover, Progress, RecentIds
from chat4all_message.repository import CommandPublisher
from chat4all_message.stored_waits import StoredWaits, Ticket
from chat4all_message.usecases.admission import Admission, refusal
from chat4all_runtime.clock import Clock
from chat4all_runtime.errors import DomainError, unavailable

Result = Sent | DomainError


class _Attempt:
    """One message of a call on its way."""

    __slots__ = ("accepted", "draft", "handover", "joined", "result", "ticket")

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.result: Result | None = None
        # The id's entry among the recent ones; None when another message has the id there, or it was not sent yet.
        self.accepted: Accepted | None = None
        self.handover: Handover | None = None
        # Whether it was handed over by an earlier send of the same message, whose acknowledgement it shares.
        self.joined = False
        self.ticket: Ticket | None = None

    def joined_a_failure(self) -> bool:
        """Whether the earlier send it joined came to nothing, so that it must be sent again."""
        return self.result is None and self.joined and self.accepted is not None and self.accepted.progress is Progress.FAILED


class SendMessages:
    """Sends any number of messages and tells how each ended."""

    def __init__(
        self,
        memberships: Memberships,
        admission: Admission,
        publisher: CommandPublisher,
        recent: RecentIds,
        lookup: IdLookup,
        stored: StoredWaits,
        clock: Clock,
    ) -> None:
        self._memberships = memberships
        self._admission = admission
        self._publisher = publisher
        self._recent = recent
        self._lookup = lookup
        self._stored = stored
        self._clock = clock
        self._lanes = Lanes()

    async def send_many(self, drafts: Sequence[Draft | DomainError], seconds_left: float) -> list[Result]:
        """Send them in this order; a result for each, in the same order. One that is refused stops none of the others.

        Publishes a `MessageCommand` on `message.sent` for each message that is new. Ends within `seconds_left`: what is not
        acknowledged by then is UNAVAILABLE and may or may not arrive, what is accepted but not stored although that was waited
        for is DEADLINE_EXCEEDED; both are safe to send again.

        Args:
            drafts: at most 200; a DomainError in place of a draft is passed through as its result.
            seconds_left: more than 0.
        """
        deadline = asyncio.get_running_loop().time() + seconds_left
        attempts: list[_Attempt] = []
        results: list[Result | _Attempt] = []
        for draft in drafts:
            checked = self._check(draft)
            results.append(checked)
            if isinstance(checked, _Attempt):
                attempts.append(checked)
        try:
            await self._run(attempts, deadline)
        finally:
            for attempt in attempts:
                if attempt.ticket is not None:
                    attempt.ticket.close()
        done = [_final(result) if isinstance(result, _Attempt) else result for result in results]
        metrics.count_sends(done)
        return done

    def _check(self, draft: Draft | DomainError) -> DomainError | _Attempt:
        if isinstance(draft, DomainError):
            return draft
        try:
            policy.prepare(draft)
            attempt = _Attempt(draft)
            if draft.wait_for_stored:
                attempt.ticket = self._stored.watch(draft.message_id, draft.conversation_id)
        except DomainError as error:
            return error
        return attempt

    async def _run(self, attempts: list[_Attempt], deadline: float) -> None:
        """Everything after the check of form. The part before the first await is what keeps the order."""
        if not attempts:
            return
        direct, queued, lanes = self._sort(attempts)
        self._hand_over(direct)
        used = self._lookup.find([attempt.draft.message_id for attempt in attempts])
        if queued:
            await self._queue(queued, lanes, used, deadline)
        # The log's answer first: what it settles need not wait for Kafka. It comes within the look-up's own bound.
        stored = await used
        for attempt in attempts:
            if attempt.result is None:
                self._settle_by_log(attempt, stored)
        await self._acknowledged(attempts, deadline)
        again = [attempt for attempt in attempts if attempt.joined_a_failure()]
        if again:
            self._hand_over(again)
            await self._acknowledged(again, deadline)
        for attempt in attempts:
            if attempt.result is None:
                self._settle_by_kafka(attempt)
        await self._until_stored(attempts, deadline)

    def _sort(self, attempts: list[_Attempt]) -> tuple[list[_Attempt], list[_Attempt], set[Lane]]:
        """Those that can go at once, and those that must queue, with the lanes they queue in."""
        direct: list[_Attempt] = []
        queued: list[_Attempt] = []
        lanes: set[Lane] = set()
        for attempt in attempts:
            draft = attempt.draft
            lane = (draft.conversation_id, draft.sender_id)
            members = self._memberships.peek(draft.conversation_id)
            if members is None or draft.file_id or lane in lanes or self._lanes.busy(lane) or refusal(members, draft) is not None:
                queued.append(attempt)
                lanes.add(lane)
            else:
                direct.append(attempt)
        return direct, queued, lanes

    async def _queue(self, queued: list[_Attempt], lanes: set[Lane], used: asyncio.Future[Answer], deadline: float) -> None:
        """Decide about those that must wait, then hand them over in their turn."""
        turn = self._lanes.take(lanes)
        try:
            async with asyncio.timeout_at(deadline):
                refusals = await self._admission.decide([attempt.draft for attempt in queued], used)
                await turn.come()
            for attempt, refused in zip(queued, refusals, strict=True):
                attempt.result = refused
            self._hand_over([attempt for attempt in queued if attempt.result is None])
        except TimeoutError:
            for attempt in queued:
                attempt.result = unavailable("conversation")
        finally:
            turn.leave()

    def _hand_over(self, attempts: list[_Attempt]) -> None:
        """Give to Kafka what is new or failed before, in this order and without an await; join what is under way."""
        entries: list[Accepted] = []
        commands: list[tuple[Draft, datetime]] = []
        new: list[_Attempt] = []
        now: datetime | None = None
        for attempt in attempts:
            draft = attempt.draft
            known = self._recent.get(draft.message_id)
            if known is not None:
                if not known.same_as(draft):
                    continue
                attempt.accepted = known
                if known.progress is not Progress.FAILED:
                    attempt.handover = known.handover
                    attempt.joined = True
                    continue
                known.progress = Progress.UNDER_WAY
            else:
                if now is None:
                    now = _to_milliseconds(self._clock.now())
                known = attempt.accepted = Accepted(draft, now)
                self._recent.add(known)
            entries.append(known)
            commands.append((draft, known.create_time))
            new.append(attempt)
        if not commands:
            return
        handover = Handover(entries, self._publisher.publish(commands))
        for entry in entries:
            entry.handover = handover
        for attempt in new:
            attempt.handover = handover
            attempt.joined = False
        # Also when nobody waits any more.
        handover.outcome.add_done_callback(lambda _: self._note(handover))

    def _note(self, handover: Handover) -> None:
        """Write down what Kafka said about each, once. Whoever sees the outcome first does it."""
        if handover.noted:
            return
        handover.noted = True
        for entry, failure in zip(handover.entries, handover.outcome.result(), strict=True):
            entry.handover = None
            entry.failure = failure
            if failure is None:
                entry.progress = Progress.ACKNOWLEDGED
            else:
                entry.progress = Progress.FAILED
                if self._publisher.never_sent(failure):
                    self._recent.discard(entry)

    async def _acknowledged(self, attempts: list[_Attempt], deadline: float) -> None:
        """Wait for Kafka's word on all that are open, until the deadline."""
        handovers = {attempt.handover for attempt in attempts if attempt.result is None and attempt.handover is not None}
        try:
            async with asyncio.timeout_at(deadline):
                for handover in handovers:
                    # Shielded: the send goes on and others may share it, even if this call is given up.
                    await asyncio.shield(handover.outcome)
                    self._note(handover)
        except TimeoutError:
            pass  # those without an answer are settled as such

    def _settle_by_log(self, attempt: _Attempt, stored: Answer) -> None:
        """End what the log can tell: a repeat of what is stored, or an id that has another owner."""
        identity = (stored or {}).get(attempt.draft.message_id)
        if identity is not None:
            attempt.result = self._by_identity(attempt, identity)
        elif attempt.accepted is None:
            # Another message has the id among the recent ones. If the log cannot be asked, that one may itself be the intruder.
            attempt.result = message_id_conflict() if stored is not None else unavailable("mongodb")

    def _by_identity(self, attempt: _Attempt, identity: StoredIdentity) -> Result:
        if identity.same_as(attempt.draft):
            return Sent(attempt.draft, identity.create_time, identity.sequence_number)
        if attempt.accepted is not None:
            # The id is not this message's: its owner must not be refused because of it.
            self._recent.discard(attempt.accepted)
        return message_id_conflict()

    def _settle_by_kafka(self, attempt: _Attempt) -> None:
        accepted = attempt.accepted
        if accepted is None or accepted.progress is Progress.UNDER_WAY:
            attempt.result = unavailable("kafka")
        elif accepted.progress is Progress.FAILED:
            attempt.result = self._publisher.explain(accepted.failure)
        else:
            attempt.result = Sent(attempt.draft, accepted.create_time)

    async def _until_stored(self, attempts: list[_Attempt], deadline: float) -> None:
        """Wait for the numbers of those who want them."""
        waiting = [
            attempt
            for attempt in attempts
            if attempt.ticket is not None and isinstance(attempt.result, Sent) and not attempt.result.sequence_number
        ]
        if not waiting:
            return
        try:
            async with asyncio.timeout_at(deadline):
                for attempt in waiting:
                    if attempt.ticket is not None:
                        attempt.result = self._by_identity(attempt, await asyncio.shield(attempt.ticket.stored))
        except TimeoutError:
            for attempt in waiting:
                if isinstance(attempt.result, Sent) and not attempt.result.sequence_number:
                    attempt.result = not_stored_yet()


def _final(attempt: _Attempt) -> Result:
    # Every path above sets a result; this is for the type checker and for a defect to show.
    if attempt.result is None:
        raise RuntimeError("a message was left without a result")
    return attempt.result


def _to_milliseconds(at: datetime) -> datetime:
    """As exact as the log keeps it, so that the first answer and a later one say the same time."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
