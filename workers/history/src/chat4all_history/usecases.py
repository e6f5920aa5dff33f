"""One batch of stored facts into the time series, each once.

A time series carries no unique index, so nothing in the store stops a second insert. What stops it here:

- repeats inside the batch and of what this process wrote lately are known from memory;
- what may have been written by an owner before us (`redelivered`), announced twice by the router (header `redelivered`) or
  attempted by us without an answer is looked up first;
- a batch that has been in hand for half a consumer session is given back before anything is written: the consumer then proves that
  the group still gives us these partitions, and only then comes here again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from chat4all_history import metrics
from chat4all_history.domain.model import Occurrence
from chat4all_history.domain.recent import Recent
from chat4all_history.repository import History
from chat4all_runtime.kafka_consumer import RetryLater


class RecordHistory:
    """The worker's one use case. Used from one thread.

    Args:
        stale_after_seconds: half a consumer session; after it another owner may have these records.
        monotonic: seconds that go on while the process is stopped.
    """

    def __init__(
        self,
        history: History,
        recent: Recent,
        stale_after_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._history = history
        self._recent = recent
        self._stale_after_seconds = stale_after_seconds
        self._monotonic = monotonic

    def __call__(self, occurrences: Sequence[Occurrence]) -> None:
        """Write what is not there yet.

        Raises:
            RetryLater: the store did not answer, or the batch is too old to be surely ours; call again with the same.
        """
        began = self._monotonic()
        by_id: dict[str, Occurrence] = {}
        doubtful: dict[str, Occurrence] = {}
        for item in occurrences:
            if self._recent.is_written(item.message_id):
                continue
            by_id.setdefault(item.message_id, item)
            if item.repeated or self._recent.is_uncertain(item.message_id):
                doubtful[item.message_id] = item
        there = self._look_up(list(doubtful.values())) if doubtful else []
        new = [item for item in by_id.values() if item.message_id not in doubtful or item.message_id not in there]
        if new:
            if (age := self._monotonic() - began) > self._stale_after_seconds:
                raise RetryLater(f"the batch was in hand for {age:.1f} s before its insert; the membership is checked first")
            self._recent.begin(new)
            with stage("insert"):
                self._history.insert(new)
        self._recent.written(by_id.values())
        metrics.entries.labels("written").inc(len(new))
        metrics.entries.labels("repeated").inc(len(occurrences) - len(new))

    def _look_up(self, doubtful: Sequence[Occurrence]) -> set[str]:
        metrics.looked_up.inc(len(doubtful))
        with stage("lookup"):
            return set(self._history.find(doubtful))


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Measure one stage of one batch, also when it fails."""
    started = time.perf_counter()
    try:
        yield
    finally:
        metrics.stage_seconds.labels(name).observe(time.perf_counter() - started)
