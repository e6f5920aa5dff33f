"""The command `chat4all`: what people type. Everything that prints data takes `--json`; every refusal is one sentence."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import pymongo
import typer
from confluent_kafka import KafkaException

from chat4all_cli import chat as chat_screen
from chat4all_cli import corpus, local, operations
from chat4all_cli import demo as demo_run
from chat4all_cli.live import LiveRefused, event_of
from chat4all_cli.rest import ApiError, Json, RestClient
from chat4all_cli.sessions import SessionFile, base_url, current_username
from chat4all_native.errors import StartFailed
from chat4all_native.stack import Stack
from chat4all_runtime.ids import is_uuid, new_id

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Run Chat4All and talk through it."
)
dlq = typer.Typer(no_args_is_help=True, help="Records that could not be processed.")
app.add_typer(dlq, name="dlq")

As = Annotated[str, typer.Option("--as", help="Who to be; whoever logged in last by default.")]
Target = Annotated[str, typer.Argument(help="A username or a conversation id.")]
Letter = Annotated[str, typer.Argument(help="topic/partition/offset, as `list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print data for programs.")]

T = TypeVar("T")


def _show(data: Any, as_json: bool, text: str) -> None:
    print(json.dumps(data, ensure_ascii=False, indent=2) if as_json else text)


def _person(username: str) -> RestClient:
    name = username or current_username()
    store = SessionFile(name, base_url())
    tokens = store.load() if name else None
    if tokens is None:
        raise ApiError(401, "NOT_LOGGED_IN", f"{name or 'Nobody'} is not signed in here: chat4all login {name}".strip())
    return RestClient(base_url(), tokens, store=store)


async def _conversation_with(rest: RestClient, target: str) -> Json:
    """The conversation with that id, or the direct one with that person."""
    if is_uuid(target):
        return await rest.call("GET", f"/v1/conversations/{target}")
    user = await rest.find_user(target)
    if user is None:
        raise ApiError(404, "USER_NOT_FOUND", f"There is nobody called {target}.")
    return await rest.create_conversation("direct", [user["user_id"]])


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@app.command()
def up() -> None:
    """Start the engines and every process; safe to run again."""
    local.up(Stack())


@app.command()
def down() -> None:
    """Stop everything, in order."""
    local.down(Stack())


@app.command()
def status(as_json: AsJson = False) -> None:
    """How every engine and process is."""
    rows = Stack().status()
    _show(local.status_rows(rows), as_json, local.status_table(rows))
    if not all(row.ready for row in rows):
        raise typer.Exit(1)


@app.command()
def logs(
    name: str,
    lines: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what comes.")] = False,
) -> None:
    """The log of an engine or process."""
    stack = Stack()
    path = stack.log_path(name)
    if follow:
        os.execvp("tail", ["tail", "-n", str(lines), "-F", str(path)])  # noqa: S606  # the reader takes our place
    print("\n".join(stack.log_tail(name, lines)))


@app.command()
def login(
    username: str,
    password: Annotated[
        str, typer.Option(envvar="CHAT4ALL_PASSWORD", prompt=True, hide_input=True, help="Asked for when not given.")
    ],
    register: Annotated[bool, typer.Option("--register", help="Create the account first.")] = False,
) -> None:
    """Sign in and stay signed in on this machine."""

    async def work() -> None:
        async with RestClient(base_url()) as rest:
            if register:
                await rest.register(username, password, username)
            SessionFile(username, base_url()).save(await rest.login(username, password, device_name="terminal"))

    _run(work())
    print(f"{username} is signed in at {base_url()}")


@app.command()
def chat(target: Target, username: As = "") -> None:
    """Talk in this terminal; what was said before is shown first."""

    async def work() -> None:
        async with _person(username) as rest:
            conversation = await _conversation_with(rest, target)
            await chat_screen.open_terminal(rest, conversation, conversation.get("title") or target)

    _run(work())


@app.command()
def send(
    target: Target,
    text: str,
    username: As = "",
    as_json: AsJson = False,
) -> None:
    """Send one message and wait until it is stored."""

    async def work() -> Json:
        async with _person(username) as rest:
            conversation = await _conversation_with(rest, target)
            return await rest.send(conversation["conversation_id"], new_id(), {"type": "text", "text": text}, "WAIT_FOR_STORED")

    answer = _run(work())
    message = answer["message"]
    _show(answer, as_json, f"stored as {message['sequence_number']} in {message['conversation_id']}")


@app.command()
def history(
    target: Target,
    count: Annotated[int, typer.Option(min=1, max=200, help="How many of the newest entries.")] = 50,
    username: As = "",
    as_json: AsJson = False,
) -> None:
    """What was said last."""

    async def work() -> tuple[list[Json], chat_screen.People]:
        async with _person(username) as rest:
            conversation = await _conversation_with(rest, target)
            entries = await rest.newest(conversation["conversation_id"], count)
            people = chat_screen.People(rest)
            await people.learn({entry["from_user_id"] for entry in entries})
            return entries, people

    entries, people = _run(work())
    _show(
        entries,
        as_json,
        "\n".join(f"{entry['sequence_number']:>5}  {chat_screen.entry_line(event_of(entry), people)}" for entry in entries),
    )


@app.command()
def conversations(username: As = "", as_json: AsJson = False) -> None:
    """The conversations one is in, newest activity first."""

    async def work() -> list[Json]:
        async with _person(username) as rest:
            return await rest.conversations()

    rows = _run(work())
    lines = [
        f"{row['conversation_id']}  {row['type'].rsplit('_', 1)[1].lower():<8} {row['unread_count']:>4} unread  "
        f"{row['last_sequence_number']:>6} entries  {row.get('title', '')}"
        for row in rows
    ]
    _show(rows, as_json, "\n".join(lines) or "none yet: chat4all chat SOMEBODY")


@app.command()
def demo(
    lines: Annotated[int, typer.Option(min=0, help="Most lines of each language; 0 for all.")] = 0,
    language: Annotated[list[str] | None, typer.Option(help="Only these languages.")] = None,
    as_json: AsJson = False,
) -> None:
    """Real conversations in 28 languages through the edge, checked on every side."""
    stack = Stack()
    series = _time_series(stack)
    languages = corpus.load(lines or None, set(language) if language else None)
    total = sum(len(one.lines) for one in languages)
    said = 0

    def told(count: int) -> None:
        nonlocal said
        said += count
        if not as_json and (said % 500 == 0 or said == total):
            print(f"  {said} of {total} lines said", flush=True)

    if not as_json:
        print(
            f"{len(languages)} languages, {len(languages) * corpus.SPEAKERS} speakers, {total} lines (chatterbot-corpus, BSD-3-Clause)"
        )
    outcomes, seconds = _run(demo_run.run(base_url(), languages, series, told))
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    data = {
        "lines": sum(outcome.lines for outcome in outcomes),
        "deliveries": sum(outcome.deliveries for outcome in outcomes),
        "seconds": round(seconds, 1),
        "problems": problems,
        "left_out": sum(one.left_out for one in languages),
        "conversations": {outcome.language: outcome.conversation_id for outcome in outcomes},
    }
    rows = [
        f"{o.language:<20} {o.lines:>5} lines  {o.deliveries:>6} shown  {o.conversation_id}  {'ok' if not o.problems else 'WRONG'}"
        for o in outcomes
    ]
    verdict = "every line on every screen, in the log and in the time series: byte for byte, once, in one order"
    first = outcomes[0]
    text = "\n".join([
        *rows, *problems,
        f"{data['lines']} lines, {data['deliveries']} deliveries in {data['seconds']} s; {data['left_out']} corpus entries are no text",
        verdict if not problems else f"{len(problems)} PROBLEMS",
        f"Open one: chat4all chat {first.conversation_id} --as {first.first_speaker}",
    ])  # fmt: skip
    _show(data, as_json, text)
    if problems:
        raise typer.Exit(1)


def _time_series(stack: Stack) -> demo_run.TimeSeries:
    environment = stack.environment("cli")
    client: pymongo.MongoClient[Json] = pymongo.MongoClient(environment["CHAT4ALL_MONGO__URI"], timeoutMS=10_000)
    rows = client[environment["CHAT4ALL_MONGO__DATABASE"]]["conversation_history"]

    def ids(conversation_id: str) -> list[str]:
        return [
            row["message_id"]
            for row in rows.find({"meta.conversation_id": conversation_id, "kind": "message"}, {"message_id": 1})
        ]

    return ids


def _brokers() -> str:
    return os.environ.get("CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS") or Stack().environment("cli")["CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS"]


@app.command()
def topics(as_json: AsJson = False) -> None:
    """Kafka's topics: partitions, records, how far behind each reader is."""
    rows = operations.topics(_brokers())
    lines = [f"{'TOPIC':<30} {'PARTITIONS':>10} {'RECORDS':>10}  LAG"]
    lines += [
        f"{row['topic']:<30} {row['partitions']:>10} {row['records']:>10}  {', '.join(f'{g} {n}' for g, n in row['lag'].items())}"
        for row in rows
    ]
    _show(rows, as_json, "\n".join(lines))


