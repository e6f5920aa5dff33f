"""Small stand-ins for what the use cases need, controlled step by step by a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from chat4all_message.domain.errors import attachment_refused, conversation_not_found
from chat4all_message.domain.model import Draft, Membership, StoredIdentity
from chat4all_message.id_lookup import IdLookup
from chat4all_message.memberships import Memberships
from chat4all_message.recent_ids import RecentIds
from chat4all_message.repository import StoreAway
from chat4all_message.stored_waits import StoredWaits
from chat4all_message.usecases.admission import Admission
from chat4all_message.usecases.sending import SendMessages
from chat4all_runtime.errors import Code, DomainError, unavailable
from chat4all_runtime.ids import new_id

FULL = "full"
LOST = "lost"


class SteppingClock:
    """Goes one second on at each look; starts with a fraction finer than a millisecond."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC)

    def now(self) -> datetime:
        """The next second."""
        self.time += timedelta(seconds=1)
        return self.time


class Source:
    """Memberships; while `gate` is cleared, loads wait."""

    def __init__(self) -> None:
        self.conversations: dict[str, Membership] = {}
        self.loads: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.away = False

    def add(self, *user_ids: str, archived: bool = False) -> str:
        """A new conversation."""
        conversation_id = new_id()
        self.conversations[conversation_id] = Membership("default", frozenset(user_ids), archived)
        return conversation_id

    async def load(self, conversation_id: str) -> Membership:
        """As it is when the question arrives."""
        self.loads.append(conversation_id)
        found = self.conversations.get(conversation_id)
        await self.gate.wait()
        if self.away:
            raise unavailable("conversation")
        if found is None:
            raise conversation_not_found(conversation_id)
        return found


class Files:
    """All files are usable but those in `missing`; while `gate` is cleared, checks wait."""

    def __init__(self) -> None:
        self.missing: set[str] = set()
        self.calls: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def check(self, drafts: Sequence[Draft]) -> list[DomainError | None]:
        """A refusal for each missing file."""
        self.calls.append(len(drafts))
        await self.gate.wait()
        return [
            attachment_refused("FILE_NOT_FOUND", draft.file_id) if draft.file_id in self.missing else None for draft in drafts
        ]


class Publisher:
    """Keeps what was handed over; acknowledges at once unless `hold` is set."""

    def __init__(self) -> None:
        self.published: list[tuple[Draft, datetime]] = []
        self.bundles: list[asyncio.Future[Sequence[object | None]]] = []
        self.sizes: list[int] = []
        self.hold = False
        self.failure: object | None = None

    def publish(self, commands: Sequence[tuple[Draft, datetime]]) -> asyncio.Future[Sequence[object | None]]:
        """One future for all."""
        self.published += commands
        future: asyncio.Future[Sequence[object | None]] = asyncio.get_running_loop().create_future()
        self.bundles.append(future)
        self.sizes.append(len(commands))
        if not self.hold:
            future.set_result([self.failure] * len(commands))
        return future

    def end(self, index: int, failure: object | None = None) -> None:
        """What Kafka says about a bundle that was held."""
        self.bundles[index].set_result([failure] * self.sizes[index])

    def explain(self, failure: object) -> DomainError:
        """Full or lost."""
        if failure == FULL:
            return DomainError(Code.RESOURCE_EXHAUSTED, "PRODUCER_QUEUE_FULL", "full")
        return unavailable("kafka")

    def never_sent(self, failure: object) -> bool:
        """Full means not sent."""
        return failure == FULL

    def texts(self) -> list[str]:
        """What was handed over, in order."""
        return [str(draft.content.get("text", draft.content["type"])) for draft, _ in self.published]


class Store:
    """Ids in the log; while `gate` is cleared, queries wait; `away` makes them fail."""

    def __init__(self) -> None:
        self.stored: dict[str, StoredIdentity] = {}
        self.queries: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.away = False

    def put(self, draft: Draft, sequence_number: int = 7, **changed: Any) -> StoredIdentity:
        """As the router would store this draft."""
        fields: dict[str, Any] = {
            "message_id": draft.message_id,
            "conversation_id": draft.conversation_id,
            "sender_id": draft.sender_id,
            "digest": draft.digest,
            "sequence_number": sequence_number,
            "create_time": datetime(2025, 5, 5, tzinfo=UTC),
        }
        identity = StoredIdentity(**(fields | changed))
        self.stored[draft.message_id] = identity
        return identity

    async def identities(self, message_ids: Sequence[str]) -> Mapping[str, StoredIdentity]:
        """Those that are stored."""
        self.queries.append(list(message_ids))
        await self.gate.wait()
        if self.away:
            raise StoreAway("away")
        return {message_id: self.stored[message_id] for message_id in message_ids if message_id in self.stored}


class Bench:
    """The whole send path on stand-ins, from `__aenter__` to `__aexit__`."""

    def __init__(self, *, lookup_wait_seconds: float = 0.2, max_waiting: int = 100) -> None:
        self.source = Source()
        self.files = Files()
        self.publisher = Publisher()
        self.store = Store()
        self.clock = SteppingClock()
        self.recent = RecentIds(1000)
        self.memberships = Memberships(self.source)
        self.lookup = IdLookup(self.store, wait_seconds=lookup_wait_seconds)
        self.stored = StoredWaits(self.lookup, max_waiting)
        admission = Admission(self.memberships, self.files, self.recent)
        self.sends = SendMessages(self.memberships, admission, self.publisher, self.recent, self.lookup, self.stored, self.clock)

    async def __aenter__(self) -> Bench:
        await self.memberships.__aenter__()
        await self.lookup.__aenter__()
        await self.stored.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> None:
        await self.stored.__aexit__(*details)
        await self.lookup.__aexit__(*details)
        await self.memberships.__aexit__(*details)

    async def warm(self, *user_ids: str) -> str:
        """A conversation whose members are remembered."""
        conversation_id = self.source.add(*user_ids)
        await self.memberships.require(conversation_id, "default", user_ids[0])
        return conversation_id

    async def send(self, *drafts: Draft | DomainError, seconds: float = 5.0) -> list[Any]:
        """All in one call."""
        return list(await self.sends.send_many(drafts, seconds))


def draft(conversation_id: str, sender_id: str, text: str = "hello", **fields: Any) -> Draft:
    """A text that is ready to be sent."""
    fields = {"message_id": new_id(), "content": {"type": "text", "text": text}} | fields
    return Draft(tenant_id="default", sender_id=sender_id, conversation_id=conversation_id, **fields)


def again(sent: Draft, **changed: Any) -> Draft:
    """The same draft as a client sends it again."""
    fields: dict[str, Any] = {
        "tenant_id": sent.tenant_id,
        "sender_id": sent.sender_id,
        "conversation_id": sent.conversation_id,
        "message_id": sent.message_id,
        "content": dict(sent.content),
        "reply_to_message_id": sent.reply_to_message_id,
        "thread_id": sent.thread_id,
    }
    return Draft(**(fields | changed))


async def until(condition: Callable[[], object], seconds: float = 2.0) -> None:
    """Return when it holds; fail when it does not within the deadline."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # any condition, not an event
            await asyncio.sleep(0.001)


async def settle(turns: int = 20) -> None:
    """Let everything that can run, run."""
    for _ in range(turns):
        await asyncio.sleep(0)
