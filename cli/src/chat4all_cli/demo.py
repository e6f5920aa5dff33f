"""`chat4all demo`: real conversations in many languages through the edge, then a check on every side that nothing went missing.

Each language is a group; each speaker is a user on a socket of their own and sends their own lines. Then every participant's
screen, the log over REST and the time series are compared with what was sent: all lines, byte for byte, once, in one order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chat4all_cli import corpus
from chat4all_cli.live import LiveClient, Observer
from chat4all_cli.rest import ApiError, Json, RestClient
from chat4all_cli.sessions import SessionFile, live_url

PASSWORD = "chat4all-demo"  # noqa: S105  # accounts of a demonstration on one's own machine
_SETTLE_SECONDS = 60.0
_SIGN_INS_AT_ONCE = 4

TimeSeries = Callable[[str], "list[str]"]


@dataclass
class Participant:
    """One speaker: their own connection and what their screen has shown."""

    username: str
    rest: RestClient
    live: LiveClient
    shown: list[tuple[int, str, str, str]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def take(self, frame: Json, _: bool) -> None:
        """Note one entry as shown: number, id, who, text."""
        data = frame["data"]
        if data.get("kind", "message") == "message":
            self.shown.append(
                (frame["sequence_number"], data["message_id"], data["from_user_id"], data["content"].get("text", ""))
            )


@dataclass
class Outcome:
    """What one language's conversation came to."""

    language: str
    conversation_id: str
    first_speaker: str
    lines: int
    deliveries: int
    problems: list[str]


async def enter(url: str, username: str, display_name: str) -> Participant:
    """Register where needed, sign in, and prepare a connection."""
    rest = RestClient(url)
    try:
        await rest.register(username, PASSWORD, display_name)
    except ApiError as error:
        if error.reason != "USERNAME_TAKEN":
            raise
    SessionFile(username, url).save(await rest.login(username, PASSWORD, device_id="demo", device_name="chat4all demo"))
    person = Participant(username, rest, LiveClient(rest, live_url(url), client_name="chat4all-demo"))
    person.live.observer = Observer(event=person.take)
    return person


async def speak(
    url: str, language: corpus.Language, gate: asyncio.Semaphore, told: Callable[[int], None]
) -> tuple[list[Participant], Json, list[Any]]:
    """Hold one language's whole conversation; each speaker waits for the line before theirs to be stored.

    Raises:
        ApiError: the edge refused to sign somebody in or to create the group.
    """
    people = []
    for number in range(corpus.SPEAKERS):
        async with gate:
            people.append(await enter(url, f"demo-{language.name}-{number + 1}", f"{language.name.title()} {number + 1}"))
    ids = [person.live.rest.tokens.user["user_id"] for person in people if person.live.rest.tokens]
    run = str(int(time.time() * 1000))
    conversation = await people[0].rest.create_conversation(
        "group", ids[1:], f"{language.name.title()} demo", f"demo-{language.name}-{run}"
    )
    conversation_id = conversation["conversation_id"]
    for person in people:
        person.live.cursors[conversation_id] = 0
        person.task = asyncio.create_task(person.live.run())
    await asyncio.gather(*(person.live.ready() for person in people))
    sent: list[Any] = []
    for speaker, text in language.lines:
        message = await people[speaker].live.send(conversation_id, {"type": "text", "text": text})
        answer = await message.stored
        sent.append((answer["sequence_number"], message.message_id, ids[speaker], text))
        told(1)
    return people, conversation, sent


def compare(sent: list[Any], seen: list[Any], where: str) -> list[str]:
    """What differs between what was sent and what is there, as sentences; none when all is right."""
    wanted, found = [entry[1] for entry in sent], [entry[1] for entry in seen]
    problems = []
    if missing := set(wanted) - set(found):
        problems.append(f"{where}: {len(missing)} lost")
    if len(found) != len(set(found)):
        problems.append(f"{where}: {len(found) - len(set(found))} doubled")
    if foreign := set(found) - set(wanted):
        problems.append(f"{where}: {len(foreign)} foreign")
    if not problems and list(map(tuple, seen)) != list(map(tuple, sent)):
        problems.append(f"{where}: order, sender or bytes differ")
    return problems


async def check(people: list[Participant], conversation: Json, sent: list[Any], series: TimeSeries, language: str) -> Outcome:
    """Compare every side with what was sent."""
    conversation_id = conversation["conversation_id"]
    await _until(lambda: all(len(person.shown) >= len(sent) for person in people))
    problems = [problem for person in people for problem in compare(sent, person.shown, f"screen of {person.username}")]
    log = await people[-1].rest.history(conversation_id)
    numbers = [entry["sequence_number"] for entry in log]
    if numbers != list(range(1, len(numbers) + 1)):
        problems.append("log: sequence numbers have holes")
    messages = [entry for entry in log if entry["kind"] == "message"]
    rows = [(row["sequence_number"], row["message_id"], row["from_user_id"], row["content"].get("text", "")) for row in messages]
    problems += compare(sent, rows, "log")
    wanted = [entry[1] for entry in sent]
    ids: list[str] = []

    def complete() -> bool:
        ids[:] = series(conversation_id)
        return len(ids) >= len(wanted)

    await _until(complete, 0.25)
    if sorted(ids) != sorted(wanted):
        problems.append(f"time series: {len(ids)} rows, {len(set(ids) & set(wanted))} of {len(wanted)} right")
    return Outcome(
        language, conversation_id, people[0].username, len(sent), sum(len(person.shown) for person in people), problems
    )


async def _until(condition: Callable[[], bool], pause_seconds: float = 0.05) -> None:
    """Wait for a condition, `_SETTLE_SECONDS` at most; the comparison that follows says what is missing."""
    until = time.monotonic() + _SETTLE_SECONDS
    while not condition() and time.monotonic() < until:  # noqa: ASYNC110  # what is watched tells nobody of a change
        await asyncio.sleep(pause_seconds)


async def run(
    url: str, languages: list[corpus.Language], series: TimeSeries, told: Callable[[int], None]
) -> tuple[list[Outcome], float]:
    """All languages at once; returns what came of each and the seconds the talking took."""
    gate = asyncio.Semaphore(_SIGN_INS_AT_ONCE)
    started = time.monotonic()
    talks = await asyncio.gather(*(speak(url, language, gate, told) for language in languages))
    seconds = time.monotonic() - started
    outcomes = [
        await check(people, conversation, sent, series, language.name)
        for language, (people, conversation, sent) in zip(languages, talks, strict=True)
    ]
    for people, _, _ in talks:
        for person in people:
            if person.task is not None:
                person.task.cancel()
            await person.rest.__aexit__(None, None, None)
    return outcomes, seconds
