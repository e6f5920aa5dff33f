"""One message per id, and the order of each sender, on stand-ins for everything outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from unit.message.doubles import FULL, LOST, Bench, again, draft, settle, until

from chat4all_message.domain.model import Membership, Sent
from chat4all_runtime.errors import Code, DomainError
from chat4all_runtime.ids import new_id

ME = new_id()
OTHER = new_id()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with Bench() as bench:
        yield bench


def reasons(results: list[Any]) -> list[str]:
    return [result.reason if isinstance(result, DomainError) else "ok" for result in results]


async def test_accepted_only_after_acknowledgement(bench: Bench) -> None:
    """Accepted means: Kafka has acknowledged it."""
    conversation = await bench.warm(ME)
    bench.publisher.hold = True
    call = asyncio.ensure_future(bench.send(draft(conversation, ME)))
    await settle()
    assert len(bench.publisher.published) == 1
    assert not call.done()
    bench.publisher.end(0)
    (sent,) = await call
    assert isinstance(sent, Sent)
    assert sent.sequence_number == 0
    assert sent.create_time.microsecond % 1000 == 0


async def test_remembered_members_wait_for_nothing(bench: Bench) -> None:
    """A send whose conversation is remembered reaches Kafka in the step it arrives in."""
    conversation = await bench.warm(ME)
    bench.store.gate.clear()
    call = bench.sends.send_many((draft(conversation, ME),), 5.0)
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0)
    assert len(bench.publisher.published) == 1
    bench.store.gate.set()
    await task


async def test_same_message_again_gives_the_first_result(bench: Bench) -> None:
    """A resend is not sent a second time and has the first time of acceptance."""
    conversation = await bench.warm(ME)
    first = draft(conversation, ME)
    (one,) = await bench.send(first)
    (two,) = await bench.send(again(first))
    assert one.create_time == two.create_time
    assert len(bench.publisher.published) == 1


async def test_same_message_from_the_log_gives_its_number(bench: Bench) -> None:
    """An id that this process never saw is found in the log: STORED with its number and its time."""
    conversation = await bench.warm(ME)
    first = draft(conversation, ME)
    await bench.send(first)
    identity = bench.store.put(first)
    async with Bench() as other:
        other.source.conversations = bench.source.conversations
        other.store.stored = bench.store.stored
        (sent,) = await other.send(again(first))
    assert (sent.sequence_number, sent.create_time) == (7, identity.create_time)


@pytest.mark.parametrize(
    "changed",
    [{"content": {"type": "text", "text": "other"}}, {"sender_id": OTHER}, {"reply_to_message_id": new_id()}],
)
async def test_other_use_of_an_id_is_a_conflict(bench: Bench, changed: dict[str, Any]) -> None:
    """Another sender or other content under the id is refused and told nothing about the first."""
    conversation = await bench.warm(ME, OTHER)
    first = draft(conversation, ME)
    await bench.send(first)
    (refused,) = await bench.send(again(first, **changed))
    assert (refused.code, refused.reason, refused.metadata) == (Code.ALREADY_EXISTS, "MESSAGE_ID_CONFLICT", {})
    assert len(bench.publisher.published) == 1


async def test_other_conversation_is_a_conflict(bench: Bench) -> None:
    """The id answers only in its own conversation."""
    first = draft(await bench.warm(ME), ME)
    elsewhere = await bench.warm(ME)
    await bench.send(first)
    assert reasons(await bench.send(again(first, conversation_id=elsewhere))) == ["MESSAGE_ID_CONFLICT"]


async def test_conflict_with_the_log_does_not_harm_the_owner(bench: Bench) -> None:
    """Somebody who uses another's id is refused, and the owner still gets the first result afterwards."""
    conversation = await bench.warm(ME, OTHER)
    mine = draft(conversation, ME)
    await bench.send(mine)
    bench.store.put(mine)
    async with Bench() as fresh:
        fresh.source.conversations = bench.source.conversations
        fresh.store.stored = bench.store.stored
        assert reasons(await fresh.send(again(mine, sender_id=OTHER))) == ["MESSAGE_ID_CONFLICT"]
        fresh.store.away = True
        assert reasons(await fresh.send(again(mine))) == ["ok"]
        fresh.store.away = False
        fresh.lookup._probe_at = 0.0
        (sent,) = await fresh.send(again(mine))
        assert sent.sequence_number == 7


