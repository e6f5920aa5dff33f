"""Use cases and rules of presence, with a fake store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from unit.presence.samples import change

from chat4all_presence.announcer import Announcer
from chat4all_presence.domain.model import Change, Device, Heartbeat, Presence, State, overall
from chat4all_presence.domain.policy import MAX_HEARTBEATS, MAX_USERS
from chat4all_presence.repository import Claim
from chat4all_presence.usecases import AnnounceChanges, GetPresence, RecordHeartbeats, UpdatePresence
from chat4all_runtime.errors import Code, DomainError, unavailable
from chat4all_runtime.identity import Caller
from chat4all_runtime.ids import new_id

CALLER = Caller(user_id=new_id(), tenant_id="acme", session_id="session-1")


class FakeRepository:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.recorded: list[Heartbeat] = []
        self.asked: list[tuple[str, list[str]]] = []
        self.claims: list[Claim | DomainError] = []
        self.confirmed: list[Change] = []

    async def record(self, heartbeats: Sequence[Heartbeat]) -> None:
        """Keeps them."""
        self.recorded += heartbeats

    async def record_and_get(self, heartbeat: Heartbeat) -> Presence:
        """Keeps it and knows only it."""
        self.recorded.append(heartbeat)
        return Presence(heartbeat.user_id, heartbeat.state, None, (Device(heartbeat.device_id, heartbeat.state),))

    async def get(self, tenant_id: str, user_ids: Sequence[str]) -> list[Presence]:
        """Nobody is there."""
        self.asked.append((tenant_id, list(user_ids)))
        return [Presence(user_id, State.OFFLINE, None, ()) for user_id in user_ids]

    async def claim(self) -> Claim:
        """The next prepared answer."""
        answer = self.claims.pop(0) if self.claims else Claim([], more=False)
        if isinstance(answer, DomainError):
            raise answer
        return answer

    async def confirm(self, changes: Sequence[Change]) -> None:
        """Keeps them."""
        self.confirmed += changes


class FakePublisher:
    """Takes all but those of `refused` users."""

    def __init__(self) -> None:
        self.published: list[Change] = []
        self.refused: set[str] = set()

    async def publish(self, changes: Sequence[Change]) -> list[Change]:
        """Keeps all."""
        self.published += changes
        return [one for one in changes if one.user_id not in self.refused]


def refused(error: pytest.ExceptionInfo[DomainError]) -> tuple[Code, str | None, str]:
    return error.value.code, error.value.field, error.value.reason


def heartbeat(**changes: object) -> Heartbeat:
    good: dict[str, object] = {"tenant_id": "acme", "user_id": new_id(), "device_id": "d", "state": State.ONLINE}
    return Heartbeat(**{**good, **changes})  # type: ignore[arg-type]  # a test may give wrong values


def test_the_best_device_counts() -> None:
    """Online beats away beats offline; nobody without a device is there."""
    assert overall(()) is State.OFFLINE
    assert overall((Device("a", State.AWAY), Device("b", State.ONLINE))) is State.ONLINE
    assert overall((Device("a", State.AWAY),)) is State.AWAY


async def test_one_asks_in_the_own_tenant_only() -> None:
    """The tenant is the token's, never the request's."""
    repository = FakeRepository()
    ids = [new_id(), new_id()]
    answer = await GetPresence(repository)(CALLER, ids)
    assert [presence.user_id for presence in answer] == ids
    assert repository.asked == [("acme", ids)]


@pytest.mark.parametrize(
    ("user_ids", "field", "reason"),
    [
        ([], "user_ids", "USER_IDS_MISSING"),
        ([new_id()] * (MAX_USERS + 1), "user_ids", "TOO_MANY_USERS"),
        ([new_id(), "Ana"], "user_ids[1]", "USER_ID_INVALID"),
        ([new_id().upper()], "user_ids[0]", "USER_ID_INVALID"),
        (["*"], "user_ids[0]", "USER_ID_INVALID"),
    ],
)
async def test_wrong_questions_are_named(user_ids: list[str], field: str, reason: str) -> None:
    """What is wrong with the ids is said before the store is asked."""
    repository = FakeRepository()
    with pytest.raises(DomainError) as error:
        await GetPresence(repository)(CALLER, user_ids)
    assert refused(error) == (Code.INVALID_ARGUMENT, field, reason)
    assert repository.asked == []


async def test_the_session_is_the_device_when_none_is_named() -> None:
    """A caller changes only their own presence."""
    repository = FakeRepository()
    await UpdatePresence(repository)(CALLER, "", State.AWAY)
    assert repository.recorded == [Heartbeat("acme", CALLER.user_id, "session-1", State.AWAY)]
    for wrong in ["x" * 101, "a\nb", "a\tb", "\x00"]:
        with pytest.raises(DomainError) as error:
            await UpdatePresence(repository)(CALLER, wrong, State.AWAY)
        assert refused(error) == (Code.INVALID_ARGUMENT, "device_id", "DEVICE_ID_INVALID")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"tenant_id": ""}, "heartbeats[1].tenant_id"),
        ({"tenant_id": "a:b"}, "heartbeats[1].tenant_id"),
        ({"user_id": "x"}, "heartbeats[1].user_id"),
        ({"device_id": ""}, "heartbeats[1].device_id"),
    ],
)
async def test_one_wrong_heartbeat_refuses_all(wrong: dict[str, object], field: str) -> None:
    """The sender learns which one; none is recorded, so the batch may be sent again corrected."""
    repository = FakeRepository()
    with pytest.raises(DomainError) as error:
        await RecordHeartbeats(repository)([heartbeat(), heartbeat(**wrong)])
    assert error.value.field == field
    assert repository.recorded == []


async def test_a_batch_has_a_bound() -> None:
    """A thousand pass, one more does not."""
    repository = FakeRepository()
    await RecordHeartbeats(repository)([heartbeat() for _ in range(MAX_HEARTBEATS)])
    assert len(repository.recorded) == MAX_HEARTBEATS
    with pytest.raises(DomainError) as error:
        await RecordHeartbeats(repository)([heartbeat() for _ in range(MAX_HEARTBEATS + 1)])
    assert refused(error) == (Code.INVALID_ARGUMENT, "heartbeats", "TOO_MANY_HEARTBEATS")


async def test_only_what_was_taken_is_confirmed() -> None:
    """A change that Kafka did not take stays claimed and comes again."""
    repository, publisher = FakeRepository(), FakePublisher()
    taken, lost = change(), change()
    publisher.refused.add(lost.user_id)
    repository.claims = [Claim([taken, lost], more=True)]
    announce = AnnounceChanges(repository, publisher)
    assert await announce() is True
    assert repository.confirmed == [taken]
    assert await announce() is False
    assert publisher.published == [taken, lost]


async def test_the_loop_outlives_an_outage_and_tells_readiness() -> None:
    """While the store is away the process is not ready; it goes on by itself and works off what piled up at once."""
    repository, publisher = FakeRepository(), FakePublisher()
    waiting = [change(), change()]
    repository.claims = [unavailable("redis"), Claim(waiting[:1], more=True), Claim(waiting[1:], more=False)]
    announcer = Announcer(AnnounceChanges(repository, publisher), timedelta(milliseconds=1))
    await announcer._round()
    assert announcer.trouble() is not None
    stop = asyncio.Event()
    running = asyncio.create_task(announcer.run(stop))
    async with asyncio.timeout(5):
        while True:
            await asyncio.sleep(0)
            if repository.confirmed == waiting:
                break
    assert announcer.trouble() is None
    stop.set()
    await asyncio.wait_for(running, 5)
