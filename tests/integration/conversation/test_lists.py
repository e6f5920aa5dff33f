"""Lists of conversations: newest activity first, one call for summaries, and sync that tells what changed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import asyncpg
import grpc
from integration.conversation.harness import ConversationProcess, User, World, refused, until

from chat4all.conversation.v1 import conversation_pb2
from chat4all.conversation.v1 import conversation_service_pb2 as api
from chat4all.message.v1 import message_events_pb2
from chat4all_runtime.ids import new_id


def page_of(service: ConversationProcess, user: User, **fields: str | int) -> api.ListConversationsResponse:
    answer: api.ListConversationsResponse = service.call(user, "ListConversations", api.ListConversationsRequest(**fields))  # type: ignore[arg-type]
    return answer


def ids(page: api.ListConversationsResponse) -> list[str]:
    return [conversation.conversation_id for conversation in page.conversations]


def store(world: World, conversation_id: str, from_user_id: str, at: datetime | None = None) -> int:
    """A message in the log, and the fact in Kafka, as the router writes it."""
    message = world.messages.append(conversation_id, from_user_id)
    event = message_events_pb2.MessageStored(message=message)
    event.store_time.FromDatetime(at or datetime.now(UTC))
    world.produce("message.stored", conversation_id, event)
    return message.sequence_number


def last_number(service: ConversationProcess, world: World, conversation_id: str) -> int:
    row = world.sql("select last_sequence_number from conversations where conversation_id = $1", conversation_id)[0]
    return int(row[0])


def test_newest_activity_first_with_summaries_of_the_page(world: World, service: ConversationProcess) -> None:
    """Promise: a page has last message, unread count and my marks, by one call of the message service."""
    ana, bob = world.user(), world.user()
    groups = [service.group(ana, bob).conversation_id for _ in range(5)]
    base = datetime.now(UTC)
    for index in (3, 0, 4, 2, 1):
        base += timedelta(seconds=1)
        store(world, groups[index], bob.id, base)
    until(lambda: all(last_number(service, world, group) == 1 for group in groups))
    world.messages.calls = 0
    seen: list[str] = []
    token = ""
    pages = 0
    while True:
        page = page_of(service, ana, page_size=2, page_token=token)
        pages += 1
        seen += ids(page)
        for conversation in page.conversations:
            assert conversation.last_sequence_number == 1
            assert conversation.last_message.from_user_id == bob.id
            assert conversation.unread_count == 1
            assert conversation.my_membership.user_id == ana.id
        token = page.next_page_token
        if not token:
            break
    assert seen == [groups[index] for index in (1, 2, 4, 0, 3)]
    assert pages == 3
    assert world.messages.calls == pages
    assert page_of(service, bob).conversations[0].unread_count == 0


def test_the_log_carries_on_the_activity(world: World, service: ConversationProcess) -> None:
    """Promise: message.stored raises number and activity, in whatever order and however often it is read."""
    ana, bob = world.user(), world.user()
    group = service.group(ana, bob).conversation_id
    at = datetime.now(UTC) + timedelta(seconds=5)
    for _ in range(3):
        number = store(world, group, bob.id, at)
    assert number == 3
    until(lambda: last_number(service, world, group) == 3)
    # The first one again, as after a restart before the commit of offsets.
    event = message_events_pb2.MessageStored()
    event.message.conversation_id, event.message.sequence_number = group, 1
    event.store_time.FromDatetime(at - timedelta(hours=1))
    world.produce("message.stored", group, event)
    other = service.group(ana, bob).conversation_id
    store(world, other, ana.id)
    until(lambda: last_number(service, world, other) == 1)
    found = service.call(bob, "GetConversation", api.GetConversationRequest(conversation_id=group))
    assert found.last_sequence_number == 3
    assert abs(found.last_activity_time.ToDatetime(tzinfo=UTC) - at) < timedelta(milliseconds=1)


def test_sync_tells_what_changed_and_nothing_else(world: World, service: ConversationProcess) -> None:
    """Promise: with a sync token come new conversations, those with activity, changed ones and those whose marks moved."""
    ana, bob, eve = world.user(), world.user(), world.user()
    quiet, active, renamed, marked, grown = (service.group(ana, bob).conversation_id for _ in range(5))
    store(world, marked, bob.id)
    until(lambda: last_number(service, world, marked) == 1)
    token = settled(service, ana)
    assert page_of(service, ana, changed_since=token).conversations == []
    store(world, active, bob.id)
    service.call(ana, "UpdateConversation", renaming(renamed))
    service.call(ana, "MarkConversationRead", api.MarkConversationReadRequest(conversation_id=marked, sequence_number=1))
    service.call(ana, "AddMembers", api.AddMembersRequest(conversation_id=grown, user_ids=[eve.id]))
    created = service.group(bob, ana).conversation_id
    until(lambda: last_number(service, world, active) == 1)
    page = page_of(service, ana, changed_since=token)
    assert set(ids(page)) == {active, renamed, marked, grown, created}
    assert quiet not in ids(page)
    # The marks of others are not my change.
    later = settled(service, ana)
    service.call(bob, "MarkConversationRead", api.MarkConversationReadRequest(conversation_id=active, sequence_number=1))
    assert ids(page_of(service, ana, changed_since=later)) == []


def test_sync_misses_nothing_that_was_under_way(world: World, service: ConversationProcess) -> None:
    """Promise: a change whose transaction was open when the token was given out comes with the next sync."""
    ana, bob = world.user(), world.user()
    group = service.group(ana, bob).conversation_id
    settled(service, ana)

    async def scenario() -> list[str]:
        connection = await asyncpg.connect(
            world.engines["CHAT4ALL_POSTGRES__DSN"], timeout=5, server_settings={"search_path": "conversation"}
        )
        try:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(
                "update conversations set title = 'late', changed_xid = pg_current_xact_id()::text::bigint"
                " where conversation_id = $1",
                group,
            )
            # Newer transactions commit, then the token is given out, then the old one commits.
            await asyncio.to_thread(service.group, bob, ana)
            token = (await asyncio.to_thread(page_of, service, ana)).sync_token
            await transaction.commit()
        finally:
            await connection.close()
        return ids(await asyncio.to_thread(lambda: page_of(service, ana, changed_since=token)))

    assert group in asyncio.run(scenario())


def test_tokens_are_checked(world: World, service: ConversationProcess) -> None:
    """Promise: a token of another list or none of ours is 400."""
    ana, bob = world.user(), world.user()
    for _ in range(2):
        service.group(ana, bob)
    page = page_of(service, ana, page_size=1)
    invalid = ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
    for fields in (
        {"page_token": page.sync_token},
        {"changed_since": page.next_page_token},
        {"page_token": page.next_page_token, "changed_since": page.sync_token},
        {"page_token": "@@"},
        {"page_token": "WzksOSw5LDld"},
    ):
        assert refused(partial(page_of, service, ana, **fields)) == invalid
    assert refused(lambda: page_of(service, ana, page_size=201)) == ("INVALID_ARGUMENT", "PAGE_SIZE_INVALID")
    assert refused(lambda: service.call(ana, "GetConversation", api.GetConversationRequest(conversation_id="1"))) == (
        "INVALID_ARGUMENT",
        "CONVERSATION_ID_INVALID",
    )


def test_message_service_away(world: World, service: ConversationProcess) -> None:
    """Promise: what needs the message service is UNAVAILABLE while it is away, with nothing changed; the rest goes on."""
    ana, bob = world.user(), world.user()
    group = service.group(ana, bob).conversation_id
    world.messages.server.stop()
    away = ("UNAVAILABLE", "MESSAGE_UNAVAILABLE")
    try:
        assert refused(lambda: page_of(service, ana)) == away
        assert refused(lambda: service.call(ana, "UpdateConversation", renaming(group))) == away
        assert service.group(ana, bob).member_count == 2
        mark = api.Mark(conversation_id=group, user_id=ana.id, delivered_sequence_number=1)
        assert service.call(None, "RecordMarks", api.RecordMarksRequest(marks=[mark])).changed_count == 1
    finally:
        world.messages.server.start()
    # The channel comes back by itself, with a backoff.
    until(lambda: attempt(service, ana, group), 15.0)
    assert service.call(ana, "GetConversation", api.GetConversationRequest(conversation_id=group)).title == ""


def test_memberships_of_a_user_page_by_id(world: World, service: ConversationProcess) -> None:
    """Promise: a gateway gets every conversation of a user once, those they left not, other tenants' not."""
    ana, bob = world.user(), world.user()
    groups = sorted(service.group(ana, bob).conversation_id for _ in range(5))
    service.call(bob, "RemoveMember", api.RemoveMemberRequest(conversation_id=groups[2], user_id="me"))
    seen: list[str] = []
    token = ""
    while True:
        request = api.ListMembershipsRequest(user_id=bob.id, tenant_id="default", page_size=2, page_token=token)
        page = service.call(None, "ListMemberships", request)
        seen += page.conversation_ids
        token = page.next_page_token
        if not token:
            break
    assert seen == [group for group in groups if group != groups[2]]
    elsewhere = api.ListMembershipsRequest(user_id=bob.id, tenant_id="elsewhere")
    assert list(service.call(None, "ListMemberships", elsewhere).conversation_ids) == []
    too_many = api.ListMembershipsRequest(user_id=bob.id, tenant_id="default", page_size=1001)
    assert refused(lambda: service.call(None, "ListMemberships", too_many)) == ("INVALID_ARGUMENT", "PAGE_SIZE_INVALID")


def attempt(service: ConversationProcess, user: User, group: str) -> bool:
    try:
        service.call(user, "GetConversation", api.GetConversationRequest(conversation_id=group))
    except grpc.RpcError:
        return False
    return True


def settled(service: ConversationProcess, user: User) -> str:
    """A token after which nothing of before comes again: transactions of other work on the same server may hold it back."""

    def quiet() -> str | None:
        token = page_of(service, user).sync_token
        return token if not page_of(service, user, changed_since=token).conversations else None

    return until(quiet)


def renaming(conversation_id: str) -> api.UpdateConversationRequest:
    wanted = conversation_pb2.Conversation(conversation_id=conversation_id, title=f"Renamed {new_id()}")
    return api.UpdateConversationRequest(conversation=wanted)