async def test_intruder_under_way_does_not_refuse_the_owner_while_the_log_is_away(bench: Bench) -> None:
    """Without the log nobody can say whose an id is that two have used: try again, not conflict."""
    conversation = await bench.warm(ME, OTHER)
    mine = draft(conversation, ME)
    await bench.send(mine)
    bench.store.away = True
    assert reasons(await bench.send(again(mine, sender_id=OTHER))) == ["MONGODB_UNAVAILABLE"]


async def test_resend_shares_the_first_acknowledgement(bench: Bench) -> None:
    """While the first is under way, a resend waits for the same acknowledgement."""
    conversation = await bench.warm(ME)
    bench.publisher.hold = True
    first = draft(conversation, ME)
    one = asyncio.ensure_future(bench.send(first))
    await settle()
    two = asyncio.ensure_future(bench.send(again(first)))
    await settle()
    assert len(bench.publisher.published) == 1
    bench.publisher.end(0)
    (a,), (b,) = await one, await two
    assert a.create_time == b.create_time


async def test_resend_sends_again_when_the_first_failed(bench: Bench) -> None:
    """If the shared acknowledgement never comes, the resend goes to Kafka itself, under the first time."""
    conversation = await bench.warm(ME)
    bench.publisher.hold = True
    first = draft(conversation, ME)
    one = asyncio.ensure_future(bench.send(first))
    await settle()
    two = asyncio.ensure_future(bench.send(again(first)))
    await settle()
    bench.publisher.end(0, LOST)
    await settle()
    assert reasons(await one) == ["KAFKA_UNAVAILABLE"]
    await until(lambda: len(bench.publisher.published) == 2)
    assert bench.publisher.published[0][1] == bench.publisher.published[1][1]
    bench.publisher.end(1)
    assert reasons(await two) == ["ok"]


async def test_cancelled_call_is_still_noted(bench: Bench) -> None:
    """Who hangs up does not stop the message: a resend learns that it was accepted and sends nothing."""
    conversation = await bench.warm(ME)
    bench.publisher.hold = True
    first = draft(conversation, ME)
    call = asyncio.ensure_future(bench.send(first))
    await settle()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    bench.publisher.end(0)
    await settle()
    assert reasons(await bench.send(again(first))) == ["ok"]
    assert len(bench.publisher.published) == 1


async def test_full_queue_is_said_and_forgotten(bench: Bench) -> None:
    """A message the producer did not take is RESOURCE_EXHAUSTED; later it is sent as if for the first time."""
    conversation = await bench.warm(ME)
    bench.publisher.failure = FULL
    first = draft(conversation, ME)
    (refused,) = await bench.send(first)
    assert refused.code is Code.RESOURCE_EXHAUSTED
    bench.publisher.failure = None
    assert reasons(await bench.send(again(first))) == ["ok"]


async def test_kafka_silent_is_unavailable_at_the_deadline(bench: Bench) -> None:
    """No acknowledgement in time: UNAVAILABLE, and the call ends."""
    conversation = await bench.warm(ME)
    bench.publisher.hold = True
    assert reasons(await bench.send(draft(conversation, ME), seconds=0.05)) == ["KAFKA_UNAVAILABLE"]


async def test_log_away_does_not_stop_sending(bench: Bench) -> None:
    """Kafka's acknowledgement is the promise; the log being away costs nobody their message."""
    conversation = await bench.warm(ME)
    bench.store.away = True
    results = await bench.send(*[draft(conversation, ME) for _ in range(3)])
    assert reasons(results) == ["ok"] * 3


async def test_slow_log_is_not_waited_for() -> None:
    """The look-up is bounded; an answer that comes too late is not waited for."""
    async with Bench(lookup_wait_seconds=0.05) as bench:
        conversation = await bench.warm(ME)
        bench.store.gate.clear()
        async with asyncio.timeout(2):
            assert reasons(await bench.send(draft(conversation, ME))) == ["ok"]
        bench.store.gate.set()


async def test_batch_keeps_order_and_isolates_the_bad(bench: Bench) -> None:
    """A result for each in its place; a bad one stops no other; one query and one bundle for all."""
    conversation = await bench.warm(ME)
    drafts = [draft(conversation, ME, f"{number}") for number in range(5)]
    drafts[2].content["text"] = ""
    queries = len(bench.store.queries)
    results = await bench.send(*drafts, DomainError(Code.INVALID_ARGUMENT, "GIVEN", "given"))
    assert reasons(results) == ["ok", "ok", "TEXT_EMPTY", "ok", "ok", "GIVEN"]
    assert bench.publisher.texts() == ["0", "1", "3", "4"]
    assert bench.publisher.sizes == [4]
    assert len(bench.store.queries) == queries + 1


