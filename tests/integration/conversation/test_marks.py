"""Marks: forward only, one statement for many, told once per conversation and batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from integration.conversation.harness import ConversationProcess, User, World, listening, reading, refused

from chat4all.conversation.v1 import conversation_events_pb2
from chat4all.conversation.v1 import conversation_service_pb2 as api
from chat4all_runtime.ids import new_id

Mark = api.Mark


def read_to(service: ConversationProcess, user: User, conversation_id: str, number: int) -> tuple[int, int]:
    request = api.MarkConversationReadRequest(conversation_id=conversation_id, sequence_number=number)
    member = service.call(user, "MarkConversationRead", request)
    return member.read_sequence_number, member.delivered_sequence_number


def record(service: ConversationProcess, *marks: Mark) -> int:
    return int(service.call(None, "RecordMarks", api.RecordMarksRequest(marks=marks)).changed_count)


def test_reading_moves_forward_only_and_lifts_delivered(world: World, service: ConversationProcess) -> None:
    """Promise: a smaller number changes nothing, what is read is delivered, and no mark passes the end of the log."""
    ana, bob = world.user(), world.user()
    conversation_id = service.group(ana, bob).conversation_id
    for _ in range(5):
        world.messages.append(conversation_id, ana.id)
    with reading(world, "message.read", "message.delivered") as topics:
        with listening(world, f"conversation:{conversation_id}:events") as take:
            assert read_to(service, bob, conversation_id, 3) == (3, 3)
            [(_, fields, frame)] = take(1)
        assert fields == ["t", "0", bob.id, ""]
        assert frame["event_type"] == "message.read"
        assert frame["data"] == {"user_id": bob.id, "sequence_number": 3}
        assert read_to(service, bob, conversation_id, 2) == (3, 3)
        assert read_to(service, bob, conversation_id, 5) == (5, 5)
        events = topics.take(conversation_id, 2, conversation_events_pb2.MarkMoved, "message.read")
        topics.read_on(0.5)
        assert len(topics.all(conversation_id, "message.read")) == 2
        assert topics.all(conversation_id, "message.delivered") == []
    assert [(event.user_id, event.read_sequence_number, event.delivered_sequence_number) for event in events] == [
        (bob.id, 3, 3),
        (bob.id, 5, 5),
    ]
    too_high = refused(lambda: read_to(service, bob, conversation_id, 6))
    assert too_high == ("INVALID_ARGUMENT", "SEQUENCE_NUMBER_TOO_HIGH")
    assert refused(lambda: read_to(service, bob, conversation_id, 0)) == ("INVALID_ARGUMENT", "SEQUENCE_NUMBER_INVALID")


def test_many_marks_move_at_once(world: World, service: ConversationProcess) -> None:
    """Promise: only marks that move count; repeats, smaller numbers and people who are not in are ignored."""
    ana, bob, out = world.user(), world.user(), world.user()
    first, second = (service.group(ana, bob).conversation_id for _ in range(2))
    channel = f"conversation:{first}:events"
    with reading(world, "message.read", "message.delivered") as topics, listening(world, channel) as take:
        moved = record(
            service,
            Mark(conversation_id=first, user_id=ana.id, delivered_sequence_number=4),
            Mark(conversation_id=first, user_id=ana.id, delivered_sequence_number=7),
            Mark(conversation_id=first, user_id=bob.id, read_sequence_number=2),
            Mark(conversation_id=second, user_id=bob.id, read_sequence_number=1, delivered_sequence_number=9),
            Mark(conversation_id=first, user_id=out.id, delivered_sequence_number=4),
            Mark(conversation_id=new_id(), user_id=ana.id, delivered_sequence_number=4),
        )
        assert moved == 3
        assert record(service, Mark(conversation_id=first, user_id=ana.id, delivered_sequence_number=6)) == 0
        assert record(service) == 0
        told = {(frame["event_type"], frame["data"]["user_id"], frame["data"]["sequence_number"]) for *_, frame in take(2)}
        delivered = topics.take(first, 1, conversation_events_pb2.MarkMoved, "message.delivered")[0]
        read = topics.take(second, 1, conversation_events_pb2.MarkMoved, "message.read")[0]
    assert told == {("message.delivered", ana.id, 7), ("message.read", bob.id, 2)}
    assert (delivered.user_id, delivered.delivered_sequence_number) == (ana.id, 7)
    assert (read.read_sequence_number, read.delivered_sequence_number) == (1, 9)


def test_limits_of_marks(world: World, service: ConversationProcess) -> None:
    """Promise: 1,000 marks go, 1,001 are refused; a wrong id names its place."""
    ana, bob = world.user(), world.user()
    conversation_id = service.group(ana, bob).conversation_id
    mark = Mark(conversation_id=conversation_id, user_id=ana.id, delivered_sequence_number=1)
    assert record(service, *[mark] * 1000) == 1
    assert refused(lambda: record(service, *[mark] * 1001)) == ("INVALID_ARGUMENT", "TOO_MANY_MARKS")
    assert refused(lambda: record(service, Mark(conversation_id="x", user_id=ana.id))) == (
        "INVALID_ARGUMENT",
        "CONVERSATION_ID_INVALID",
    )


def test_marks_from_many_sides_end_at_the_highest(world: World, service: ConversationProcess) -> None:
    """Promise: batches in opposite orders at the same moment neither block each other nor move a mark back."""
    ana, bob = world.user(), world.user()
    groups = [service.group(ana, bob).conversation_id for _ in range(10)]
    places = [(group, user.id) for group in groups for user in (ana, bob)]

    def batch(number: int) -> int:
        order = places if number % 2 else places[::-1]
        return record(
            service,
            *(
                Mark(conversation_id=c, user_id=u, read_sequence_number=number, delivered_sequence_number=number)
                for c, u in order
            ),
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(batch, range(1, 61)))
    found = world.sql(
        "select distinct read_sequence_number, delivered_sequence_number from conversation_members"
        " where conversation_id = any($1::uuid[])",
        groups,
    )
    assert [tuple(row) for row in found] == [(60, 60)]