@dlq.command("list")
def dlq_list(
    topic: Annotated[str, typer.Argument(help="A topic; all when not given.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """What is there, oldest first, and why."""
    rows = operations.dead_letters(_brokers(), topic or None, limit)
    lines = [f"{row['id']}  {row['reason']}  from {row['origin']}  {row['detail']}" for row in rows]
    _show(rows, as_json, "\n".join(lines) or "no dead letters")


@dlq.command("show")
def dlq_show(letter: Letter, as_json: AsJson = False) -> None:
    """All about one, but its content."""
    data = operations.describe(operations.dead_letter(_brokers(), letter))
    _show(
        data,
        as_json,
        "\n".join(
            [f"key {data['key']}, {data['bytes']} bytes", *(f"{name}: {value}" for name, value in data["headers"].items())]
        ),
    )


@dlq.command("replay")
def dlq_replay(letter: Letter) -> None:
    """Put one back on the topic it came from; a repeat does no harm."""
    servers = _brokers()
    origin = operations.replay(servers, operations.dead_letter(servers, letter))
    print(f"{letter} is back on {origin}")


def main() -> None:
    """Entry point: every expected failure is one sentence and status 1."""
    try:
        app()
    except StartFailed as error:
        _fail(str(error), *error.log_tail)
    except (ApiError, LiveRefused, ValueError, FileNotFoundError) as error:
        _fail(str(error))
    except KafkaException as error:
        _fail(f"Kafka does not answer: {error}. Is it running? chat4all status")
    except pymongo.errors.PyMongoError as error:
        _fail(f"MongoDB does not answer: {type(error).__name__}. Is it running? chat4all status")
    except BaseExceptionGroup as group:
        known, other = group.split((ApiError, LiveRefused))
        if other is not None or known is None:
            raise
        _fail(str(known.exceptions[0]))


def _fail(sentence: str, *more: str) -> None:
    print("\n".join([sentence, *more]), file=sys.stderr)
    sys.exit(1)
