"""Sending through the real process, Kafka, MongoDB and Redis; conversation and file service are small real gRPC servers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from integration.message.harness import (
    MessageProcess,
    SentReader,
    World,
    info_of,
    reason_of,
    refused,
    text,
    texts,
    until,
)

from chat4all.conversation.v1 import conversation_events_pb2
from chat4all.message.v1 import message_events_pb2, message_pb2
from chat4all.message.v1 import message_service_pb2 as pb
from chat4all_runtime.ids import new_id

ACCEPTED, STORED = message_pb2.MESSAGE_STATE_ACCEPTED, message_pb2.MESSAGE_STATE_STORED


def test_accepted_message_is_in_kafka(world: World, service: MessageProcess, sent: SentReader) -> None:
    """What was accepted is a complete command on message.sent, with the message id as event id and the conversation as key."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    request = text(conversation, " hello ", reply_to_message_id=new_id(), thread_id=new_id())
    answer = service.send(me, request)
    assert answer.state == answer.message.state == ACCEPTED
    assert answer.message.sequence_number == 0
    assert answer.message.content.text == "hello"
    assert (answer.message.from_user_id, answer.message.kind) == (me.id, "message")
    (record,) = sent.records(conversation, 1)
    command = message_events_pb2.MessageCommand.FromString(record.value())
    headers = dict(record.headers())
    assert headers["ce_id"] == request.message_id.encode()
    assert headers["ce_type"] == b"chat4all.message.v1.MessageCommand"
    assert headers["tenant_id"] == b"default"
    assert command.accept_time == answer.message.create_time
    assert command.content == answer.message.content
    assert (command.tenant_id, command.from_user_id, command.kind) == ("default", me.id, "message")
    assert (command.reply_to_message_id, command.thread_id) == (request.reply_to_message_id, request.thread_id)
    assert len(command.digest) == 64


def test_resend_and_conflict(world: World, service: MessageProcess, sent: SentReader) -> None:
    """The same id gives the first result, before and after it is stored; other use of it is refused without a word about it."""
    me, other = world.user(), world.user()
    conversation = world.conversations.add(me.id, other.id)
    request = text(conversation)
    first = service.send(me, request)
    assert service.send(me, request) == first
    (command,) = sent.take(conversation, 1)
    world.store(command, 9)

    def stored() -> pb.SendMessageResponse | None:
        answer = service.send(me, request)
        return answer if answer.state == STORED else None

    answer = until(stored)
    assert answer.message.sequence_number == 9
    assert answer.message.create_time == first.message.create_time
    with pytest.raises(grpc.RpcError) as caught:
        service.send(other, request)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert "MESSAGE_ID_CONFLICT" in str(refused(lambda: service.send(me, text(conversation, "other", request.message_id))))
    assert len(sent.all(conversation)) == 1


def test_resend_by_another_entrance_and_another_copy(world: World, service: MessageProcess, sent: SentReader) -> None:
    """The first result comes from the log when another copy of the process took the message, by whichever entrance."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    request = text(conversation)
    first = service.send(me, request)
    world.store(sent.take(conversation, 1)[0], 3)
    with MessageProcess(world, CHAT4ALL_INSTANCE="2") as second:
        second.wait_ready()
        submission = pb.Submission(tenant_id="default", sender_user_id=me.id, request=request)
        answer = second.call(None, "SubmitMessages", pb.SubmitMessagesRequest(submissions=[submission]))
    (result,) = answer.results
    assert (result.state, result.message.sequence_number) == (STORED, 3)
    assert result.message.create_time == first.message.create_time
    assert result.message.content == first.message.content


def test_batch_has_a_result_each(world: World, service: MessageProcess, sent: SentReader) -> None:
    """Up to 200 in order; a bad one fails alone; the conversation may be left out of the items but not differ."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    items = [text("", f"{number}") for number in range(200)]
    items[10].content.text = "x" * 10_001
    items[20].conversation_id = new_id()
    items[30].content.type = "system"
    items[40].message_id = "x"
    answer = service.call(me, "SendMessageBatch", pb.SendMessageBatchRequest(conversation_id=conversation, messages=items))
    assert [result.message_id for result in answer.results] == [item.message_id for item in items]
    bad = {index: reason_of(result.error) for index, result in enumerate(answer.results) if result.HasField("error")}
    assert bad == {
        10: "MESSAGE_TOO_LONG",
        20: "CONVERSATION_ID_INVALID",
        30: "CONTENT_TYPE_RESERVED",
        40: "MESSAGE_ID_INVALID",
    }
    assert texts(sent.take(conversation, 196)) == [f"{number}" for number in range(200) if number not in bad]
    too_many = pb.SendMessageBatchRequest(conversation_id=conversation, messages=[text("") for _ in range(201)])
    assert refused(lambda: service.call(me, "SendMessageBatch", too_many)) == ("INVALID_ARGUMENT", "TOO_MANY_ITEMS")
    none = pb.SendMessageBatchRequest(conversation_id=conversation)
    assert refused(lambda: service.call(me, "SendMessageBatch", none)) == ("INVALID_ARGUMENT", "ITEMS_REQUIRED")


