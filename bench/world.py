"""People, conversations and connections for the scenarios, made through the edge as any client would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

from uuid_utils import uuid7

from bench.light_socket import LightSocket
from chat4all_cli.rest import ApiError, RestClient

PASSWORD = "bench-password"
_SIGN_INS_AT_ONCE = 8


@dataclass
class Person:
    """One signed-in user."""

    user_id: str
    token: str
    rest: RestClient


@dataclass
class World:
    """Where the copy under test listens, its processes, and the people made so far."""

    rest_url: str
    edge_live_url: str
    gateway_live_url: str
    message_target: str
    redis_url: str
    metrics_urls: Mapping[str, str]
    pids: Mapping[str, int]
    people: list[Person] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    async def populate(self, wanted: int) -> list[Person]:
        """At least that many people; the first `wanted` of them. Names are new in each run, so runs do not meet."""
        gate = asyncio.Semaphore(_SIGN_INS_AT_ONCE)
        stamp = f"{time.time_ns() // 1_000_000:x}"

        async def one(number: int) -> Person:
            async with gate:
                rest = RestClient(self.rest_url)
                name = f"bench-{stamp}-{number}"
                try:
                    await rest.register(name, PASSWORD, name)
                except ApiError as error:
                    if error.reason != "USERNAME_TAKEN":
                        raise
                tokens = await rest.login(name, PASSWORD)
                return Person(tokens.user["user_id"], tokens.access_token, rest)

        missing = max(0, wanted - len(self.people))
        self.people += await asyncio.gather(*(one(next(self._numbers)) for _ in range(missing)))
        return self.people[:wanted]

    async def refresh(self) -> None:
        """Renew tokens that are near their end, between scenarios and never within one."""
        for person in self.people:
            person.token = await person.rest.access_token()

    async def conversation(self, owner: Person, others: list[Person]) -> str:
        """A new group."""
        made = await owner.rest.create_conversation("group", [other.user_id for other in others], "bench", str(uuid7()))
        return str(made["conversation_id"])

    async def pairs(self, people: list[Person]) -> list[tuple[Person, Person, str]]:
        """Neighbours two by two, each with a conversation of their own."""
        couples = list(zip(people[::2], people[1::2], strict=True))
        made = []
        for start in range(0, len(couples), 10):
            made += await asyncio.gather(*(self.conversation(a, [b]) for a, b in couples[start : start + 10]))
        return [(a, b, conversation) for (a, b), conversation in zip(couples, made, strict=True)]

    async def connect(self, person: Person, device: str, *, edge: bool = True) -> LightSocket:
        """A live connection of that person, through the edge or at the gateway's own port."""
        return await LightSocket.open(self.edge_live_url if edge else self.gateway_live_url, person.token, device)
