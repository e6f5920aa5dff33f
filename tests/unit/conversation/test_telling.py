"""Facts as Kafka records and as lines for sockets."""

from __future__ import annotations

import orjson
import pytest
from unit.conversation.builders import AT, conversation, member

from chat4all.conversation.v1 import conversation_events_pb2, conversation_pb2
from chat4all.message.v1 import message_events_pb2
from chat4all_conversation.domain.facts import (
    ConversationCreated,
    ConversationUpdated,
    Fact,
    MarkMoved,
    member_removed,
    members_added,
    title_changed,
)
from chat4all_conversation.domain.model import Role
from chat4all_conversation.events import FactCodec
from chat4all_conversation.frames import lines
from chat4all_runtime.ids import is_uuid7, new_id

PLACE = conversation()
ANA, BOB = member(Role.OWNER), member()


def moved(read: bool) -> MarkMoved:
    return MarkMoved(new_id(), "default", PLACE.conversation_id, BOB.user_id, 4, 7, read, AT)


FACTS: list[tuple[Fact, list[str]]] = [
    (ConversationCreated(new_id(), PLACE, (ANA, BOB), AT), ["conversation.created"]),
    (members_added(PLACE, ANA.user_id, [BOB], AT), ["conversation.updated", "message.sent"]),
    (member_removed(PLACE, ANA.user_id, BOB.user_id, AT), ["conversation.updated", "message.sent"]),
    (title_changed(PLACE, ANA.user_id, AT), ["conversation.updated", "message.sent"]),
    (ConversationUpdated(new_id(), PLACE, ANA.user_id, AT, archived=True), ["conversation.updated"]),
    (ConversationUpdated(new_id(), PLACE, ANA.user_id, AT, changed=(BOB,)), ["conversation.updated"]),
    (moved(read=True), ["message.read"]),
    (moved(read=False), ["message.delivered"]),
]


@pytest.mark.parametrize(("fact", "topics"), FACTS)
def test_records_go_to_their_topics_with_ids_that_stay(fact: Fact, topics: list[str]) -> None:
    """Promise: key is the conversation, and telling a fact again gives the same ids and bytes."""
    codec = FactCodec()
    records = codec.records(fact)
    assert [record.topic for record in records] == topics
    assert {record.key for record in records} == {PLACE.conversation_id.encode()}
    again = codec.records(fact)
    assert [record.value for record in again] == [record.value for record in records]
    ids = [dict(record.headers)["ce_id"] for record in records]
    assert ids == [dict(record.headers)["ce_id"] for record in again]
    assert len(set(ids)) == len(ids)
    assert ids[0] == fact.event_id.encode()
    for record in records:
        headers = dict(record.headers)
        assert headers["tenant_id"] == b"default"
        assert headers["ce_source"] == b"/services/conversation"


def test_a_created_event_is_complete() -> None:
    """Promise: readers need not call back: everybody, their roles, the title and the time are in it."""
    event = conversation_events_pb2.ConversationCreated.FromString(FactCodec().records(FACTS[0][0])[0].value)
    assert [(one.user_id, one.role) for one in event.members] == [
        (ANA.user_id, conversation_pb2.MEMBER_ROLE_OWNER),
        (BOB.user_id, conversation_pb2.MEMBER_ROLE_MEMBER),
    ]
    assert (event.title, event.tenant_id, event.created_by) == ("Team", "default", PLACE.created_by)
    assert event.create_time.ToMilliseconds() == int(AT.timestamp() * 1000)


def test_a_removal_commands_one_entry_of_the_log() -> None:
    """Promise: the router gets what it needs to number it: id, kind, system content, time, digest."""
    record = FactCodec().records(FACTS[2][0])[1]
    command = message_events_pb2.MessageCommand.FromString(record.value)
    assert command.kind == "member_removed"
    assert is_uuid7(command.message_id)
    assert command.content.type == "system"
    assert command.content.data["removed_user_id"] == BOB.user_id
    assert command.from_user_id == ""
    assert len(command.digest) == 64


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        (FACTS[0][0], [("a", ANA.user_id, "conversation.created"), ("a", BOB.user_id, "conversation.created")]),
        (FACTS[1][0], [("a", BOB.user_id, "conversation.member_added")]),
        (FACTS[2][0], [("x", BOB.user_id, "conversation.member_removed")]),
        (FACTS[3][0], []),
        (FACTS[4][0], [("t", "", "conversation.updated")]),
        (FACTS[5][0], [("t", "", "conversation.updated")]),
        (FACTS[6][0], [("t", "", "message.read")]),
        (FACTS[7][0], [("t", "", "message.delivered")]),
    ],
)
def test_lines_reach_those_concerned(fact: Fact, expected: list[tuple[str, str, str]]) -> None:
    """Promise: five fields joined by tabs, one line each, the frame as the contract's `event`."""
    found = []
    for channel, line in lines(fact):
        kind, number, _, fourth, frame = line.decode().split("\t")
        told = orjson.loads(frame)
        assert b"\n" not in line
        assert number == "0"
        assert told["event_id"] == fact.event_id
        assert told["conversation_id"] == PLACE.conversation_id
        assert told["time"] == "2026-03-01T12:00:00.250000Z"
        if kind == "t":
            assert channel == f"conversation:{PLACE.conversation_id}:events"
            found.append((kind, "", told["event_type"]))
        else:
            assert fourth == PLACE.conversation_id
            found.append((kind, channel.split(":")[1], told["event_type"]))
    assert found == expected


def test_a_title_cannot_break_a_line() -> None:
    """Promise: whatever a title holds, a line stays one line of five fields."""
    fact = ConversationCreated(new_id(), conversation(title="tab\tand\nline"), (ANA,), AT)
    [(_, line)] = lines(fact)
    assert line.count(b"\t") == 4
    assert b"\n" not in line
    assert orjson.loads(line.split(b"\t")[4])["data"]["title"] == "tab\tand\nline"