def test_submissions_of_many_senders(world: World, service: MessageProcess, sent: SentReader) -> None:
    """Each item has its own sender and tenant; who is not a member is refused alone; users cannot call it at all."""
    users = [world.user() for _ in range(3)]
    foreign = world.user("elsewhere")
    conversations = [world.conversations.add(*(user.id for user in users)) for _ in range(3)]
    submissions = [
        pb.Submission(tenant_id="default", sender_user_id=user.id, request=text(conversation, f"{user.id}"))
        for conversation in conversations
        for user in users
    ]
    submissions.append(pb.Submission(tenant_id="elsewhere", sender_user_id=foreign.id, request=text(conversations[0])))
    submissions.append(pb.Submission(tenant_id="elsewhere", sender_user_id=users[0].id, request=text(conversations[0])))
    submissions.append(pb.Submission(tenant_id="default", sender_user_id="?", request=text(conversations[0])))
    request = pb.SubmitMessagesRequest(submissions=submissions)
    answer = service.call(None, "SubmitMessages", request)
    assert [reason_of(result.error) for result in answer.results] == [""] * 9 + [
        "CONVERSATION_NOT_FOUND",
        "CONVERSATION_NOT_FOUND",
        "SENDER_USER_ID_INVALID",
    ]
    for conversation in conversations:
        assert texts(sent.take(conversation, 3)) == [user.id for user in users]
    assert refused(lambda: service.call(users[0], "SubmitMessages", request)) == ("PERMISSION_DENIED", "INTERNAL_METHOD")


def test_strangers_learn_nothing(world: World, service: MessageProcess) -> None:
    """Not a member, of another tenant, or no such conversation: the same NOT_FOUND, for sending and for reading."""
    me, stranger, foreign = world.user(), world.user(), world.user("elsewhere")
    conversation = world.conversations.add(me.id, foreign.id)
    service.send(me, text(conversation))
    expected = ("NOT_FOUND", "CONVERSATION_NOT_FOUND")
    listing = pb.ListMessagesRequest(conversation_id=conversation)
    assert refused(lambda: service.send(stranger, text(conversation))) == expected
    assert refused(lambda: service.send(foreign, text(conversation))) == expected
    assert refused(lambda: service.call(stranger, "ListMessages", listing)) == expected
    assert refused(lambda: service.call(foreign, "ListMessages", listing)) == expected
    assert refused(lambda: service.send(me, text(new_id()))) == expected


