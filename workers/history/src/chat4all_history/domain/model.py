"""One measured fact about one log entry. What was said is not repeated here; it is in the log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

Place = tuple[str, int]
CHANNEL = "internal"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One entry of one conversation.

    Args:
        place: topic and partition it was read from.
        repeated: the same fact may have been written before; look before writing.
        timestamp: when it was accepted, in milliseconds; the same for every repeat.
        message_length: characters of the text or caption; 0 for what has none.
    """

    place: Place
    repeated: bool
    timestamp: datetime
    tenant_id: str
    conversation_id: str
    message_id: str
    sequence_number: int
    kind: str
    from_user_id: str
    message_length: int
    has_attachment: bool
