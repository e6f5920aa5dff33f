"""Facts as Kafka records: which topics each goes to, with conversation_id as the key.

| Fact | Records |
| --- | --- |
| ConversationCreated | `conversation.created` |
| ConversationUpdated | `conversation.updated`, and a `MessageCommand` on `message.sent` for each entry it takes in the log |
| MarkMoved | `message.read` when the read mark moved, else `message.delivered`; both numbers are in either |
"""

from __future__ import annotations

import hashlib
from datetime import datetime

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from chat4all.conversation.v1 import conversation_events_pb2 as events_pb2
from chat4all.conversation.v1 import conversation_pb2
from chat4all.message.v1 import message_events_pb2, message_pb2
from chat4all_conversation.domain.facts import ConversationCreated, ConversationUpdated, Fact, LogEntry, MarkMoved
from chat4all_conversation.domain.model import ConversationType, Member, Role
from chat4all_runtime.events import EventCodec, OutgoingRecord

TYPES = {
    ConversationType.DIRECT: conversation_pb2.CONVERSATION_TYPE_DIRECT,
    ConversationType.GROUP: conversation_pb2.CONVERSATION_TYPE_GROUP,
    ConversationType.CHANNEL: conversation_pb2.CONVERSATION_TYPE_CHANNEL,
}
ROLES = {
    Role.MEMBER: conversation_pb2.MEMBER_ROLE_MEMBER,
    Role.ADMIN: conversation_pb2.MEMBER_ROLE_ADMIN,
    Role.OWNER: conversation_pb2.MEMBER_ROLE_OWNER,
}


def timestamp(at: datetime) -> Timestamp:
    """The time as protobuf has it."""
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def member_message(member: Member) -> conversation_pb2.Member:
    """A member as the contract has it."""
    return conversation_pb2.Member(
        user_id=member.user_id,
        role=ROLES[member.role],
        join_time=timestamp(member.joined_at),
        read_sequence_number=member.read_sequence_number,
        delivered_sequence_number=member.delivered_sequence_number,
    )


class FactCodec:
    """Makes the records of facts. The same fact always gives the same event ids and message ids."""

    def __init__(self) -> None:
        self._codec = EventCodec("/services/conversation")

    def records(self, fact: Fact) -> list[OutgoingRecord]:
        """Every record that tells the fact, in the order they must reach Kafka."""
        match fact:
            case ConversationCreated():
                return [self._created(fact)]
            case ConversationUpdated():
                return [self._updated(fact), *(self._command(fact, entry) for entry in fact.entries)]
            case MarkMoved():
                return [self._mark_moved(fact)]

    def _created(self, fact: ConversationCreated) -> OutgoingRecord:
        conversation = fact.conversation
        event = events_pb2.ConversationCreated(
            tenant_id=conversation.tenant_id,
            conversation_id=conversation.conversation_id,
            type=TYPES[conversation.type],
            title=conversation.title,
            created_by=conversation.created_by,
            members=[member_message(member) for member in fact.members],
            create_time=timestamp(conversation.created_at),
        )
        key = conversation.conversation_id
        return self._codec.encode("conversation.created", key, event, conversation.tenant_id, fact.event_id)

    def _updated(self, fact: ConversationUpdated) -> OutgoingRecord:
        conversation = fact.conversation
        event = events_pb2.ConversationUpdated(
            tenant_id=conversation.tenant_id,
            conversation_id=conversation.conversation_id,
            changed_by=fact.changed_by,
            added_members=[member_message(member) for member in fact.added],
            removed_user_ids=fact.removed_user_ids,
            changed_members=[member_message(member) for member in fact.changed],
            title=fact.title,
            archived=fact.archived,
            change_time=timestamp(fact.happened_at),
        )
        key = conversation.conversation_id
        return self._codec.encode("conversation.updated", key, event, conversation.tenant_id, fact.event_id)

    def _command(self, fact: ConversationUpdated, entry: LogEntry) -> OutgoingRecord:
        conversation = fact.conversation
        content = message_pb2.MessageContent(type="system")
        content.data.update({name: value if isinstance(value, str) else list(value) for name, value in entry.data.items()})
        command = message_events_pb2.MessageCommand(
            tenant_id=conversation.tenant_id,
            conversation_id=conversation.conversation_id,
            message_id=entry.message_id,
            kind=entry.kind,
            content=content,
            accept_time=timestamp(fact.happened_at),
            digest=_digest(entry),
        )
        # The command's own id is its event id: the row keeps it, so a record sent twice is one entry in the log.
        return self._codec.encode("message.sent", conversation.conversation_id, command, conversation.tenant_id, entry.message_id)

    def _mark_moved(self, fact: MarkMoved) -> OutgoingRecord:
        event = events_pb2.MarkMoved(
            tenant_id=fact.tenant_id,
            conversation_id=fact.conversation_id,
            user_id=fact.user_id,
            read_sequence_number=fact.read_sequence_number,
            delivered_sequence_number=fact.delivered_sequence_number,
            move_time=timestamp(fact.happened_at),
        )
        topic = "message.read" if fact.read_moved else "message.delivered"
        return self._codec.encode(topic, fact.conversation_id, event, fact.tenant_id, fact.event_id)


def _digest(entry: LogEntry) -> str:
    content = {"type": "system", "data": dict(entry.data)}
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
