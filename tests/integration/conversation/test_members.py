"""Members: who may do what, the owner who always is, and each change as an entry of the log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from integration.conversation.harness import ConversationProcess, User, World, listening, reading, refused

from chat4all.conversation.v1 import conversation_events_pb2, conversation_pb2
from chat4all.conversation.v1 import conversation_service_pb2 as api
from chat4all.message.v1 import message_events_pb2
from chat4all_runtime.ids import is_uuid7, new_id

MEMBER = conversation_pb2.MEMBER_ROLE_MEMBER
ADMIN = conversation_pb2.MEMBER_ROLE_ADMIN
OWNER = conversation_pb2.MEMBER_ROLE_OWNER
NOT_FOUND = ("NOT_FOUND", "CONVERSATION_NOT_FOUND")
NOT_ALLOWED = ("PERMISSION_DENIED", "NOT_ALLOWED")


class Room:
    """One group and what its members can do in it."""

    def __init__(self, service: ConversationProcess, owner: User, *members: User) -> None:
        self.service = service
        self.made = service.group(owner, *members, title="Room")
        self.id = self.made.conversation_id

    def add(self, actor: User, *people: User, role: conversation_pb2.MemberRole = MEMBER) -> list[conversation_pb2.Member]:
        """Add people."""
        request = api.AddMembersRequest(conversation_id=self.id, user_ids=[person.id for person in people], role=role)
        return list(self.service.call(actor, "AddMembers", request).members)

    def set_role(self, actor: User, target: User, role: conversation_pb2.MemberRole) -> conversation_pb2.Member:
        """Give a role."""
        member = conversation_pb2.Member(user_id=target.id, role=role)
        answer: conversation_pb2.Member = self.service.call(
            actor, "UpdateMember", api.UpdateMemberRequest(conversation_id=self.id, member=member)
        )
        return answer

    def remove(self, actor: User, target: User | str) -> None:
        """Take somebody out."""
        user_id = target if isinstance(target, str) else target.id
        self.service.call(actor, "RemoveMember", api.RemoveMemberRequest(conversation_id=self.id, user_id=user_id))

    def rename(self, actor: User, title: str, etag: str = "", *paths: str) -> conversation_pb2.Conversation:
        """Change the title."""
        wanted = conversation_pb2.Conversation(conversation_id=self.id, title=title, etag=etag)
        request = api.UpdateConversationRequest(conversation=wanted, update_mask=FieldMask(paths=paths))
        answer: conversation_pb2.Conversation = self.service.call(actor, "UpdateConversation", request)
        return answer

    def archive(self, actor: User) -> conversation_pb2.Conversation:
        """Archive it."""
        answer: conversation_pb2.Conversation = self.service.call(
            actor, "ArchiveConversation", api.ArchiveConversationRequest(conversation_id=self.id)
        )
        return answer

    def get(self, actor: User) -> conversation_pb2.Conversation:
        """The conversation as the actor sees it."""
        answer: conversation_pb2.Conversation = self.service.call(
            actor, "GetConversation", api.GetConversationRequest(conversation_id=self.id)
        )
        return answer

    def roles(self, actor: User) -> dict[str, int]:
        """Everybody in it with their role."""
        page = self.service.call(actor, "ListMembers", api.ListMembersRequest(conversation_id=self.id))
        return {member.user_id: member.role for member in page.members}


def test_changes_of_members_and_title_are_events_and_entries_of_the_log(world: World, service: ConversationProcess) -> None:
    """Promise: each change is told on conversation.updated and takes one entry of the log, in the order of the changes."""
    ana, bob, eve = world.user(), world.user(), world.user()
    room = Room(service, ana, bob)
    channels = (f"user:{eve.id}:events", f"user:{bob.id}:events")
    with reading(world, "conversation.updated", "message.sent") as topics, listening(world, *channels) as take:
        assert [member.user_id for member in room.add(ana, eve, bob)] == [bob.id, eve.id]
        room.rename(ana, "New name")
        room.remove(ana, eve)
        room.remove(bob, "me")
        updates = topics.take(room.id, 4, conversation_events_pb2.ConversationUpdated, "conversation.updated")
        records = topics.records(room.id, 4, "message.sent")
        lines = take(3)
    assert [member.user_id for member in updates[0].added_members] == [eve.id]
    assert updates[1].title == "New name"
    assert list(updates[2].removed_user_ids) == [eve.id]
    assert list(updates[3].removed_user_ids) == [bob.id]
    assert [update.changed_by for update in updates] == [ana.id, ana.id, ana.id, bob.id]
    commands = [message_events_pb2.MessageCommand.FromString(record.value() or b"") for record in records]
    assert [command.kind for command in commands] == [
        "member_added",
        "conversation_updated",
        "member_removed",
        "member_removed",
    ]
    assert {command.content.type for command in commands} == {"system"}
    data = [MessageToDict(command.content.data) for command in commands]
    assert data[0] == {"added_user_ids": [eve.id], "changed_by": ana.id}
    assert data[1] == {"title": "New name", "changed_by": ana.id}
    assert data[2] == {"removed_user_id": eve.id, "changed_by": ana.id}
    assert data[3] == {"removed_user_id": bob.id, "changed_by": bob.id}
    for command, record in zip(commands, records, strict=True):
        headers = dict(record.headers() or [])
        assert is_uuid7(command.message_id)
        assert headers["ce_id"] == command.message_id.encode()
        assert headers["ce_type"] == b"chat4all.message.v1.MessageCommand"
        assert headers["tenant_id"] == b"default"
        assert len(command.digest) == 64
    assert [(channel, fields, frame["event_type"]) for channel, fields, frame in lines] == [
        (f"user:{eve.id}:events", ["a", "0", ana.id, room.id], "conversation.member_added"),
        (f"user:{eve.id}:events", ["x", "0", ana.id, room.id], "conversation.member_removed"),
        (f"user:{bob.id}:events", ["x", "0", bob.id, room.id], "conversation.member_removed"),
    ]
    assert lines[1][2]["data"]["removed_user_id"] == eve.id


def test_who_is_in_stays_as_they_are(world: World, service: ConversationProcess) -> None:
    """Promise: adding somebody again changes neither their role nor the conversation, and is told to nobody."""
    ana, bob = world.user(), world.user()
    room = Room(service, ana, bob)
    room.set_role(ana, bob, ADMIN)
    before = room.get(ana).etag
    with reading(world, "conversation.updated") as topics:
        assert [member.role for member in room.add(ana, bob)] == [ADMIN]
        topics.read_on(1.0)
        assert topics.all(room.id, "conversation.updated") == []
    assert room.get(ana).etag == before


def test_who_left_can_come_back_with_their_marks(world: World, service: ConversationProcess) -> None:
    """Promise: marks only grow, over leaving and coming back as well."""
    ana, bob = world.user(), world.user()
    room = Room(service, ana, bob)
    world.messages.append(room.id, ana.id)
    service.call(bob, "MarkConversationRead", api.MarkConversationReadRequest(conversation_id=room.id, sequence_number=1))
    room.remove(bob, bob)
    assert room.get(ana).member_count == 1
    assert refused(lambda: room.get(bob)) == NOT_FOUND
    again = room.add(ana, bob)[0]
    assert again.read_sequence_number == 1
    assert room.get(bob).member_count == 2


def test_roles_decide(world: World, service: ConversationProcess) -> None:
    """Promise: members change nothing, admins people and title, owners everything; deny by default."""
    ana, adam, mia, new = world.user(), world.user(), world.user(), world.user()
    room = Room(service, ana, adam, mia)
    room.set_role(ana, adam, ADMIN)
    for forbidden in (
        lambda: room.add(mia, new),
        lambda: room.rename(mia, "x"),
        lambda: room.remove(mia, adam),
        lambda: room.set_role(mia, mia, OWNER),
        lambda: room.archive(mia),
        lambda: room.add(adam, new, role=ADMIN),
        lambda: room.remove(adam, ana),
        lambda: room.set_role(adam, adam, OWNER),
        lambda: room.archive(adam),
    ):
        assert refused(forbidden) == NOT_ALLOWED
    room.add(adam, new)
    room.rename(adam, "By admin")
    room.remove(adam, new)
    room.add(ana, new, role=ADMIN)
    assert refused(lambda: room.remove(adam, new)) == NOT_ALLOWED
    assert refused(lambda: room.add(ana, new, role=OWNER)) == ("INVALID_ARGUMENT", "ROLE_INVALID")
    assert room.roles(mia) == {ana.id: OWNER, adam.id: ADMIN, mia.id: MEMBER, new.id: ADMIN}


def test_a_conversation_with_members_keeps_an_owner(world: World, service: ConversationProcess) -> None:
    """Promise: the last owner can neither step down nor leave others behind, also when two owners go at the same moment."""
    ana, bob, eve = world.user(), world.user(), world.user()
    room = Room(service, ana, bob, eve)
    last = ("FAILED_PRECONDITION", "LAST_OWNER")
    assert refused(lambda: room.set_role(ana, ana, MEMBER)) == last
    assert refused(lambda: room.remove(ana, "me")) == last
    room.set_role(ana, bob, OWNER)

    def leave(who: User) -> bool:
        try:
            room.remove(who, "me")
        except grpc.RpcError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(leave, [ana, bob])) == [False, True]
    assert OWNER in room.roles(eve).values()
    alone = Room(service, ana, bob)
    alone.remove(ana, bob)
    alone.remove(ana, "me")
    assert refused(lambda: alone.get(ana)) == NOT_FOUND


def test_direct_conversations_keep_their_members(world: World, service: ConversationProcess) -> None:
    """Promise: nobody can be added to, removed from or leave a direct conversation; it has no title and no owner."""
    ana, bob, eve = world.user(), world.user(), world.user()
    request = api.CreateConversationRequest(type=conversation_pb2.CONVERSATION_TYPE_DIRECT, member_ids=[bob.id])
    room = Room.__new__(Room)
    room.service, room.id = service, service.call(ana, "CreateConversation", request).conversation_id
    for forbidden in (
        lambda: room.add(ana, eve),
        lambda: room.remove(ana, bob),
        lambda: room.remove(ana, "me"),
        lambda: room.set_role(ana, bob, ADMIN),
        lambda: room.rename(ana, "Us"),
        lambda: room.archive(ana),
    ):
        assert refused(forbidden) == ("FAILED_PRECONDITION", "DIRECT_CONVERSATION")


def test_archived_conversations_stay_readable_and_take_nothing_new(world: World, service: ConversationProcess) -> None:
    """Promise: archiving twice is the same; nothing is added afterwards, leaving is possible, connected members hear of it."""
    ana, bob, eve = world.user(), world.user(), world.user()
    room = Room(service, ana, bob)
    with reading(world, "conversation.updated") as topics, listening(world, f"conversation:{room.id}:events") as take:
        first = room.archive(ana)
        assert first.archived
        assert room.archive(ana).etag == first.etag
        event = topics.take(room.id, 1, conversation_events_pb2.ConversationUpdated, "conversation.updated")[0]
        assert event.archived
        [(_, fields, frame)] = take(1)
        assert fields[:2] == ["t", "0"]
        assert frame["event_type"] == "conversation.updated"
        assert frame["data"]["archived"] is True
    archived = ("FAILED_PRECONDITION", "CONVERSATION_ARCHIVED")
    assert refused(lambda: room.add(ana, eve)) == archived
    assert refused(lambda: room.rename(ana, "x")) == archived
    assert room.get(bob).archived
    internal = service.call(None, "ListMembers", api.ListMembersRequest(conversation_id=room.id))
    assert internal.archived
    room.remove(bob, "me")


def test_stale_changes_are_refused(world: World, service: ConversationProcess) -> None:
    """Promise: with an etag a change on stale data is ABORTED and changes nothing; of two at once exactly one wins."""
    ana, bob = world.user(), world.user()
    room = Room(service, ana, bob)
    etag = room.made.etag

    def attempt(title: str) -> str:
        try:
            return room.rename(ana, title, etag).title
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ABORTED:
                raise
            return ""

    with ThreadPoolExecutor(4) as pool:
        results = [title for title in pool.map(attempt, ["a", "b", "c", "d"]) if title]
    assert len(results) == 1
    assert room.get(bob).title == results[0]
    assert refused(lambda: room.rename(ana, "z", etag)) == ("ABORTED", "ETAG_MISMATCH")
    assert room.rename(ana, "", "", "title").title == ""
    assert refused(lambda: room.rename(ana, "")) == ("INVALID_ARGUMENT", "UPDATE_MASK_INVALID")
    assert refused(lambda: room.rename(ana, "x", "", "type")) == ("INVALID_ARGUMENT", "UPDATE_MASK_INVALID")


def test_others_do_not_learn_that_it_exists(world: World, service: ConversationProcess) -> None:
    """Promise: for everybody who is not in it, of the tenant or not, every method says NOT_FOUND."""
    ana, bob, out, foreign = world.user(), world.user(), world.user(), world.user("elsewhere")
    room = Room(service, ana, bob)
    read = api.MarkConversationReadRequest(conversation_id=room.id, sequence_number=1)
    for who in (out, foreign):
        for forbidden in (
            lambda who=who: room.get(who),
            lambda who=who: room.roles(who),
            lambda who=who: room.add(who, who),
            lambda who=who: room.rename(who, "x"),
            lambda who=who: room.archive(who),
            lambda who=who: room.set_role(who, bob, ADMIN),
            lambda who=who: room.remove(who, bob),
            lambda who=who: room.remove(who, "me"),
            lambda who=who: service.call(who, "MarkConversationRead", read),
        ):
            assert refused(forbidden) == NOT_FOUND
    assert refused(lambda: room.remove(ana, out)) == ("NOT_FOUND", "MEMBER_NOT_FOUND")


@pytest.mark.parametrize("method", ["RecordMarks", "ListMemberships"])
def test_internal_methods_are_closed_to_users(world: World, service: ConversationProcess, method: str) -> None:
    """Promise: users cannot call what is for our own processes."""
    request = getattr(api, f"{method}Request")()
    assert refused(lambda: service.call(world.user(), method, request)) == ("PERMISSION_DENIED", "INTERNAL_METHOD")


def test_lists_of_members_page_in_order_of_joining(world: World, service: ConversationProcess) -> None:
    """Promise: every member comes once, in order of joining; sizes have their limits, tokens are checked."""
    ana = world.user()
    others = [world.user() for _ in range(4)]
    room = Room(service, ana, others[0])
    for other in others[1:]:
        room.add(ana, other)
    seen, token = [], ""
    while True:
        request = api.ListMembersRequest(conversation_id=room.id, page_size=2, page_token=token)
        page = service.call(ana, "ListMembers", request)
        assert not page.tenant_id
        seen += [member.user_id for member in page.members]
        token = page.next_page_token
        if not token:
            break
    assert set(seen[:2]) == {ana.id, others[0].id}
    assert seen[2:] == [other.id for other in others[1:]]
    too_long = api.ListMembersRequest(conversation_id=room.id, page_size=201)
    assert refused(lambda: service.call(ana, "ListMembers", too_long)) == ("INVALID_ARGUMENT", "PAGE_SIZE_INVALID")
    assert len(service.call(None, "ListMembers", too_long).members) == 5
    for bad in ("nonsense", "WzEsMl0", "WzEsIngiXQ"):
        wrong = api.ListMembersRequest(conversation_id=room.id, page_token=bad)
        answer = refused(partial(service.call, ana, "ListMembers", wrong))
        assert answer == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
    nowhere = api.ListMembersRequest(conversation_id=new_id())
    assert refused(lambda: service.call(None, "ListMembers", nowhere)) == NOT_FOUND
