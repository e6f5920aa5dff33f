"""A hundred messages a second from twenty people over ten conversations, a fault in the middle, and the checker's verdict."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pymongo
from checker import HistoryWriter, Join, Nemesis, Report, StoreRow, TimeseriesRow, check, read_history
from checker.records import MESSAGE_KIND
from e2e.conftest import Copy
from e2e.recorded_client import RecordedClient, digest

from chat4all_cli.rest import Json, RestClient
from chat4all_runtime.ids import new_id

CONVERSATIONS = 10
MEMBERS = 6
MESSAGES_PER_SECOND = 100
_BEFORE_SECONDS = 3.0
# `make chaos` lets traffic go on for a minute after each fault; `make test` for a moment.
_AFTER_SECONDS = float(os.environ.get("CHAT4ALL_TRAFFIC_SECONDS", "4"))
_SETTLE_SECONDS = 60.0

Fault = Callable[[], Awaitable[None]]


class Load:
    """One run: people, their conversations, their traffic, and what was seen of it."""

    def __init__(self, copy: Copy, people: list[RestClient], directory: Path) -> None:
        self.copy = copy
        self.directory = directory
        self.clients = [RecordedClient(rest, copy.live_url, directory, f"client-{number}") for number, rest in enumerate(people)]
        self.notes = HistoryWriter(directory, "harness")
        self.conversations: dict[str, list[RecordedClient]] = {}
        self._stop = asyncio.Event()

    async def begin(self) -> None:
        """Make the conversations and connect everybody."""
        for number in range(CONVERSATIONS):
            members = [self.clients[(number * 2 + offset * 3) % len(self.clients)] for offset in range(MEMBERS)]
            made = await members[0].rest.create_conversation(
                "group", [m.user_id for m in members[1:]], f"load {number}", new_id()
            )
            conversation_id = made["conversation_id"]
            self.conversations[conversation_id] = members
            for member in members:
                self.notes.write(Join(conversation_id=conversation_id, user_id=member.user_id, sequence_number=0))
        await asyncio.gather(*(client.start(dict.fromkeys(self._of(client), 0)) for client in self.clients))

    def _of(self, client: RecordedClient) -> list[str]:
        return [conversation for conversation, members in self.conversations.items() if client in members]

    async def _talk(self, client: RecordedClient, talking: asyncio.TaskGroup) -> None:
        """Five messages a second in turn over one's conversations; a conversation whose last message hangs is passed over."""
        turn = itertools.cycle(self._of(client))
        pause = len(self.clients) / MESSAGES_PER_SECOND
        due = time.monotonic()
        for number in itertools.count():
            due += pause
            try:
                await asyncio.wait_for(self._stop.wait(), max(0.0, due - time.monotonic()))
                return
            except TimeoutError:
                free = next((c for c, _ in zip(turn, range(4), strict=False) if not client.busy(c)), None)
                if free is not None:
                    talking.create_task(client.say(free, f"{client.name} says {number}"))

    async def run(self, name: str, fault: Fault) -> Report:
        """Traffic, the fault, traffic, silence, and the verdict.

        Raises:
            AssertionError: traffic did not settle within a minute after the fault was over.
        """
        await self.begin()
        async with asyncio.TaskGroup() as talking:
            talkers = [talking.create_task(self._talk(client, talking)) for client in self.clients]
            await asyncio.sleep(_BEFORE_SECONDS)
            self.notes.write(Nemesis(phase="start", fault=name, target=name))
            await fault()
            self.notes.write(Nemesis(phase="stop", fault=name, target=name))
            await asyncio.sleep(_AFTER_SECONDS)
            self._stop.set()
            await asyncio.wait(talkers)
        return await self._judge()

    async def _judge(self) -> Report:
        settled = await asyncio.gather(*(client.live.settled(_SETTLE_SECONDS) for client in self.clients))
        assert all(settled), f"{settled.count(False)} clients still wait for messages to be stored a minute after the fault"
        await self._quiet()
        for client in self.clients:
            await client.stop()
        for client in self.clients:
            fresh = await self.copy.sign_in(client.rest.tokens.user["username"] if client.rest.tokens else "")
            async with fresh:
                client.rest = fresh
                await client.drain(self._of(client))
        await asyncio.to_thread(self._dump)
        self.notes.close()
        return await asyncio.to_thread(lambda: check(read_history(self.directory)))

    async def _quiet(self) -> None:
        """Wait until every screen shows the end of each log; what still misses then is for the checker to tell."""
        until = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < until:
            ends = {}
            for conversation_id, members in self.conversations.items():
                answer = await members[0].rest.call(
                    "GET", f"/v1/conversations/{conversation_id}/messages", params={"page_size": 1}
                )
                ends[conversation_id] = answer["last_sequence_number"]
            if all(m.live.cursors.get(c) == ends[c] for c, members in self.conversations.items() for m in members):
                return
            await asyncio.sleep(0.2)

    def _dump(self) -> None:
        """Write down the log and the time series as the stores have them; the series may be a moment behind."""
        environment = self.copy.stack.environment("tests")
        wanted = {"$in": list(self.conversations)}
        with pymongo.MongoClient[Json](environment["CHAT4ALL_MONGO__URI"], timeoutMS=20_000) as client:
            database = client[environment["CHAT4ALL_MONGO__DATABASE"]]
            rows = list(database["messages"].find({"conversation_id": wanted}))
            series = database["conversation_history"]
            until = time.monotonic() + _SETTLE_SECONDS
            while series.count_documents({"meta.conversation_id": wanted}) < len(rows) and time.monotonic() < until:
                time.sleep(0.2)
            for row in rows:
                self.notes.write(_store_row(row))
            for row in series.find({"meta.conversation_id": wanted}):
                self.notes.write(
                    TimeseriesRow(tenant_id=row["meta"]["tenant_id"], conversation_id=row["meta"]["conversation_id"],
                                  sequence_number=row["sequence_number"], message_id=row["message_id"],
                                  sender_user_id=row["from_user_id"], kind=row.get("kind", MESSAGE_KIND))
                )  # fmt: skip


def _store_row(row: dict[str, Any]) -> StoreRow:
    removed = row["payload"].get("data", {}).get("removed_user_id", "") if row["kind"] == "member_removed" else ""
    return StoreRow(
        tenant_id=row["tenant_id"], conversation_id=row["conversation_id"], sequence_number=row["sequence_number"], message_id=row["_id"],
        sender_user_id=row["from_user_id"], body_sha256=digest(row["payload"]), kind=row["kind"], subject_user_id=removed,
    )  # fmt: skip