def test_archived(world: World, service: MessageProcess) -> None:
    """Archived conversations take no new messages and stay readable."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    world.conversations.archive(conversation)
    assert refused(lambda: service.send(me, text(conversation))) == ("FAILED_PRECONDITION", "CONVERSATION_ARCHIVED")
    assert service.call(me, "ListMessages", pb.ListMessagesRequest(conversation_id=conversation)).last_sequence_number == 0


def test_every_kind_of_content(world: World, service: MessageProcess, sent: SentReader) -> None:
    """Each type reaches Kafka as it was sent; numbers and structures included."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    contents = [
        message_pb2.MessageContent(type="text", text="**x**", format="markdown"),
        message_pb2.MessageContent(type="image", file_id=world.files.add(me.id, conversation), caption="look"),
        message_pb2.MessageContent(type="location", latitude=-23.55, longitude=-46.63, name="here"),
    ]
    for kind in ("contact", "interactive", "template"):
        content = message_pb2.MessageContent(type=kind)
        content.data.update({"a": [1, 2.5, None, {"b": True}]})
        contents.append(content)
    for content in contents:
        request = pb.SendMessageRequest(conversation_id=conversation, message_id=new_id(), content=content)
        assert service.send(me, request).message.content == content
    assert [command.content for command in sent.take(conversation, len(contents))] == contents


def test_files_are_checked_once_for_a_batch(world: World, service: MessageProcess) -> None:
    """Only completed uploads of the sender in this conversation can be sent; one question for a whole batch."""
    me, other = world.user(), world.user()
    conversation = world.conversations.add(me.id, other.id)
    files = [
        world.files.add(me.id, conversation),
        world.files.add(me.id, conversation, ready=False),
        world.files.add(other.id, conversation),
        new_id(),
        world.files.add(me.id, conversation),
    ]
    calls = len(world.files.calls)
    items = [
        pb.SendMessageRequest(message_id=new_id(), content=message_pb2.MessageContent(type="file", file_id=file_id))
        for file_id in files
    ]
    answer = service.call(me, "SendMessageBatch", pb.SendMessageBatchRequest(conversation_id=conversation, messages=items))
    assert [reason_of(result.error) for result in answer.results] == [
        "",
        "FILE_NOT_READY",
        "FILE_NOT_FOUND",
        "FILE_NOT_FOUND",
        "",
    ]
    assert world.files.calls[calls:] == [5]
    world.files.remove(files[0])
    items[0].conversation_id = conversation
    assert service.send(me, items[0]).state == ACCEPTED


def test_order_of_one_sender_is_kept(world: World, service: MessageProcess, sent: SentReader) -> None:
    """What one call carries, and what is sent after an answer, is in Kafka in that order: cold start and file checks included.

    Calls under way at the same time have no order: gRPC itself may hand them to the service in another one than they were made.
    """
    me = world.user()
    conversation = world.conversations.add(me.id)
    file_id = world.files.add(me.id, conversation)

    def request(number: int) -> pb.SendMessageRequest:
        if number % 25:
            return text(conversation, f"{number}")
        content = message_pb2.MessageContent(type="image", file_id=file_id, caption=f"{number}")
        return pb.SendMessageRequest(conversation_id=conversation, message_id=new_id(), content=content)

    world.conversations.gate.clear()
    batch = pb.SendMessageBatchRequest(conversation_id=conversation, messages=[request(number) for number in range(100)])
    call = service.begin(me, "SendMessageBatch", batch)
    world.conversations.gate.set()
    call.result(timeout=20)
    for number in range(100, 150):
        service.send(me, request(number))
    order = [command.content.text or command.content.caption for command in sent.take(conversation, 150)]
    assert order == [f"{number}" for number in range(150)]


def test_waiting_for_the_number_by_hint(world: World, service: MessageProcess, sent: SentReader) -> None:
    """With wait_for STORED the answer has the number; after a publication it comes at once."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    call = service.begin(me, "SendMessage", text(conversation, wait_for=pb.WAIT_FOR_STORED))
    (command,) = sent.take(conversation, 1)
    until(lambda: world.redis.pubsub_numsub(f"conversation:{conversation}:events")[0][1] == 1)
    world.store(command, 5)
    answer = call.result(timeout=5)
    assert (answer.state, answer.message.sequence_number) == (STORED, 5)
    # Nobody waits any more, so nobody listens any more.
    until(lambda: world.redis.pubsub_numsub(f"conversation:{conversation}:events")[0][1] == 0)


def test_waiting_for_the_number_without_a_hint(world: World, service: MessageProcess, sent: SentReader) -> None:
    """A lost publication only costs time."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    items = [text("", f"{number}", wait_for=pb.WAIT_FOR_STORED) for number in range(3)]
    call = service.begin(me, "SendMessageBatch", pb.SendMessageBatchRequest(conversation_id=conversation, messages=items))
    for number, command in enumerate(sent.take(conversation, 3), 1):
        world.store(command, number, publish=False)
    assert [result.message.sequence_number for result in call.result(timeout=5).results] == [1, 2, 3]