async def test_same_id_twice_in_a_batch(bench: Bench) -> None:
    """The same message twice is one; other content under the id is refused."""
    conversation = await bench.warm(ME)
    first = draft(conversation, ME)
    results = await bench.send(first, again(first), again(first, content={"type": "text", "text": "x"}))
    assert reasons(results) == ["ok", "ok", "MESSAGE_ID_CONFLICT"]
    assert len(bench.publisher.published) == 1


async def test_not_a_member(bench: Bench) -> None:
    """Who is not in it, or is of another tenant, or asks for nothing that exists, hears the same."""
    conversation = await bench.warm(ME)
    stranger = draft(conversation, OTHER)
    foreign = draft(conversation, ME)
    foreign.tenant_id = "other"
    nowhere = draft(new_id(), ME)
    results = await bench.send(stranger, foreign, nowhere)
    assert reasons(results) == ["CONVERSATION_NOT_FOUND"] * 3
    assert not bench.publisher.published


async def test_archived_takes_nothing_new(bench: Bench) -> None:
    """Archived conversations take no new messages."""
    conversation = bench.source.add(ME, archived=True)
    (refused,) = await bench.send(draft(conversation, ME))
    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "CONVERSATION_ARCHIVED")


async def test_a_refusal_is_never_remembered(bench: Bench) -> None:
    """Somebody who was just added is let in, although the old members are remembered."""
    conversation = await bench.warm(ME)
    assert reasons(await bench.send(draft(conversation, OTHER))) == ["CONVERSATION_NOT_FOUND"]
    bench.source.conversations[conversation] = Membership("default", frozenset({ME, OTHER}), False)
    assert reasons(await bench.send(draft(conversation, OTHER))) == ["ok"]


async def test_first_result_stays_after_leaving_and_archiving(bench: Bench) -> None:
    """Sending again what was accepted gives the first result for ever, whatever happened to the membership since."""
    conversation = await bench.warm(ME)
    first = draft(conversation, ME)
    await bench.send(first)
    bench.source.conversations[conversation] = Membership("default", frozenset({OTHER}), True)
    bench.memberships.forget([conversation])
    assert reasons(await bench.send(again(first), draft(conversation, ME))) == ["ok", "CONVERSATION_NOT_FOUND"]
    bench.store.put(first)
    async with Bench() as fresh:
        fresh.source.conversations = bench.source.conversations
        fresh.store.stored = bench.store.stored
        (sent,) = await fresh.send(again(first))
        assert sent.sequence_number == 7
        assert reasons(await fresh.send(again(first, sender_id=new_id()))) == ["CONVERSATION_NOT_FOUND"]


async def test_order_while_the_membership_loads(bench: Bench) -> None:
    """Sends that arrive while members are loaded go out in the order they arrived, later ones included."""
    conversation = bench.source.add(ME)
    bench.source.gate.clear()
    calls = [asyncio.ensure_future(bench.send(draft(conversation, ME, "0")))]
    for number in range(1, 5):
        await settle(3)
        calls.append(asyncio.ensure_future(bench.send(draft(conversation, ME, f"{number}"))))
    await settle()
    bench.source.gate.set()
    for number in range(5, 40):
        calls.append(asyncio.ensure_future(bench.send(draft(conversation, ME, f"{number}"))))
        await asyncio.sleep(0)
    await asyncio.gather(*calls)
    assert bench.publisher.texts() == [f"{number}" for number in range(40)]
    assert bench.source.loads == [conversation]


async def test_order_behind_a_file(bench: Bench) -> None:
    """A text sent after a file goes out after it, although the file must be checked; other senders go ahead."""
    conversation = await bench.warm(ME, OTHER)
    bench.files.gate.clear()
    image = draft(conversation, ME, content={"type": "image", "file_id": new_id()})
    calls = [asyncio.ensure_future(bench.send(image))]
    await settle()
    calls.append(asyncio.ensure_future(bench.send(draft(conversation, ME, "after"))))
    calls.append(asyncio.ensure_future(bench.send(draft(conversation, OTHER, "other"))))
    await settle()
    assert bench.publisher.texts() == ["other"]
    bench.files.gate.set()
    await asyncio.gather(*calls)
    assert bench.publisher.texts() == ["other", "image", "after"]


