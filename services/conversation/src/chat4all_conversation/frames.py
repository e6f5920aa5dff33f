"""Facts as lines for connected clients: `kind, sequence number, sender, id, frame JSON`, joined by tabs.

Kinds used here: `a` (user channel) added to a conversation and `x` (user channel) taken out of one, both with the conversation
in the fourth field; `t` (conversation channel) passing news without a number. Added and removed members and a new title also
take a numbered entry of the log, which the router publishes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from chat4all_conversation.domain.facts import ConversationCreated, ConversationUpdated, Fact, MarkMoved

Line = tuple[str, bytes]


def lines(fact: Fact) -> list[Line]:
    """(Redis channel, line) for everybody who should hear of the fact."""
    match fact:
        case ConversationCreated():
            return _created(fact)
        case ConversationUpdated():
            return _updated(fact)
        case MarkMoved():
            return _mark_moved(fact)


def _created(fact: ConversationCreated) -> list[Line]:
    conversation = fact.conversation
    data = {
        "type": conversation.type.value,
        "title": conversation.title,
        "created_by": conversation.created_by,
        "member_count": conversation.member_count,
    }
    frame = _frame(fact.event_id, "conversation.created", conversation.conversation_id, fact.happened_at, data)
    line = _line("a", conversation.created_by, conversation.conversation_id, frame)
    return [(_user_channel(member.user_id), line) for member in fact.members]


def _updated(fact: ConversationUpdated) -> list[Line]:
    conversation = fact.conversation
    place = (conversation.conversation_id, fact.happened_at)
    found: list[Line] = []
    if fact.added:
        data: dict[str, Any] = {
            "added_user_ids": [member.user_id for member in fact.added],
            "changed_by": fact.changed_by,
            "type": conversation.type.value,
            "title": conversation.title,
            "member_count": conversation.member_count,
        }
        line = _line("a", fact.changed_by, place[0], _frame(fact.event_id, "conversation.member_added", *place, data))
        found += [(_user_channel(member.user_id), line) for member in fact.added]
    for user_id in fact.removed_user_ids:
        data = {"removed_user_id": user_id, "changed_by": fact.changed_by}
        line = _line("x", fact.changed_by, place[0], _frame(fact.event_id, "conversation.member_removed", *place, data))
        found.append((_user_channel(user_id), line))
    # Roles and the archive state take no entry in the log, so those who are connected hear of them here.
    data = {}
    if fact.changed:
        data["changed_members"] = [{"user_id": member.user_id, "role": member.role.value} for member in fact.changed]
    if fact.archived is not None:
        data["archived"] = fact.archived
    if data:
        data["changed_by"] = fact.changed_by
        line = _line("t", fact.changed_by, "", _frame(fact.event_id, "conversation.updated", *place, data))
        found.append((_conversation_channel(place[0]), line))
    return found


def _mark_moved(fact: MarkMoved) -> list[Line]:
    kind, number = (
        ("message.read", fact.read_sequence_number) if fact.read_moved else ("message.delivered", fact.delivered_sequence_number)
    )
    data = {"user_id": fact.user_id, "sequence_number": number}
    frame = _frame(fact.event_id, kind, fact.conversation_id, fact.happened_at, data)
    return [(_conversation_channel(fact.conversation_id), _line("t", fact.user_id, "", frame))]


def _frame(event_id: str, event_type: str, conversation_id: str, at: datetime, data: dict[str, Any]) -> bytes:
    return orjson.dumps(
        {
            "type": "event",
            "event_id": event_id,
            "event_type": event_type,
            "conversation_id": conversation_id,
            "time": at,
            "data": data,
        },
        option=orjson.OPT_UTC_Z,
    )


def _line(kind: str, sender: str, fourth: str, frame: bytes) -> bytes:
    # JSON escapes tabs and line ends, so the frame cannot break the line.
    return f"{kind}\t0\t{sender}\t{fourth}\t".encode() + frame


def _user_channel(user_id: str) -> str:
    return f"user:{user_id}:events"


def _conversation_channel(conversation_id: str) -> str:
    return f"conversation:{conversation_id}:events"