def test_not_stored_before_the_deadline(world: World, service: MessageProcess, sent: SentReader) -> None:
    """Accepted without a number in time says so, and sending it again is safe."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    request = text(conversation, wait_for=pb.WAIT_FOR_STORED)
    assert refused(lambda: service.send(me, request, timeout=1.0)) == ("DEADLINE_EXCEEDED", "NOT_STORED_YET")
    call = service.begin(me, "SendMessage", request)
    world.store(sent.take(conversation, 1)[0], 1)
    assert call.result(timeout=5).message.sequence_number == 1
    assert len(sent.all(conversation)) == 1


def test_changes_of_membership_take_effect_by_event(world: World, service: MessageProcess) -> None:
    """A removed member is refused as soon as the conversation's event arrives; an added one is let in even before."""
    me, guest = world.user(), world.user()
    conversation = world.conversations.add(me.id)
    service.send(me, text(conversation))
    assert refused(lambda: service.send(guest, text(conversation)))[1] == "CONVERSATION_NOT_FOUND"
    world.conversations.join(conversation, guest.id)
    service.send(guest, text(conversation))
    calls = world.conversations.calls
    for _ in range(5):
        service.send(guest, text(conversation))
    assert world.conversations.calls == calls
    world.conversations.leave(conversation, guest.id)
    event = conversation_events_pb2.ConversationUpdated(conversation_id=conversation, removed_user_ids=[guest.id])
    world.produce("conversation.updated", conversation, event)

    def is_refused() -> bool:
        try:
            service.send(guest, text(conversation))
        except grpc.RpcError:
            return True
        return False

    until(is_refused, seconds=10)
    assert refused(lambda: service.send(guest, text(conversation)))[1] == "CONVERSATION_NOT_FOUND"
    service.send(me, text(conversation))


def test_members_beyond_one_page(world: World, service: MessageProcess) -> None:
    """A conversation with more members than one answer holds is known completely."""
    me = world.user()
    conversation = world.conversations.add(*(new_id() for _ in range(2100)), me.id)
    assert service.send(me, text(conversation)).state == ACCEPTED


def test_many_senders_at_once(world: World, service: MessageProcess, sent: SentReader) -> None:
    """Nothing is lost, doubled or mixed up when many send at once, each id twice."""
    users = [world.user() for _ in range(8)]
    conversation = world.conversations.add(*(user.id for user in users))

    def work(index: int) -> None:
        for number in range(20):
            request = text(conversation, f"{index}-{number}")
            calls = [service.begin(users[index], "SendMessage", request) for _ in range(2)]
            first, second = (call.result(timeout=20) for call in calls)
            assert first.message.create_time == second.message.create_time

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    order = texts(sent.take(conversation, 160))
    assert len(set(order)) == len(order) == 160
    for index in range(8):
        mine = [word for word in order if word.startswith(f"{index}-")]
        assert mine == [f"{index}-{number}" for number in range(20)]


def test_refusals_are_described(world: World, service: MessageProcess) -> None:
    """An error names its domain, its reason and the field."""
    me = world.user()
    conversation = world.conversations.add(me.id)
    request = pb.SendMessageBatchRequest(conversation_id=conversation, messages=[text("", "")])
    (result,) = service.call(me, "SendMessageBatch", request).results
    info = info_of(result.error)
    assert (info.domain, info.reason, info.metadata["field"]) == ("message.chat4all", "TEXT_EMPTY", "content.text")
    assert refused(lambda: service.send(me, text("", "x"))) == ("INVALID_ARGUMENT", "CONVERSATION_ID_INVALID")
