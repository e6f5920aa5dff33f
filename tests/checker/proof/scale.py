"""`python -m checker.proof.scale [SENDS]`: how long the checker takes for a big good run. A measurement, not a test."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ..history import read_history, write_history
from ..records import Entry, HistoryPage, Join, Record, Recv, Send, Session, SessionPhase, StoreRow, TimeseriesRow
from ..report import check
from .world import body_sha256

CONVERSATIONS = 200
READERS = 5
PAGE_SIZE = 200


def big_history(sends: int) -> list[Record]:
    """Return a run of `sends` messages over 200 conversations with 5 members each, everything acknowledged twice."""
    records: list[Record] = []

    def write(record: Record) -> None:
        # Made by this function and not yet shared, so it may be stamped in place.
        record.monotonic_ns = len(records) * 1000
        record.writer = f"w{len(records) % 16}"
        records.append(record)

    logs: list[list[Entry]] = [[] for _ in range(CONVERSATIONS)]
    users = [[f"user-{number:03}-{reader}" for reader in range(READERS)] for number in range(CONVERSATIONS)]
    for number in range(CONVERSATIONS):
        for user in users[number]:
            write(Join(conversation_id=f"conversation-{number:03}", user_id=user, sequence_number=0))
            _session(write, user, "live", "open")
            _session(write, user, "live", "attached")
    for sent in range(sends):
        number = sent % CONVERSATIONS
        log, conversation_id, user = logs[number], f"conversation-{number:03}", users[number][sent % READERS]
        message_id = f"message-{sent:030}"
        entry = Entry(len(log) + 1, message_id, user, body_sha256(message_id))
        log.append(entry)
        for phase, state in (("invoke", ""), ("ok", "accepted"), ("ok", "stored")):
            write(
                Send(
                    phase=phase,  # type: ignore[arg-type]  # from the table above
                    state=state,  # type: ignore[arg-type]  # from the table above
                    conversation_id=conversation_id,
                    message_id=message_id,
                    user_id=user,
                    device_id=f"{user}-d",
                    client_sequence=sent,
                    body_sha256=entry.body_sha256,
                    sequence_number=entry.sequence_number if state == "stored" else 0,
                )
            )
        for reader in users[number]:
            values = entry._asdict()
            write(
                Recv(
                    source="live",
                    session_id=f"{reader}-live",
                    user_id=reader,
                    conversation_id=conversation_id,
                    **values,
                )
            )
    for number, log in enumerate(logs):
        conversation_id = f"conversation-{number:03}"
        for user in users[number]:
            _session(write, user, "live", "close")
            _session(write, user, "drain", "open")
            for start in range(0, len(log), PAGE_SIZE):
                write(
                    HistoryPage(
                        session_id=f"{user}-drain",
                        user_id=user,
                        conversation_id=conversation_id,
                        entries=tuple(log[start : start + PAGE_SIZE]),
                        after_sequence_number=start,
                        drain=True,
                    )
                )
        for entry in log:
            sequence_number, message_id, sender, body, _, _ = entry
            write(
                StoreRow(
                    tenant_id="t",
                    conversation_id=conversation_id,
                    sequence_number=sequence_number,
                    message_id=message_id,
                    sender_user_id=sender,
                    body_sha256=body,
                )
            )
            write(
                TimeseriesRow(
                    tenant_id="t",
                    conversation_id=conversation_id,
                    sequence_number=sequence_number,
                    message_id=message_id,
                    sender_user_id=sender,
                )
            )
    return records


def _session(write: Callable[[Record], None], user: str, name: str, phase: SessionPhase) -> None:
    write(
        Session(
            phase=phase,
            session_id=f"{user}-{name}",
            user_id=user,
            device_id=f"{user}-d",
            tenant_id="t",
            settled=phase == "close",
        )
    )


def _peak_mib() -> int:
    # Not getrusage: a child inherits the peak of the process that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024


def main() -> int:
    """Make the run, write it, read it, check it, and print the times."""
    sends = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    with tempfile.TemporaryDirectory() as directory:
        write_history(Path(directory), big_history(sends))
        started = time.process_time()
        history = read_history(Path(directory))
        read = time.process_time()
        report = check(history)
        checked = time.process_time()
    sys.stdout.write(report.render())
    sys.stdout.write(f"\nCPU time: read {read - started:.1f} s, checked {checked - read:.1f} s, peak {_peak_mib():,} MiB\n")
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
