"""REST through the edge, as any partner would use it: tokens renewed in time, repeats only where a repeat is safe."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import httpx

Json = dict[str, Any]

_TRIES = 6
_RENEW_BEFORE_SECONDS = 60.0


class ApiError(Exception):
    """A refusal: `status` is HTTP's, `reason` is the one a program can act on, `message` is for people."""

    def __init__(self, status: int, reason: str, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{message} ({reason})")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds


@dataclass(slots=True)
class Tokens:
    """What a login gave. `expires_at` is this machine's monotonic time."""

    access_token: str
    refresh_token: str
    expires_at: float
    user: Json

    @staticmethod
    def of(answer: Json) -> Tokens:
        """From the answer of login or refresh."""
        return Tokens(answer["access_token"], answer["refresh_token"], time.monotonic() + answer["expires_in"], answer["user"])


def _error_of(response: httpx.Response) -> ApiError:
    reason, message = "UNKNOWN", response.text[:300]
    try:
        body = response.json()
        message = str(body.get("message", message))
        for detail in body.get("details", []):
            reason = str(detail.get("reason", reason)) if "ErrorInfo" in str(detail.get("@type", "")) else reason
    except (ValueError, AttributeError):
        pass  # not our shape: the text itself is the message
    wait = response.headers.get("retry-after")
    return ApiError(response.status_code, reason, message, float(wait) if wait and wait.isdigit() else None)


class TokenStore(Protocol):
    """Where tokens are kept between programs of one person."""

    def locked(self) -> AbstractAsyncContextManager[None]:
        """Only one program at a time."""
        ...

    def load(self) -> Tokens | None:
        """What is kept, None when nothing is."""
        ...

    def save(self, tokens: Tokens) -> None:
        """Keep these."""
        ...


class RestClient:
    """One person's REST access. Every call has a deadline of 10 s and, where it is safe, up to six tries with jitter.

    Raises on each call:
        ApiError: the answer was a refusal, or there was none (status 0, reason UNREACHABLE).
    """

    def __init__(
        self, base_url: str, tokens: Tokens | None = None, timeout_seconds: float = 10.0, store: TokenStore | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.tokens = tokens
        self._store = store
        self._http = httpx.AsyncClient(base_url=self.base_url, timeout=timeout_seconds)
        self._renewing = asyncio.Lock()

    async def __aenter__(self) -> RestClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.aclose()

    async def call(
        self, method: str, path: str, body: Json | None = None, params: Json | None = None, *, repeat: bool = True
    ) -> Json:
        """One call; `repeat` allows further tries when the outcome is unknown or the service is away for now."""
        for attempt in range(_TRIES if repeat else 1):
            error: ApiError
            try:
                response = await self._http.request(method, path, json=body, params=params, headers=await self._headers(path))
                if response.is_success:
                    return dict(response.json()) if response.content else {}
                error = _error_of(response)
                if error.status not in (429, 502, 503, 504):
                    raise error
            except httpx.TransportError as failure:
                error = ApiError(
                    0, "UNREACHABLE", f"No answer from {self.base_url}: {type(failure).__name__}. Is it running? chat4all up"
                )
            if attempt + 1 < (_TRIES if repeat else 1):
                await asyncio.sleep(error.retry_after_seconds or min(0.1 * 2**attempt, 2.0) * random.uniform(0.5, 1.0))  # noqa: S311
        raise error

    async def _headers(self, path: str) -> dict[str, str]:
        open_path = path.startswith("/v1/auth/") and path != "/v1/auth/logout"
        if self.tokens is None or open_path:
            return {}
        return {"authorization": f"Bearer {await self.access_token()}"}

    async def access_token(self) -> str:
        """A token that is good for at least a minute."""
        if self.tokens is None:
            raise ApiError(401, "NOT_LOGGED_IN", "Not logged in: chat4all login")
        async with self._renewing:
            if self._fresh():
                return self.tokens.access_token
            if self._store is not None:
                await self._renew_shared(self._store)
            else:
                await self._renew()
            return self.tokens.access_token

    def _fresh(self) -> bool:
        return self.tokens is not None and self.tokens.expires_at - time.monotonic() >= _RENEW_BEFORE_SECONDS

    async def _renew_shared(self, store: TokenStore) -> None:
        """Another program of the same person may have renewed already: the refresh token is good for one use."""
        async with store.locked():
            self.tokens = store.load() or self.tokens
            if not self._fresh():
                await self._renew()
                if self.tokens is not None:
                    store.save(self.tokens)

    async def _renew(self) -> None:
        if self.tokens is not None:
            # Never repeated: using a refresh token twice ends the session.
            answer = await self.call("POST", "/v1/auth/refresh", {"refresh_token": self.tokens.refresh_token}, repeat=False)
            self.tokens = Tokens.of(answer)

    async def register(self, username: str, password: str, display_name: str) -> Json:
        """Create an account; a repeat whose first try went through answers USERNAME_TAKEN."""
        return await self.call(
            "POST", "/v1/auth/register", {"username": username, "password": password, "display_name": display_name}
        )

    async def login(self, username: str, password: str, device_id: str = "", device_name: str = "") -> Tokens:
        """Sign in and keep the tokens."""
        body = {"username": username, "password": password, "device_id": device_id, "device_name": device_name}
        self.tokens = Tokens.of(await self.call("POST", "/v1/auth/login", body))
        return self.tokens

    async def find_user(self, username: str) -> Json | None:
        """The account with exactly that name, None when there is none."""
        answer = await self.call("GET", "/v1/users", params={"query": username})
        return next((user for user in answer["users"] if user["username"] == username), None)

    async def create_conversation(self, kind: str, member_ids: list[str], title: str = "", request_id: str = "") -> Json:
        """Create a conversation; `kind` is direct, group or channel."""
        body: Json = {"type": f"CONVERSATION_TYPE_{kind.upper()}", "member_ids": member_ids}
        body |= {"title": title} if title else {}
        body |= {"request_id": request_id} if request_id else {}
        return await self.call("POST", "/v1/conversations", body)

    async def conversations(self) -> list[Json]:
        """All conversations of the caller, newest activity first."""
        return await self.pages("/v1/conversations", "conversations", {"page_size": 200})

    async def send(self, conversation_id: str, message_id: str, content: Json, wait_for: str = "WAIT_FOR_ACCEPTED") -> Json:
        """Send one message; the same `message_id` is one message however often it is sent."""
        body = {"message_id": message_id, "content": content, "wait_for": wait_for}
        return await self.call("POST", f"/v1/conversations/{conversation_id}/messages", body)

    async def history(self, conversation_id: str, after: int = 0, upto: int | None = None) -> list[Json]:
        """Every entry after a number, in order."""
        found = await self.pages(
            f"/v1/conversations/{conversation_id}/messages", "messages", {"after_sequence_number": after, "page_size": 200}
        )
        return [entry for entry in found if upto is None or entry["sequence_number"] <= upto]

    async def newest(self, conversation_id: str, count: int) -> list[Json]:
        """The newest entries, oldest first."""
        answer = await self.call("GET", f"/v1/conversations/{conversation_id}/messages", params={"page_size": count})
        return list(reversed(answer["messages"]))

    async def pages(self, path: str, field: str, params: Json) -> list[Json]:
        """All rows of a list."""
        rows: list[Json] = []
        token = ""
        while True:
            answer = await self.call("GET", path, params=params | ({"page_token": token} if token else {}))
            rows += answer[field]
            token = answer.get("next_page_token", "")
            if not token:
                return rows
