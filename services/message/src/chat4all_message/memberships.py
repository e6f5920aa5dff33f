"""Who is in which conversation, remembered: the check that every send and every read makes, without a call in the common case.

- A membership is remembered for at most `ttl_seconds` and forgotten at once when the conversation service tells of a change.
- A refusal is never remembered: somebody who was just added must not be turned away, so before a refusal the caller asks for a
  `reload`, which began after they came.
- One load per conversation at a time; who comes meanwhile shares it. A load that was overtaken by a change answers those who
  waited for it and is not remembered.

Used from the event loop only.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from types import TracebackType

import structlog

from chat4all_message import metrics
from chat4all_message.domain.errors import conversation_not_found
from chat4all_message.domain.model import Membership
from chat4all_message.repository import MembershipSource
from chat4all_runtime.errors import Code, DomainError, unavailable

log = structlog.get_logger()


class _Load:
    """One question to the source, with those who wait for its answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Membership | DomainError] = asyncio.get_running_loop().create_future()
        self.started = False
        self.overtaken = False
        # For those who may not be answered by a load that had begun before they came.
        self.next: _Load | None = None


class Memberships:
    """The memory of memberships, from `__aenter__` to `__aexit__`, which ends the loads under way.

    Args:
        max_members: bound over all conversations, so that few huge ones cannot fill the memory.
    """

    def __init__(
        self,
        source: MembershipSource,
        *,
        ttl_seconds: float = 30.0,
        max_conversations: int = 50_000,
        max_members: int = 1_000_000,
        parallel_loads: int = 16,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._ttl_seconds = ttl_seconds
        self._max_conversations = max_conversations
        self._max_members = max_members
        self._room = asyncio.Semaphore(parallel_loads)
        self._monotonic = monotonic
        self._known: OrderedDict[str, tuple[float, Membership]] = OrderedDict()
        self._member_count = 0
        self._loads: dict[str, _Load] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Memberships:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def peek(self, conversation_id: str) -> Membership | None:
        """What is remembered and fresh; never waits."""
        known = self._known.get(conversation_id)
        if known is None:
            return None
        if known[0] <= self._monotonic():
            self._drop(conversation_id)
            return None
        self._known.move_to_end(conversation_id)
        return known[1]

    async def find(self, conversation_id: str, good: Callable[[Membership], bool]) -> Membership | DomainError:
        """A membership that is `good`, from memory or a load under way, else what the source says from now on.

        Returns the refusal, does not raise it.
        """
        known = self.peek(conversation_id)
        if known is not None and good(known):
            return known
        load = self._loads.get(conversation_id)
        if known is None and load is not None and load.started and not load.overtaken:
            answer = await asyncio.shield(load.answer)
            if good(answer) if isinstance(answer, Membership) else answer.code is not Code.NOT_FOUND:
                return answer
        return await self.reload(conversation_id)

    async def reload(self, conversation_id: str) -> Membership | DomainError:
        """What the source says to a question that is asked after this call began."""
        load = self._loads.get(conversation_id)
        if load is None:
            load = self._start(conversation_id)
        elif load.started:
            load = self._behind(load)
        return await asyncio.shield(load.answer)

    async def require(self, conversation_id: str, tenant_id: str, user_id: str) -> Membership:
        """The membership of somebody who is in it.

        Raises:
            DomainError: NOT_FOUND when they are not, UNAVAILABLE when it cannot be known.
        """
        found = await self.find(conversation_id, lambda members: members.includes(tenant_id, user_id))
        if isinstance(found, DomainError):
            raise found
        if not found.includes(tenant_id, user_id):
            raise conversation_not_found(conversation_id)
        return found

    def forget(self, conversation_ids: Iterable[str]) -> None:
        """These have changed."""
        for conversation_id in conversation_ids:
            self._drop(conversation_id)
            if (load := self._loads.get(conversation_id)) is not None and load.started:
                load.overtaken = True

    def forget_all(self) -> None:
        """Changes may have been missed."""
        self.forget(list(self._known))
        for load in self._loads.values():
            load.overtaken = load.started

    def _drop(self, conversation_id: str) -> None:
        known = self._known.pop(conversation_id, None)
        if known is not None:
            self._member_count -= len(known[1].members)

    def _remember(self, conversation_id: str, membership: Membership) -> None:
        self._drop(conversation_id)
        self._known[conversation_id] = (self._monotonic() + self._ttl_seconds, membership)
        self._member_count += len(membership.members)
        while len(self._known) > 1 and (len(self._known) > self._max_conversations or self._member_count > self._max_members):
            self._drop(next(iter(self._known)))
        metrics.memberships.set(len(self._known))

    def _behind(self, load: _Load) -> _Load:
        if load.next is None:
            load.next = _Load()
        return load.next

    def _start(self, conversation_id: str, load: _Load | None = None) -> _Load:
        load = self._loads[conversation_id] = load or _Load()
        task = asyncio.get_running_loop().create_task(self._run(conversation_id, load))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return load

    async def _run(self, conversation_id: str, load: _Load) -> None:
        answer: Membership | DomainError = unavailable("conversation")
        try:
            async with self._room:
                load.started = True
                answer = await self._source.load(conversation_id)
                metrics.loads_ok.inc()
        except DomainError as error:
            metrics.loads_refused.inc()
            answer = error
        except Exception:
            log.exception("membership_load_failed", conversation_id=conversation_id)
        finally:
            # In this order and without an await: from here on newcomers see what those who waited are told.
            if isinstance(answer, Membership) and not load.overtaken:
                self._remember(conversation_id, answer)
            del self._loads[conversation_id]
            if load.next is not None:
                if self._closed:
                    load.next.answer.set_result(unavailable("conversation"))
                else:
                    self._start(conversation_id, load.next)
            if not load.answer.done():
                load.answer.set_result(answer)
