"""Whether ids were used before, asked of the log in bundles.

What arrives in one tick of the loop, or while a query is under way, goes into one query. A question that comes alone is asked at
once. Under load queries start at least 5 ms apart: each costs this process 250 µs and more however many ids it holds, and without
that pace they took a third of it (686 sends a second against 1,108). Kafka's acknowledgement, which every send waits for anyway,
takes as long. Nobody waits longer than the bound: an answer of None means "not known".

While the log is away everybody is answered None at once but for one question a second that finds out whether it is back. A send
goes on without the answer: it is accepted because Kafka has it, and the log's writer removes repeats.

Used from the event loop only. Waiting questions are bounded by the calls in flight.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType

import structlog

from chat4all_message import metrics
from chat4all_message.domain.model import StoredIdentity
from chat4all_message.repository import IdentityStore, StoreAway

log = structlog.get_logger()

Answer = Mapping[str, StoredIdentity] | None

_MAX_QUERIES = 3
_PACE_SECONDS = 0.005
_PROBE_SECONDS = 1.0


class _Question:
    __slots__ = ("answer", "give_up_at", "ids")

    def __init__(self, ids: Sequence[str], answer: asyncio.Future[Answer], give_up_at: float) -> None:
        self.ids = ids
        self.answer = answer
        self.give_up_at = give_up_at


class IdLookup:
    """Answers from `__aenter__` to `__aexit__`, which ends the queries under way.

    Args:
        max_ids: ids in one query; one question of more is still one query.
        crowd: so many waiting ids start another query at once, also beside one that runs (three at most).
        wait_seconds: longest wait for an answer.
    """

    def __init__(self, store: IdentityStore, *, max_ids: int = 1000, crowd: int = 200, wait_seconds: float = 0.2) -> None:
        self._store = store
        self._max_ids = max_ids
        self._crowd = crowd
        self._wait_seconds = wait_seconds
        self._waiting: deque[_Question] = deque()
        self._waiting_ids = 0
        self._open: deque[_Question] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Handle | None = None
        self._start_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._away = False
        self._probe_at = 0.0

    async def __aenter__(self) -> IdLookup:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for handle in (self._timer, self._starting):
            if handle is not None:
                handle.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def find(self, ids: Sequence[str]) -> asyncio.Future[Answer]:
        """Those of the ids that are in the log, or None when that cannot be known in time. Ends within the bound, never raises."""
        answer: asyncio.Future[Answer] = self._loop.create_future()
        now = self._loop.time()
        if not ids:
            answer.set_result({})
            return answer
        if self._away:
            if now < self._probe_at:
                answer.set_result(None)
                return answer
            self._probe_at = now + _PROBE_SECONDS
        question = _Question(ids, answer, now + self._wait_seconds)
        self._waiting.append(question)
        self._waiting_ids += len(ids)
        self._open.append(question)
        self._schedule(now)
        if self._timer is None:
            self._timer = self._loop.call_at(question.give_up_at, self._give_up)
        return answer

    def _schedule(self, now: float) -> None:
        """See that a query starts as soon as one may."""
        crowded = self._waiting_ids >= self._crowd
        if not self._waiting or (len(self._tasks) >= (_MAX_QUERIES if crowded else 1)):
            return
        if self._starting is not None:
            if not crowded or self._start_at <= now:
                return
            self._starting.cancel()
        if crowded or self._start_at <= now:
            self._start_at = now
            self._starting = self._loop.call_soon(self._start)
        else:
            self._starting = self._loop.call_at(self._start_at, self._start)

    def _start(self) -> None:
        self._starting = None
        self._start_at = self._loop.time() + _PACE_SECONDS
        while self._waiting and (not self._tasks or (self._waiting_ids >= self._crowd and len(self._tasks) < _MAX_QUERIES)):
            bundle = [self._waiting.popleft()]
            count = len(bundle[0].ids)
            while self._waiting and count + len(self._waiting[0].ids) <= self._max_ids:
                count += len(self._waiting[0].ids)
                bundle.append(self._waiting.popleft())
            self._waiting_ids -= count
            bundle = [question for question in bundle if not question.answer.done()]
            if bundle:
                task = self._loop.create_task(self._query(bundle))
                self._tasks.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._schedule(self._loop.time())

    async def _query(self, bundle: list[_Question]) -> None:
        ids = bundle[0].ids if len(bundle) == 1 else [message_id for question in bundle for message_id in question.ids]
        found: Answer = None
        try:
            found = await self._store.identities(ids)
            self._is_back()
        except StoreAway as error:
            self._is_away(str(error))
        except Exception:
            log.exception("id_lookup_failed")
        finally:
            for question in bundle:
                if not question.answer.done():
                    question.answer.set_result(found)

    def _give_up(self) -> None:
        """Answer None to whoever has waited too long; then look again when the next one will have."""
        self._timer = None
        now = self._loop.time()
        expired = 0
        while self._open and (self._open[0].answer.done() or self._open[0].give_up_at <= now):
            question = self._open.popleft()
            if not question.answer.done():
                question.answer.set_result(None)
                expired += 1
        if expired:
            self._is_away("no answer in time")
        if self._open:
            self._timer = self._loop.call_at(self._open[0].give_up_at, self._give_up)

    def _is_away(self, error: str) -> None:
        if not self._away:
            self._away = True
            self._probe_at = self._loop.time() + _PROBE_SECONDS
            metrics.lookup_outages.inc()
            log.warning("id_lookup_away", error=error)

    def _is_back(self) -> None:
        if self._away:
            self._away = False
            log.warning("id_lookup_back")