async def test_giving_up_does_not_let_others_overtake(bench: Bench) -> None:
    """When a waiting send is cancelled, those behind it still wait for those before it."""
    conversation = await bench.warm(ME)
    bench.files.gate.clear()
    first = asyncio.ensure_future(bench.send(draft(conversation, ME, content={"type": "image", "file_id": new_id()})))
    await settle()
    second = asyncio.ensure_future(bench.send(draft(conversation, ME, "second")))
    await settle()
    third = asyncio.ensure_future(bench.send(draft(conversation, ME, "third")))
    await settle()
    second.cancel()
    await settle()
    assert bench.publisher.texts() == []
    fourth = asyncio.ensure_future(bench.send(draft(conversation, ME, "fourth")))
    await settle()
    bench.files.gate.set()
    await asyncio.gather(first, third, fourth)
    assert bench.publisher.texts() == ["image", "third", "fourth"]
    assert len(bench.sends._lanes) == 0


async def test_batch_order_around_a_file(bench: Bench) -> None:
    """Inside a batch a sender's order is kept around a file; another sender's messages need not wait."""
    conversation = await bench.warm(ME, OTHER)
    results = await bench.send(
        draft(conversation, ME, "1"),
        draft(conversation, ME, content={"type": "image", "file_id": new_id()}),
        draft(conversation, OTHER, "other"),
        draft(conversation, ME, "2"),
        draft(conversation, ME, content={"type": "video", "file_id": new_id()}),
    )
    assert reasons(results) == ["ok"] * 5
    mine = [text for text in bench.publisher.texts() if text != "other"]
    assert mine == ["1", "image", "2", "video"]
    assert bench.files.calls == [2]


async def test_file_that_cannot_be_sent(bench: Bench) -> None:
    """The file service's reason is passed on; a repeat of what was accepted is not checked again."""
    conversation = await bench.warm(ME)
    file_id = new_id()
    first = draft(conversation, ME, content={"type": "file", "file_id": file_id})
    assert reasons(await bench.send(first)) == ["ok"]
    bench.files.missing.add(file_id)
    results = await bench.send(again(first), draft(conversation, ME, content={"type": "file", "file_id": file_id}))
    assert reasons(results) == ["ok", "FILE_NOT_FOUND"]


async def test_conversation_service_away(bench: Bench) -> None:
    """What is remembered still works; what is not is UNAVAILABLE, and only that."""
    known = await bench.warm(ME)
    unknown = bench.source.add(ME)
    bench.source.away = True
    assert reasons(await bench.send(draft(known, ME), draft(unknown, ME))) == ["ok", "CONVERSATION_UNAVAILABLE"]


async def test_waiting_for_the_number(bench: Bench) -> None:
    """With wait_for STORED the answer comes when the log has it, at once after a hint."""
    conversation = await bench.warm(ME)
    first = draft(conversation, ME, wait_for_stored=True)
    call = asyncio.ensure_future(bench.send(first))
    await settle()
    assert not call.done()
    bench.store.put(first)
    bench.stored.hinted([first.message_id])
    (sent,) = await call
    assert sent.sequence_number == 7


async def test_waiting_for_the_number_without_a_hint(bench: Bench) -> None:
    """The live channel may lose everything: the log is asked anyway."""
    conversation = await bench.warm(ME)
    first = draft(conversation, ME, wait_for_stored=True)
    call = asyncio.ensure_future(bench.send(first))
    await settle()
    bench.store.put(first)
    async with asyncio.timeout(2):
        (sent,) = await call
    assert sent.sequence_number == 7


async def test_not_stored_before_the_deadline(bench: Bench) -> None:
    """Accepted, but without a number in time: DEADLINE_EXCEEDED, and nothing is left behind."""
    conversation = await bench.warm(ME)
    (refused,) = await bench.send(draft(conversation, ME, wait_for_stored=True), seconds=0.1)
    assert (refused.code, refused.reason) == (Code.DEADLINE_EXCEEDED, "NOT_STORED_YET")
    assert not bench.stored._tickets
    assert not bench.stored._conversations


async def test_conflict_found_while_waiting(bench: Bench) -> None:
    """Another process's message won the id: the one who waits hears of the conflict, not of a number."""
    conversation = await bench.warm(ME, OTHER)
    first = draft(conversation, ME, wait_for_stored=True)
    call = asyncio.ensure_future(bench.send(first))
    await settle()
    bench.store.put(first, sender_id=OTHER)
    assert reasons(await call) == ["MESSAGE_ID_CONFLICT"]


async def test_too_many_waiting() -> None:
    """The waiting is bounded, and a message that cannot be waited for is not sent."""
    async with Bench(max_waiting=1) as bench:
        conversation = await bench.warm(ME)
        drafts = [draft(conversation, ME, wait_for_stored=True) for _ in range(2)]
        results = await bench.send(*drafts, seconds=0.1)
        assert reasons(results) == ["NOT_STORED_YET", "TOO_MANY_WAITING"]
        assert len(bench.publisher.published) == 1
