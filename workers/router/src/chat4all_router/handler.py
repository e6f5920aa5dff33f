"""Records → entries → the use case → verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chat4all_router import metrics
from chat4all_router.domain.memory import Memory
from chat4all_router.domain.model import Entry
from chat4all_router.events import NotACommand, read_command
from chat4all_router.usecases import stage
from chat4all_runtime.events import IncomingRecord
from chat4all_runtime.kafka_consumer import Rejected


class RouterHandler:
    """What the consumer calls, in its thread."""

    def __init__(self, route: Callable[[Sequence[Entry]], None], memory: Memory) -> None:
        self._route = route
        self._memory = memory

    def handle(self, records: Sequence[IncomingRecord]) -> Sequence[Rejected]:
        """Number, store, show and announce; name the records that can never be entries."""
        rejected: list[Rejected] = []
        entries: list[Entry] = []
        metrics.batch_records.observe(len(records))
        with stage("decode"):
            for record in records:
                try:
                    entries.append(read_command(record))
                except NotACommand as error:
                    rejected.append(Rejected(record, error.reason, error.detail))
        if entries:
            self._route(entries)
        metrics.entries.labels("rejected").inc(len(rejected))
        return rejected

    def assigned(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Nothing is known of them yet."""

    def revoked(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Forget them: another owner writes there now."""
        self._memory.forget(partitions)
