"""Creating: once per pair and request, only with users of the tenant, and never without its event."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import pytest
from integration.conversation.harness import ConversationProcess, User, World, listening, reading, refused, until

from chat4all.auth.v1 import user_pb2
from chat4all.conversation.v1 import conversation_events_pb2, conversation_pb2, conversation_service_pb2
from chat4all_runtime.ids import new_id

DIRECT = conversation_pb2.CONVERSATION_TYPE_DIRECT
GROUP = conversation_pb2.CONVERSATION_TYPE_GROUP
Create = conversation_service_pb2.CreateConversationRequest


def test_direct_conversation_exists_once_per_pair_whoever_asks_and_at_once(world: World, service: ConversationProcess) -> None:
    """Promise: two people have one direct conversation, also when both create it at the same moment, and it has one event."""
    ana, bob = world.user(), world.user()
    with reading(world, "conversation.created") as topics, ThreadPoolExecutor(8) as pool:
        asked = [(ana, bob), (bob, ana)] * 8
        made = list(pool.map(lambda pair: direct(service, *pair), asked))
        ids = {conversation.conversation_id for conversation in made}
        assert len(ids) == 1
        key = ids.pop()
        event = topics.take(key, 1, conversation_events_pb2.ConversationCreated, "conversation.created")[0]
        assert {member.user_id for member in event.members} == {ana.id, bob.id}
        topics.read_on(1.0)
        assert len(topics.all(key, "conversation.created")) == 1
    assert {conversation.my_membership.role for conversation in made} == {conversation_pb2.MEMBER_ROLE_MEMBER}
    assert {conversation.member_count for conversation in made} == {2}


def test_group_is_made_once_per_request_id(world: World, service: ConversationProcess) -> None:
    """Promise: a creating call can be made again; the same id for something else is refused and changes nothing."""
    ana, bob, request_id = world.user(), world.user(), new_id()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: service.group(ana, bob, title="Team", request_id=request_id), range(8)))
    assert len({conversation.conversation_id for conversation in made}) == 1
    first = made[0]
    assert first.title == "Team"
    assert first.my_membership.role == conversation_pb2.MEMBER_ROLE_OWNER
    assert first.etag
    assert first.last_sequence_number == 0
    conflict = refused(lambda: service.group(ana, bob, title="Other", request_id=request_id))
    assert conflict == ("ALREADY_EXISTS", "REQUEST_ID_CONFLICT")
    # Somebody else's request under the same id is another conversation.
    assert service.group(bob, ana, title="Team", request_id=request_id).conversation_id != first.conversation_id


def test_members_must_be_users_of_the_tenant(world: World, service: ConversationProcess) -> None:
    """Promise: unknown people, people of other tenants and deleted ones are refused alike."""
    ana, stranger = world.user(), world.user("elsewhere")
    deleted = User(world.auth.add(status=user_pb2.USER_STATUS_DELETED), ())
    for other in (User(new_id(), ()), stranger, deleted):
        assert refused(partial(service.group, ana, other)) == ("INVALID_ARGUMENT", "MEMBER_NOT_FOUND")
        assert refused(partial(direct, service, ana, other)) == ("INVALID_ARGUMENT", "MEMBER_NOT_FOUND")


def test_a_thousand_members_fit_and_one_more_does_not(world: World, service: ConversationProcess) -> None:
    """Promise: the limit is 1,000 with the creator; auth is asked in bundles of 200."""
    ana = world.user()
    others = [world.auth.add() for _ in range(1000)]
    world.auth.calls = 0
    request = Create(type=GROUP, member_ids=others[:999], request_id=new_id())
    made = service.call(ana, "CreateConversation", request)
    assert made.member_count == 1000
    assert world.auth.calls == 5
    too_many = Create(type=GROUP, member_ids=others, request_id=new_id())
    assert refused(lambda: service.call(ana, "CreateConversation", too_many)) == ("INVALID_ARGUMENT", "TOO_MANY_MEMBERS")
    add = conversation_service_pb2.AddMembersRequest(conversation_id=made.conversation_id, user_ids=others[999:])
    assert refused(lambda: service.call(ana, "AddMembers", add)) == ("FAILED_PRECONDITION", "TOO_MANY_MEMBERS")
    seen, token = [], ""
    while True:
        page = service.call(
            None,
            "ListMembers",
            conversation_service_pb2.ListMembersRequest(conversation_id=made.conversation_id, page_size=400, page_token=token),
        )
        seen += [member.user_id for member in page.members]
        assert page.tenant_id == "default"
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == sorted([ana.id, *others[:999]])


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Create(member_ids=[new_id()], request_id="r"), "TYPE_INVALID"),
        (Create(type=9, member_ids=[new_id()], request_id="r"), "TYPE_INVALID"),  # type: ignore[arg-type]
        (Create(type=GROUP, request_id="r"), "FIELD_REQUIRED"),
        (Create(type=GROUP, member_ids=[new_id()]), "FIELD_REQUIRED"),
        (Create(type=GROUP, member_ids=["bob"], request_id="r"), "MEMBER_ID_INVALID"),
        (Create(type=GROUP, member_ids=[new_id()], request_id="r" * 101), "REQUEST_ID_TOO_LONG"),
        (Create(type=GROUP, member_ids=[new_id()], request_id="r", title="x" * 201), "TITLE_TOO_LONG"),
        (Create(type=GROUP, member_ids=[new_id()], request_id="r", title="a\x07b"), "CONTROL_CHARACTER"),
        (Create(type=GROUP, member_ids=[new_id()], request_id="r\0"), "CONTROL_CHARACTER"),
        (Create(type=DIRECT, member_ids=[new_id()], title="Us"), "TITLE_NOT_ALLOWED"),
        (Create(type=DIRECT, member_ids=[new_id(), new_id()]), "MEMBER_IDS_INVALID"),
    ],
)
def test_malformed_requests_are_refused(world: World, service: ConversationProcess, request_: Create, reason: str) -> None:
    """Promise: bad input is 400 with a reason, never a 500."""
    assert refused(lambda: service.call(world.user(), "CreateConversation", request_)) == ("INVALID_ARGUMENT", reason)


def test_a_direct_conversation_with_oneself_is_refused(world: World, service: ConversationProcess) -> None:
    """Promise: a direct conversation is with exactly one other."""
    ana = world.user()
    assert refused(lambda: direct(service, ana, ana)) == ("INVALID_ARGUMENT", "MEMBER_IDS_INVALID")


def test_connected_members_hear_of_it(world: World, service: ConversationProcess) -> None:
    """Promise: everybody in it at the start, the creator included, gets the line on their own channel."""
    ana, bob = world.user(), world.user()
    with listening(world, f"user:{ana.id}:events", f"user:{bob.id}:events") as take:
        made = service.group(ana, bob, title="Team")
        lines = take(2)
    assert {channel for channel, _, _ in lines} == {f"user:{ana.id}:events", f"user:{bob.id}:events"}
    for _, fields, frame in lines:
        assert fields == ["a", "0", ana.id, made.conversation_id]
        assert frame["type"] == "event"
        assert frame["event_type"] == "conversation.created"
        assert frame["conversation_id"] == made.conversation_id
        assert frame["data"]["title"] == "Team"
        assert frame["time"].endswith("Z")


def test_auth_away_refuses_and_leaves_nothing(world: World, service: ConversationProcess) -> None:
    """Promise: a peer that is away is UNAVAILABLE; what exists already is still given."""
    ana, bob, request_id = world.user(), world.user(), new_id()
    existing = direct(service, ana, bob)
    world.auth.server.stop()
    try:
        away = refused(lambda: service.group(ana, bob, request_id=request_id))
        assert away == ("UNAVAILABLE", "AUTH_UNAVAILABLE")
        assert direct(service, ana, bob).conversation_id == existing.conversation_id
    finally:
        world.auth.server.start()
    assert world.sql("select 1 from conversations where request_id = $1", request_id) == []
    # The channel comes back by itself, with a backoff.
    until(lambda: can_make(service, ana, bob), 15.0)


def can_make(service: ConversationProcess, one: User, other: User) -> bool:
    """Whether a group can be made."""
    try:
        service.group(one, other)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


def direct(service: ConversationProcess, one: User, other: User) -> conversation_pb2.Conversation:
    """Ask for the direct conversation of two."""
    answer: conversation_pb2.Conversation = service.call(one, "CreateConversation", Create(type=DIRECT, member_ids=[other.id]))
    return answer
