"""Records → occurrences → the use case → verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chat4all_history import metrics
from chat4all_history.domain.model import Occurrence
from chat4all_history.domain.recent import Recent
from chat4all_history.events import NotAFact, read_stored
from chat4all_history.usecases import stage
from chat4all_runtime.events import IncomingRecord
from chat4all_runtime.kafka_consumer import Rejected


class HistoryHandler:
    """What the consumer calls, in its thread."""

    def __init__(self, record: Callable[[Sequence[Occurrence]], None], recent: Recent) -> None:
        self._record = record
        self._recent = recent

    def handle(self, records: Sequence[IncomingRecord]) -> Sequence[Rejected]:
        """Write what happened; name the records that can never be history."""
        rejected: list[Rejected] = []
        occurrences: list[Occurrence] = []
        with stage("decode"):
            for record in records:
                try:
                    occurrences.append(read_stored(record))
                except NotAFact as error:
                    rejected.append(Rejected(record, error.reason, error.detail))
        if occurrences:
            self._record(occurrences)
        metrics.entries.labels("rejected").inc(len(rejected))
        return rejected

    def assigned(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Nothing is known of them yet."""

    def revoked(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Forget them: another owner writes there now."""
        self._recent.forget(partitions)
