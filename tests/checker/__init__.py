"""Decides from what clients did and saw whether a run kept the promises: nothing lost, doubled, misordered or foreign.

Used by the end-to-end and fault tests, and by `python -m checker DIR`. It talks to no server and knows none of our
packages.
"""

from .codec import RecordError
from .history import History, HistoryError, HistoryWriter, merge, read_history, write_history
from .records import (
    Entry,
    HistoryPage,
    Join,
    Leave,
    MarkRead,
    Nemesis,
    Record,
    Recv,
    Reset,
    Resume,
    Send,
    Session,
    StoreRow,
    TimeseriesRow,
)
from .report import Counts, Report, check
from .verdicts import Rules, Violation, ViolationClass

__all__ = [
    "Counts",
    "Entry",
    "History",
    "HistoryError",
    "HistoryPage",
    "HistoryWriter",
    "Join",
    "Leave",
    "MarkRead",
    "Nemesis",
    "Record",
    "RecordError",
    "Recv",
    "Report",
    "Reset",
    "Resume",
    "Rules",
    "Send",
    "Session",
    "StoreRow",
    "TimeseriesRow",
    "Violation",
    "ViolationClass",
    "check",
    "merge",
    "read_history",
    "write_history",
]
