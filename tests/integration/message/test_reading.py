"""Reading the log through the real process and MongoDB."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from integration.message.harness import MessageProcess, User, World, refused

from chat4all.message.v1 import message_service_pb2 as pb
from chat4all_message.log_frame import encode_frame
from chat4all_message.store_mongodb import INDEX, newest_pipeline
from chat4all_runtime.ids import new_id


def listing(service: MessageProcess, reader: User | None, conversation: str, **fields: Any) -> pb.ListMessagesResponse:
    answer: pb.ListMessagesResponse = service.call(
        reader, "ListMessages", pb.ListMessagesRequest(conversation_id=conversation, **fields)
    )
    return answer


def numbers(answer: pb.ListMessagesResponse) -> list[int]:
    return [entry.sequence_number for entry in answer.messages or answer.frames]


def test_pages_in_both_directions(world: World, service: MessageProcess) -> None:
    """Ascending after a number, descending before one or from the newest; pages meet without hole or repeat."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    world.write(conversation, [{"from_user_id": me.id}] * 130)
    newest = listing(service, me, conversation)
    assert numbers(newest) == list(range(130, 80, -1))
    assert newest.last_sequence_number == 130
    seen: list[int] = numbers(newest)
    token = newest.next_page_token
    while token:
        page = listing(service, me, conversation, page_token=token)
        assert page.last_sequence_number == 130
        seen, token = seen + numbers(page), page.next_page_token
    assert seen == list(range(130, 0, -1))
    seen, token = [], ""
    while True:
        page = listing(service, me, conversation, after_sequence_number=7, page_size=41, page_token=token)
        seen, token = seen + numbers(page), page.next_page_token
        assert page.last_sequence_number == 130
        if not token:
            break
    assert seen == list(range(8, 131))
    assert numbers(listing(service, me, conversation, before_sequence_number=4)) == [3, 2, 1]
    assert numbers(listing(service, me, conversation, after_sequence_number=130)) == []
    assert listing(service, me, conversation, after_sequence_number=130).last_sequence_number == 130
    assert listing(service, me, world.conversations.add(me.id)).last_sequence_number == 0


