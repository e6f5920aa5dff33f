"""`chat4all chat`: one conversation in a terminal. What was said, what is being said, who types, who has read.

Survives the gateway's restart without losing or repeating a line: `live.LiveClient` resumes by cursor and resends by message id.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.patch_stdout import patch_stdout

from chat4all_cli.live import LiveClient, Observer, event_of
from chat4all_cli.rest import ApiError, Json, RestClient
from chat4all_cli.sessions import live_url

_HISTORY_LINES = 30
_TYPING_SECONDS = 3.0


class People:
    """Names of users, asked for once."""

    def __init__(self, rest: RestClient) -> None:
        self._rest = rest
        self._names: dict[str, str] = {}

    async def learn(self, user_ids: set[str]) -> None:
        """Ask for the names not known yet."""
        for user_id in user_ids - self._names.keys() - {""}:
            try:
                self._names[user_id] = (await self._rest.call("GET", f"/v1/users/{user_id}"))["username"]
            except ApiError:
                self._names[user_id] = user_id[:8]

    def name(self, user_id: str) -> str:
        """The name, or the start of the id while it is not known."""
        return self._names.get(user_id, user_id[:8]) if user_id else "*"


def describe(frame: Json) -> str:
    """What one log entry says, on one line."""
    data = frame["data"]
    content = data["content"]
    if data.get("kind", "message") != "message":
        return f"({frame['event_type'].removeprefix('conversation.').replace('_', ' ')})"
    if content["type"] == "text":
        return str(content["text"])
    return f"[{content['type']}] {content.get('caption') or content.get('name') or content.get('file_id') or ''}".strip()


def entry_line(frame: Json, people: People) -> str:
    """One log entry as a line: local time, who, what."""
    when = datetime.fromisoformat(frame["time"]).astimezone()
    return f"{when:%H:%M}  {people.name(frame['data']['from_user_id'])}: {describe(frame)}"


@dataclass
class ChatScreen:
    """One conversation on the screen. `show` prints a line above the prompt."""

    rest: RestClient
    conversation: Json
    people: People
    show: Callable[[str], None]
    writing: dict[str, float] = field(default_factory=dict)
    read_upto: dict[str, int] = field(default_factory=dict)
    link: str = "connecting"

    def __post_init__(self) -> None:
        self.conversation_id: str = self.conversation["conversation_id"]
        self.me: str = self.rest.tokens.user["user_id"] if self.rest.tokens else ""
        self._read_due = asyncio.Event()
        self._typing_sent = 0.0
        observer = Observer(
            event=self._event, transient=self._transient, connected=self._connected, disconnected=self._disconnected
        )
        self.live = LiveClient(self.rest, live_url(self.rest.base_url), observer=observer)

    async def run(self, next_line: Callable[[], asyncio.Future[str] | asyncio.Task[str]]) -> None:
        """Show history, then talk until `next_line` raises EOFError or KeyboardInterrupt, or the server says stop.

        Raises:
            LiveRefused: the server ended the session.
        """
        entries = await self.rest.newest(self.conversation_id, _HISTORY_LINES)
        await self.people.learn({entry["from_user_id"] for entry in entries})
        for entry in entries:
            self.show(entry_line(event_of(entry), self.people))
        self.live.cursors[self.conversation_id] = entries[-1]["sequence_number"] if entries else 0
        self._read_due.set()
        async with asyncio.TaskGroup() as tasks:
            link = tasks.create_task(self.live.run())
            marks = tasks.create_task(self._mark_read())
            await self._talk(next_line)
            link.cancel()
            marks.cancel()

    async def _talk(self, next_line: Callable[[], asyncio.Future[str] | asyncio.Task[str]]) -> None:
        while True:
            try:
                text = (await next_line()).strip()
            except (EOFError, KeyboardInterrupt):
                break
            if text in ("/quit", "/exit"):
                break
            if text:
                message = await self.live.send(self.conversation_id, {"type": "text", "text": text})
                message.stored.add_done_callback(self._refused)
        if not await self.live.settled(5.0):
            self.show(f"-- {self.live.unsettled()} message(s) could not be sent: the server was not reachable")

    def _refused(self, future: asyncio.Future[Json]) -> None:
        if not future.cancelled() and future.exception() is not None:
            self.show(f"-- not sent: {future.exception()}")

    def _event(self, frame: Json, _: bool) -> None:
        if frame["conversation_id"] != self.conversation_id:
            return
        self.writing.pop(frame["data"]["from_user_id"], None)
        self.show(entry_line(frame, self.people))
        self._read_due.set()

    def _transient(self, frame: Json) -> None:
        if frame.get("conversation_id") != self.conversation_id:
            return
        user_id = frame["data"].get("user_id", "")
        if user_id == self.me:
            return
        if frame["event_type"] == "typing":
            started = frame["data"].get("state") == "started"
            self.writing[user_id] = time.monotonic() + (_TYPING_SECONDS * 2 if started else 0)
        elif frame["event_type"] == "message.read":
            self.read_upto[user_id] = max(self.read_upto.get(user_id, 0), frame["data"]["sequence_number"])

    def _connected(self, _: Json) -> None:
        if self.link == "reconnecting":
            self.show("-- back again")
        self.link = "connected"
        self._read_due.set()

    def _disconnected(self, why: str) -> None:
        self.link = "reconnecting"
        self.show(f"-- connection lost ({why}), trying again")

    async def _mark_read(self) -> None:
        """Say what has been read, once for many lines."""
        while True:
            await self._read_due.wait()
            self._read_due.clear()
            await self.live.ready()
            number = self.live.cursors.get(self.conversation_id, 0)
            if number:
                await self.live.mark("read", self.conversation_id, number)
            await asyncio.sleep(0.3)

    def typed(self) -> None:
        """The person pressed a key: tell the others, every three seconds at most."""
        if time.monotonic() - self._typing_sent > _TYPING_SECONDS:
            self._typing_sent = time.monotonic()
            self.live.spawn(self.live.typing(self.conversation_id, "started"))

    def footer(self) -> FormattedText:
        """Below the prompt: the connection, who types, who has read."""
        now = time.monotonic()
        typing = [self.people.name(user) for user, until in self.writing.items() if until > now]
        last = self.live.cursors.get(self.conversation_id, 0)
        seen = [self.people.name(user) for user, number in self.read_upto.items() if last and number >= last]
        parts = [self.link]
        if typing:
            parts.append(f"{', '.join(typing)} typing…")
        if seen:
            parts.append(f"read by {', '.join(seen)}")
        return FormattedText([("", " · ".join(parts))])


async def open_terminal(rest: RestClient, conversation: Json, title: str) -> None:
    """Talk in this terminal; a pipe instead of a terminal sends its lines and prints what comes."""
    people = People(rest)
    members = await rest.pages(f"/v1/conversations/{conversation['conversation_id']}/members", "members", {})
    await people.learn({member["user_id"] for member in members[:200]})
    if not sys.stdin.isatty():
        screen = ChatScreen(rest, conversation, people, lambda line: print(line, flush=True))
        await screen.run(lambda: asyncio.ensure_future(_read_line()))
        return
    session: PromptSession[str] = PromptSession(refresh_interval=0.5)
    with patch_stdout():
        screen = ChatScreen(rest, conversation, people, lambda line: print(line, flush=True))
        print(f"-- {title} · /quit or Ctrl-D leaves")
        session.default_buffer.on_text_insert += lambda _: screen.typed()
        prompt = f"{rest.tokens.user['username'] if rest.tokens else ''}> "
        await screen.run(lambda: asyncio.ensure_future(session.prompt_async(prompt, bottom_toolbar=screen.footer)))


async def _read_line() -> str:
    line: str = await asyncio.to_thread(sys.stdin.readline)
    if not line:
        raise EOFError
    return line
