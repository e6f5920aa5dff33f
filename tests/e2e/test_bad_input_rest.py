"""Bad input through the edge: a status and reason of the contract, never a 5xx, and nothing is changed by it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import psutil
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from e2e.conftest import Copy

from chat4all_cli.rest import RestClient
from chat4all_runtime.ids import new_id

Body = bytes | dict[str, Any] | None


@dataclass(frozen=True)
class Scene:
    """A person with a conversation, and one they are not in."""

    copy: Copy
    rest: RestClient
    mine: str
    theirs: str
    their_message: str
    partner: str


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def scene(copy: Copy, people: list[RestClient]) -> Scene:
    """Person 0 with person 1; persons 2 and 3 by themselves."""
    ids = [rest.tokens.user["user_id"] for rest in people if rest.tokens]
    mine = await people[0].create_conversation("group", [ids[1]], "mine", new_id())
    theirs = await people[2].create_conversation("group", [ids[3]], "theirs", new_id())
    message_id = new_id()
    await people[2].send(theirs["conversation_id"], message_id, {"type": "text", "text": "private"}, "WAIT_FOR_STORED")
    return Scene(copy, people[0], mine["conversation_id"], theirs["conversation_id"], message_id, ids[1])


def message(**change: Any) -> dict[str, Any]:
    """A good message, changed."""
    return {"message_id": new_id(), "content": {"type": "text", "text": "hello"}} | change


def text(value: Any) -> dict[str, Any]:
    """A message with that text."""
    return message(content={"type": "text", "text": value})


SEND = "/v1/conversations/{mine}/messages"

# method, path, body, status, reason (empty: the edge's own words)
CASES: list[tuple[str, str, str, Body, int, str]] = [
    ("malformed JSON", "POST", SEND, b'{"message_id": ', 400, ""),
    ("not JSON", "POST", SEND, b"\xff\xfe\x00", 400, ""),
    ("a list for an object", "POST", SEND, b"[]", 400, ""),
    ("empty body", "POST", SEND, b"", 400, "MESSAGE_ID_INVALID"),
    ("wrong type of a field", "POST", SEND, message(message_id=5), 400, ""),
    ("wrong type of content", "POST", SEND, message(content="hello"), 400, ""),
    ("wrong type of text", "POST", SEND, text({"a": 1}), 400, ""),
    ("deep nesting", "POST", SEND, b'{"content":{"data":' + b'{"a":' * 2000 + b"1" + b"}" * 2000 + b"}}", 400, ""),
    ("missing id", "POST", SEND, {"content": {"type": "text", "text": "x"}}, 400, "MESSAGE_ID_INVALID"),
    ("missing content", "POST", SEND, {"message_id": new_id()}, 400, "CONTENT_TYPE_UNKNOWN"),
    ("missing text", "POST", SEND, message(content={"type": "text"}), 400, "TEXT_EMPTY"),
    ("missing type", "POST", SEND, message(content={"text": "x"}), 400, "CONTENT_TYPE_UNKNOWN"),
    ("unknown type", "POST", SEND, message(content={"type": "hologram"}), 400, "CONTENT_TYPE_UNKNOWN"),
    ("system content", "POST", SEND, message(content={"type": "system", "data": {}}), 400, "CONTENT_TYPE_RESERVED"),
    ("empty text", "POST", SEND, text(""), 400, "TEXT_EMPTY"),
    ("blank text", "POST", SEND, text(" \n\t "), 400, "TEXT_EMPTY"),
    ("10,001 characters", "POST", SEND, text("x" * 10_001), 400, "MESSAGE_TOO_LONG"),
    ("10,001 characters of four bytes", "POST", SEND, text("\U0001f600" * 10_001), 400, "MESSAGE_TOO_LONG"),
    ("NUL", "POST", SEND, text("a\0b"), 400, "TEXT_CONTROL_CHARACTER"),
    ("escape", "POST", SEND, text("a\x1b[2Jb"), 400, "TEXT_CONTROL_CHARACTER"),
    ("lone surrogate", "POST", SEND, b'{"message_id":"%s","content":{"type":"text","text":"\\ud800"}}' % new_id().encode(), 400, ""),
    ("1 MB body", "POST", SEND, text("x" * 1_000_000), 413, ""),
    ("id that is no UUID", "POST", SEND, message(message_id="42"), 400, "MESSAGE_ID_INVALID"),
    ("id of version 4", "POST", SEND, message(message_id="9b2e4a9c-8d47-4c43-a2c7-1d8a3c1f0b11"), 400, "MESSAGE_ID_INVALID"),
    ("id with upper case", "POST", SEND, message(message_id=new_id().upper()), 400, "MESSAGE_ID_INVALID"),
    ("foreign conversation", "POST", "/v1/conversations/{theirs}/messages", message(), 404, "CONVERSATION_NOT_FOUND"),
    ("unknown conversation", "POST", f"/v1/conversations/{new_id()}/messages", message(), 404, "CONVERSATION_NOT_FOUND"),
    ("conversation id of another shape", "POST", "/v1/conversations/abc/messages", message(), 400, "CONVERSATION_ID_INVALID"),
    ("conversation id that climbs", "POST", "/v1/conversations/..%2F..%2Fetc/messages", message(), 400, ""),
    ("file that is none", "POST", SEND, message(content={"type": "image", "file_id": new_id()}), 404, "FILE_NOT_FOUND"),
    ("file id of another shape", "POST", SEND, message(content={"type": "image", "file_id": "x"}), 400, "FILE_ID_INVALID"),
    ("latitude off the earth", "POST", SEND, message(content={"type": "location", "latitude": 91, "longitude": 0}), 400, "LATITUDE_INVALID"),
    ("foreign history", "GET", "/v1/conversations/{theirs}/messages", None, 404, "CONVERSATION_NOT_FOUND"),
    ("foreign message", "GET", "/v1/messages/{their_message}", None, 404, "MESSAGE_NOT_FOUND"),
    ("unknown query field", "GET", "/v1/conversations/{mine}/messages?colour=red", None, 400, ""),
    ("page size of a word", "GET", "/v1/conversations/{mine}/messages?page_size=many", None, 400, ""),
    ("page size too large", "GET", "/v1/conversations/{mine}/messages?page_size=201", None, 400, "PAGE_SIZE_INVALID"),
    ("negative page size", "GET", "/v1/conversations/{mine}/messages?page_size=-1", None, 400, "PAGE_SIZE_INVALID"),
    ("foreign page token", "GET", "/v1/conversations/{mine}/messages?page_token=AAAA", None, 400, "PAGE_TOKEN_INVALID"),
    ("both directions", "GET", "/v1/conversations/{mine}/messages?after_sequence_number=1&before_sequence_number=2", None, 400, ""),
    ("negative number", "GET", "/v1/conversations/{mine}/messages?after_sequence_number=-1", None, 400, ""),
    ("foreign conversation itself", "GET", "/v1/conversations/{theirs}", None, 404, "CONVERSATION_NOT_FOUND"),
    ("foreign members", "GET", "/v1/conversations/{theirs}/members", None, 404, "CONVERSATION_NOT_FOUND"),
    ("foreign read mark", "POST", "/v1/conversations/{theirs}/read", {"sequence_number": 1}, 404, "CONVERSATION_NOT_FOUND"),
    ("read mark beyond the end", "POST", "/v1/conversations/{mine}/read", {"sequence_number": 999}, 400, "SEQUENCE_NUMBER_TOO_HIGH"),
    ("joining a foreign conversation", "POST", "/v1/conversations/{theirs}/members", {"user_ids": [new_id()]}, 404, "CONVERSATION_NOT_FOUND"),
    ("conversation of a new kind", "POST", "/v1/conversations", {"type": "CIRCLE", "member_ids": []}, 400, ""),
    ("conversation with strangers", "POST", "/v1/conversations",
     {"type": "CONVERSATION_TYPE_GROUP", "member_ids": [new_id()], "request_id": "r"}, 400, "MEMBER_NOT_FOUND"),
    ("NUL in a title", "POST", "/v1/conversations",
     {"type": "CONVERSATION_TYPE_GROUP", "member_ids": [], "request_id": "r", "title": "a\0b"}, 400, ""),
    ("NUL in a username", "POST", "/v1/auth/register", {"username": "a\0bcd", "password": "long enough", "display_name": "x"}, 400, ""),
    ("short password", "POST", "/v1/auth/register", {"username": "abcd", "password": "short", "display_name": "x"}, 400, ""),
    ("login of nobody", "POST", "/v1/auth/login", {"username": "nobody-at-all", "password": "whatever-it-is"}, 401, "INVALID_CREDENTIALS"),
    ("refresh with garbage", "POST", "/v1/auth/refresh", {"refresh_token": "garbage"}, 401, ""),
    ("file of no bytes", "POST", "/v1/files",
     {"file_name": "a.png", "content_type": "image/png", "size_bytes": 0, "conversation_id": "{mine}"}, 400, "FILE_SIZE_INVALID"),
    ("file with a path", "POST", "/v1/files",
     {"file_name": "../a", "content_type": "image/png", "size_bytes": 1, "conversation_id": "{mine}"}, 400, "FILE_NAME_INVALID"),
    ("unknown path", "GET", "/v1/nothing", None, 404, ""),
    ("wrong verb", "PUT", SEND, message(), 404, ""),
    ("internal method", "POST", "/chat4all.message.v1.MessageService/SubmitMessages", b"", 404, ""),
]  # fmt: skip


def reason_of(answer: httpx.Response) -> str:
    """The reason in the one error shape; fails when the shape is another."""
    body = answer.json()
    assert isinstance(body["code"], int)
    assert isinstance(body["message"], str)
    return next((str(detail["reason"]) for detail in body["details"] if "ErrorInfo" in detail["@type"]), "")


async def state(scene: Scene) -> Any:
    """What must not change."""
    mine = await scene.rest.history(scene.mine)
    conversations = await scene.rest.conversations()
    return mine, len(conversations)


@pytest.mark.parametrize(("name", "method", "path", "body", "status", "reason"), CASES, ids=[case[0] for case in CASES])
async def test_each_is_refused(name: str, method: str, path: str, body: Body, status: int, reason: str, scene: Scene) -> None:
    """One row of the table."""
    filled = path.format(mine=scene.mine, theirs=scene.theirs, their_message=scene.their_message) if "{" in path else path
    content = json.dumps(body, ensure_ascii=False).replace("{mine}", scene.mine).encode() if isinstance(body, dict) else body
    before = await state(scene)
    async with httpx.AsyncClient(base_url=scene.copy.url, timeout=20) as client:
        headers = {"authorization": f"Bearer {await scene.rest.access_token()}", "content-type": "application/json"}
        answer = await client.request(method, filled, content=content, headers=headers)
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["x-request-id"]
    found = reason_of(answer)
    assert not reason or found == reason, found
    assert await state(scene) == before


def forged(**change: Any) -> str:
    """A token signed with a key nobody knows."""
    now = int(time.time())
    claims = {"sub": new_id(), "tenant_id": "default", "sid": new_id(), "iss": "https://auth.chat4all.local", "aud": "chat4all-api",
              "iat": now, "exp": now + 900}  # fmt: skip
    return jwt.encode(claims | change, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers={"kid": "forged"})


def tampered(token: str) -> str:
    """A good token whose claims were changed afterwards."""
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["sub"] = new_id()
    return f"{head}.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.{signature}"


def unsigned(token: str) -> str:
    """The claims of a good token under `alg: none`."""
    return jwt.encode(jwt.decode(token, options={"verify_signature": False}), "", algorithm="none")


TOKENS: dict[str, Callable[[str], str | None]] = {
    "none at all": lambda good: None,
    "empty": lambda good: "Bearer",
    "of another scheme": lambda good: f"Basic {good}",
    "garbage": lambda good: "Bearer garbage",
    "signed by a stranger": lambda good: f"Bearer {forged()}",
    "expired": lambda good: f"Bearer {forged(exp=int(time.time()) - 3600)}",
    "from the future": lambda good: f"Bearer {forged(nbf=int(time.time()) + 3600)}",
    "for another audience": lambda good: f"Bearer {forged(aud='elsewhere')}",
    "changed after signing": lambda good: f"Bearer {tampered(good)}",
    "unsigned": lambda good: f"Bearer {unsigned(good)}",
    "cut short": lambda good: f"Bearer {good[:-10]}",
}


@pytest.mark.parametrize("kind", TOKENS)
async def test_each_token_is_refused(kind: str, scene: Scene) -> None:
    """401 in the one shape, whatever is wrong with it."""
    header = TOKENS[kind](await scene.rest.access_token())
    async with httpx.AsyncClient(base_url=scene.copy.url, timeout=20) as client:
        answer = await client.get("/v1/users/me", headers={"authorization": header} if header is not None else {})
    assert answer.status_code == 401, answer.text
    assert reason_of(answer)


async def test_memory_stays_flat(scene: Scene) -> None:
    """Two thousand refusals leave every process where it was, give or take 10 MiB."""
    names = ("edge", "message", "auth", "conversation")

    def memory() -> dict[str, int]:
        return {name: psutil.Process(scene.copy.stack.pid(name)).memory_info().rss for name in names}

    async with httpx.AsyncClient(base_url=scene.copy.url, timeout=20) as client:
        headers = {"authorization": f"Bearer {await scene.rest.access_token()}"}
        path = f"/v1/conversations/{scene.mine}/messages"

        async def hammer(count: int) -> None:
            for number in range(count):
                answer = await client.post(path, content=json.dumps(text("x" * 10_001 + str(number))).encode(), headers=headers)
                assert answer.status_code == 400

        await hammer(500)
        before = memory()
        await hammer(2000)
        after = memory()
    grown = {name: (after[name] - before[name]) / 2**20 for name in names}
    assert all(mebibytes < 10 for mebibytes in grown.values()), grown