def test_entries_are_told_completely(world: World, service: MessageProcess) -> None:
    """Everything of an entry comes back, system entries included."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    reply = new_id()
    first, second = world.write(
        conversation,
        [
            {"from_user_id": me.id, "reply_to_message_id": reply, "thread_id": reply},
            {"kind": "member_removed", "payload": {"type": "system", "data": {"removed_user_id": "u"}}},
        ],
    )
    message, removal = listing(service, me, conversation, after_sequence_number=0).messages
    assert (message.message_id, message.from_user_id, message.kind) == (first["_id"], me.id, "message")
    assert message.content.text == "entry 1"
    assert (message.reply_to_message_id, message.thread_id) == (reply, reply)
    assert message.create_time.ToMilliseconds() == int(first["created_at"].timestamp() * 1000)
    assert (removal.kind, removal.content.type, removal.content.data["removed_user_id"]) == ("member_removed", "system", "u")
    assert service.call(me, "GetMessage", pb.GetMessageRequest(message_id=second["_id"])) == removal


def test_our_own_processes_get_frames(world: World, service: MessageProcess) -> None:
    """Internal callers read any conversation, 1,000 entries a page, as the very frames that sockets get."""
    conversation = new_id()
    documents = world.write(
        conversation,
        [{"kind": "member_removed", "payload": {"type": "system", "data": {"removed_user_id": "u"}}}] + [{}] * 1199,
    )
    page = listing(service, None, conversation, after_sequence_number=0, page_size=1000)
    assert numbers(page) == list(range(1, 1001))
    assert not page.messages
    assert [frame.kind for frame in page.frames[:2]] == ["r", "e"]
    assert [frame.frame for frame in page.frames] == [encode_frame(document) for document in documents[:1000]]
    assert orjson.loads(page.frames[0].frame)["data"]["removed_user_id"] == "u"
    rest = listing(service, None, conversation, after_sequence_number=0, page_size=1000, page_token=page.next_page_token)
    assert numbers(rest) == list(range(1001, 1201))
    assert not rest.next_page_token


def test_pages_of_long_entries_fit_an_answer(world: World, service: MessageProcess) -> None:
    """A page ends early rather than exceed what one answer can carry, and nothing is left out."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    world.write(conversation, [{"payload": {"type": "text", "text": "😀" * 10_000, "format": "plain"}}] * 250)
    for reader, size in ((me, 200), (None, 1000)):
        seen: list[int] = []
        token = ""
        while True:
            page = listing(service, reader, conversation, after_sequence_number=0, page_size=size, page_token=token)
            assert 0 < len(numbers(page)) < 200
            seen, token = seen + numbers(page), page.next_page_token
            if not token:
                break
        assert seen == list(range(1, 251))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"page_size": 201}, "PAGE_SIZE_INVALID"),
        ({"page_size": -1}, "PAGE_SIZE_INVALID"),
        ({"page_token": "x"}, "PAGE_TOKEN_INVALID"),
        ({"page_token": "WyJ6IiwxXQ"}, "PAGE_TOKEN_INVALID"),
        ({"page_token": "WyJkIiwxXQ", "after_sequence_number": 1}, "PAGE_TOKEN_INVALID"),
        ({"page_token": "WyJkIiwtMV0", "before_sequence_number": 1, "after_sequence_number": 1}, "DIRECTION_AMBIGUOUS"),
    ],
)
def test_wrong_lists_are_refused(world: World, service: MessageProcess, fields: dict[str, Any], expected: str) -> None:
    """Bad sizes, foreign tokens and contradictions are the caller's fault and are named."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    assert refused(lambda: listing(service, me, conversation, **fields)) == ("INVALID_ARGUMENT", expected)


def test_numbers_beyond_the_log(world: World, service: MessageProcess) -> None:
    """The largest number a client can say is no error."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    world.write(conversation, [{}] * 2)
    assert numbers(listing(service, me, conversation, after_sequence_number=2**32 - 1)) == []
    assert numbers(listing(service, me, conversation, before_sequence_number=2**32 - 1)) == [2, 1]
    assert numbers(listing(service, me, conversation, before_sequence_number=0)) == []


def test_one_message(world: World, service: MessageProcess) -> None:
    """Members read it; for everybody else it does not exist; our own processes read everything."""
    me, stranger = world.user(), world.user()
    conversation = world.conversations.add(me.id)
    (document,) = world.write(conversation, [{"from_user_id": me.id}])
    request = pb.GetMessageRequest(message_id=document["_id"])
    assert service.call(me, "GetMessage", request).content.text == "entry 1"
    assert service.call(None, "GetMessage", request).sequence_number == 1
    expected = ("NOT_FOUND", "MESSAGE_NOT_FOUND")
    assert refused(lambda: service.call(stranger, "GetMessage", request)) == expected
    assert refused(lambda: service.call(me, "GetMessage", pb.GetMessageRequest(message_id=new_id()))) == expected
    wrong = pb.GetMessageRequest(message_id="x")
    assert refused(lambda: service.call(me, "GetMessage", wrong)) == ("INVALID_ARGUMENT", "MESSAGE_ID_INVALID")


