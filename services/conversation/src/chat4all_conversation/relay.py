"""Carries outbox rows to Kafka: in order per key, at least once, deleted when all in-sync replicas have them.

Lifecycle: one task from `__aenter__` to `__aexit__`. It runs when this process committed (`wake`), and every few seconds for
rows that a killed copy left behind; with nothing to do it costs one existence query per poll.

Concurrency: copies of the process take turns by an advisory lock that PostgreSQL frees when their transaction or connection
ends. The holder reads the rows in order of id, hands them to Kafka, waits, deletes. A copy that is killed between the
acknowledgement and the commit leaves the rows: they are sent again with the same event ids and message ids, which readers
drop. The transaction takes no row locks and so no transaction id while it waits for Kafka: it holds back no sync marker.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import orjson
import structlog
from confluent_kafka import KafkaError
from prometheus_client import Counter, Gauge

from chat4all_conversation.postgres_errors import AWAY
from chat4all_runtime import metrics
from chat4all_runtime.events import OutgoingRecord

log = structlog.get_logger()

SendAll = Callable[[Sequence[OutgoingRecord]], "Future[list[KafkaError | None]]"]

_WAITING = "select extract(epoch from now() - created_at)::float8 from outbox order by id limit 1"
_TURN = "select pg_advisory_xact_lock(hashtextextended('chat4all.conversation.outbox', 0))"
_TAKE = "select id, topic, key, value, headers from outbox order by id limit $1"
_DELETE = "delete from outbox where id = any($1::bigint[])"

_FIRST_BACKOFF_SECONDS = 0.1
_MAX_BACKOFF_SECONDS = 5.0
_STOP_SECONDS = 4.0

relay_failures = Counter(
    "chat4all_conversation_outbox_failures_total", "Rounds of the relay that left rows behind, by what was away.", ["cause"]
)
for _cause in ("postgres", "kafka"):
    relay_failures.labels(_cause)
oldest_seconds = Gauge("chat4all_conversation_outbox_oldest_seconds", "Age of the oldest event that Kafka does not have yet.")


class OutboxRelay:
    """Relays from `__aenter__` to `__aexit__`.

    Args:
        send_all: hands records to Kafka; the future tells an error or None for each.
        batch_rows: rows handed over at once.
        poll_seconds: how often to look without being woken.
        turn_seconds: longest wait for another copy to finish its round; above Kafka's delivery time-out.
        on_failed: told when the task ended by a defect; the process must end.
    """

    def __init__(
        self,
        pool: Any,
        send_all: SendAll,
        *,
        batch_rows: int,
        poll_seconds: float,
        turn_seconds: float,
        timeout_seconds: float,
        on_failed: Callable[[BaseException], None],
    ) -> None:
        self._pool = pool
        self._send_all = send_all
        self._batch_rows = batch_rows
        self._poll_seconds = poll_seconds
        self._turn_seconds = turn_seconds
        self._timeout_seconds = timeout_seconds
        self._on_failed = on_failed
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._away: str | None = None

    def wake(self) -> None:
        """There are new rows."""
        self._wake.set()

    def not_ready(self) -> str | None:
        """Why PostgreSQL could not be used at the last look, None when it could; for `/health/ready`."""
        return self._away

    async def __aenter__(self) -> OutboxRelay:
        self._task = asyncio.create_task(self._run(), name="outbox-relay")
        self._task.add_done_callback(self._ended)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finish the round under way; rows that are left wait in PostgreSQL for the next start."""
        self._stopping.set()
        self._wake.set()
        done, _ = await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failed(error)

    async def _run(self) -> None:
        backoff = _FIRST_BACKOFF_SECONDS
        while not self._stopping.is_set():
            self._wake.clear()
            failure = await self._try_round()
            if failure is None:
                backoff = _FIRST_BACKOFF_SECONDS
                if not self._wake.is_set():
                    await _wait(self._wake, self._poll_seconds)
            else:
                relay_failures.labels(failure).inc()
                await _wait(self._stopping, backoff)
                backoff = min(backoff * 2, _MAX_BACKOFF_SECONDS)

    async def _try_round(self) -> str | None:
        """Relay until nothing waits; answers what was away, None when all went well."""
        try:
            while not self._stopping.is_set():
                async with self._pool.acquire(timeout=self._timeout_seconds) as connection:
                    waiting = await connection.fetchval(_WAITING)
                    self._away = None
                    oldest_seconds.set(waiting or 0.0)
                    if waiting is None:
                        return None
                    if not await self._relay(connection):
                        return "kafka"
        except AWAY as error:
            self._away = "PostgreSQL cannot be reached"
            log.warning("outbox_postgres_away", error=str(error), error_type=type(error).__name__)
            return "postgres"
        return None

    async def _relay(self, connection: Any) -> bool:
        """One batch; False when Kafka did not take all of it."""
        async with connection.transaction():
            await connection.execute(_TURN, timeout=self._turn_seconds)
            found = await connection.fetch(_TAKE, self._batch_rows)
            sending = self._send_all([_record(row) for row in found])
            # Never cancelled: the send goes on in librdkafka whatever happens to the one who waits.
            results = await asyncio.shield(sending)
            acknowledged = _acknowledged(found, results)
            if acknowledged:
                await connection.execute(_DELETE, acknowledged)
        for row, result in zip(found, results, strict=True):
            metrics.kafka_produced_records.labels(row["topic"], "failed" if result else "acknowledged").inc()
        failed = [result for result in results if result is not None]
        if failed:
            log.warning("outbox_kafka_failed", rows=len(failed), error=failed[0].name())
        return not failed


def _record(row: Any) -> OutgoingRecord:
    headers: list[tuple[str, str | bytes | None]] = [(name, value.encode()) for name, value in orjson.loads(row["headers"])]
    return OutgoingRecord(row["topic"], row["key"].encode(), row["value"], headers)


def _acknowledged(found: Sequence[Any], results: Sequence[KafkaError | None]) -> list[int]:
    """Ids that may be deleted. Behind a row that failed, those of its key stay too: sent again, the last one is last."""
    held: set[tuple[str, str]] = set()
    done = []
    for row, error in zip(found, results, strict=True):
        place = (row["topic"], row["key"])
        if error is not None or place in held:
            held.add(place)
        else:
            done.append(row["id"])
    return done


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