def test_summaries(world: World, service: MessageProcess) -> None:
    """Newest number, newest message and unread messages of others, for each reader, in the order asked."""
    me, other = new_id(), new_id()
    system = {"kind": "member_added", "payload": {"type": "system", "data": {"added_user_ids": [me]}}}
    mixed, only_system, empty, quiet = new_id(), new_id(), new_id(), new_id()
    entries = [system] + [{"from_user_id": other if number % 3 else me} for number in range(30)] + [system, system]
    documents = world.write(mixed, entries)
    world.write(only_system, [system])
    world.write(quiet, [{"from_user_id": me}])
    items = [
        pb.SummaryRequest(conversation_id=mixed, user_id=me),
        pb.SummaryRequest(conversation_id=empty, user_id=me),
        pb.SummaryRequest(conversation_id=mixed, user_id=other, read_sequence_number=25),
        pb.SummaryRequest(conversation_id=only_system, user_id=me),
        pb.SummaryRequest(conversation_id=quiet, user_id=me),
        pb.SummaryRequest(conversation_id=mixed, user_id=me, read_sequence_number=33),
    ]
    answer = service.call(None, "SummarizeConversations", pb.SummarizeConversationsRequest(items=items))
    summaries = answer.summaries
    assert [summary.conversation_id for summary in summaries] == [item.conversation_id for item in items]
    assert [summary.last_sequence_number for summary in summaries] == [33, 0, 33, 1, 1, 33]
    assert [summary.unread_count for summary in summaries] == [20, 0, 2, 0, 0, 0]
    assert [summary.last_message.sequence_number for summary in summaries] == [31, 0, 31, 0, 1, 31]
    assert [summary.HasField("last_message") for summary in summaries] == [True, False, True, False, True, True]
    assert summaries[0].last_activity_time.ToMilliseconds() == int(documents[-1]["stored_at"].timestamp() * 1000)
    assert not summaries[1].HasField("last_activity_time")
    too_many = pb.SummarizeConversationsRequest(items=items * 40)
    assert refused(lambda: service.call(None, "SummarizeConversations", too_many)) == ("INVALID_ARGUMENT", "TOO_MANY_ITEMS")
    assert service.call(None, "SummarizeConversations", pb.SummarizeConversationsRequest()).summaries == []
    stranger = world.user()
    request = pb.SummarizeConversationsRequest(items=items)
    assert refused(lambda: service.call(stranger, "SummarizeConversations", request)) == ("PERMISSION_DENIED", "INTERNAL_METHOD")


def test_summaries_do_a_bounded_number_of_operations(world: World, service: MessageProcess) -> None:
    """However many conversations: three operations at most, and the newest entries cost one index key each."""
    me, other = new_id(), new_id()
    conversations = [new_id() for _ in range(200)]
    system = {"kind": "conversation_updated", "payload": {"type": "system", "data": {"title": "t"}}}
    for index, conversation in enumerate(conversations):
        world.write(conversation, [{"from_user_id": other}] * 20 + ([system] if index % 2 else []))
    request = pb.SummarizeConversationsRequest(
        items=[
            pb.SummaryRequest(conversation_id=conversation, user_id=me, read_sequence_number=5) for conversation in conversations
        ]
    )
    service.call(None, "SummarizeConversations", request)
    world.database["system.profile"].drop()
    world.database.command({"profile": 2})
    try:
        answer = service.call(None, "SummarizeConversations", request)
    finally:
        world.database.command({"profile": 0})
    assert [summary.unread_count for summary in answer.summaries] == [15] * 200
    profile = world.database["system.profile"]
    operations = list(profile.find({"command.aggregate": {"$exists": True}, "op": "command"}))
    assert 0 < len(operations) <= 3
    newest = next(operation for operation in operations if operation["command"]["aggregate"] == "messages")
    assert newest["planSummary"].startswith("DISTINCT_SCAN")
    assert newest["keysExamined"] <= 2 * 200 + 2
    assert newest["docsExamined"] <= 200
    unread = [operation for operation in operations if operation["command"]["aggregate"] != "messages"]
    assert unread
    for operation in unread:
        assert operation["docsExamined"] <= 200 * 20, operation["docsExamined"]


def test_newest_entries_by_distinct_scan(world: World, service: MessageProcess) -> None:
    """The plan itself: no scan over a conversation's entries."""
    conversation = new_id()
    world.write(conversation, [{}] * 50)
    pipeline = newest_pipeline([conversation, new_id()])
    plan = world.database.command(
        {"explain": {"aggregate": "messages", "pipeline": pipeline, "cursor": {}, "hint": INDEX}, "verbosity": "queryPlanner"}
    )
    assert "DISTINCT_SCAN" in str(plan)
