"""Who is signed in on this machine: one file per person, readable by its owner only, safe for programs running at once."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chat4all_cli.rest import Tokens


def base_url() -> str:
    """The edge to talk to: `CHAT4ALL_URL`, else this machine's on the port block `CHAT4ALL_PORT_BASE`."""
    return os.environ.get("CHAT4ALL_URL") or f"http://127.0.0.1:{os.environ.get('CHAT4ALL_PORT_BASE', '8080')}"


def live_url(rest_url: str) -> str:
    """The WebSocket behind a REST address, or `CHAT4ALL_WS_URL`."""
    return os.environ.get("CHAT4ALL_WS_URL") or rest_url.replace("http", "ws", 1) + "/v1/ws"


def _folder() -> Path:
    home = os.environ.get("CHAT4ALL_HOME")
    folder = Path(home) if home else Path.home() / ".config" / "chat4all"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


class SessionFile:
    """The tokens of one person at one edge."""

    def __init__(self, username: str, url: str) -> None:
        safe = "".join(letter if letter.isalnum() else "_" for letter in f"{username}-{url}")
        self._path = _folder() / f"{safe}.json"
        self._lock = self._path.with_suffix(".lock")
        self._current = _folder() / "current"
        self._username = username

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Only one program at a time; the wait is as long as somebody's refresh call, 10 s at most."""
        with self._lock.open("w") as handle:
            await asyncio.to_thread(fcntl.flock, handle, fcntl.LOCK_EX)
            yield

    def load(self) -> Tokens | None:
        """What is kept, None when nothing is or it cannot be read."""
        try:
            kept = json.loads(self._path.read_text())
            left = float(kept["expires_at"]) - time.time()
            return Tokens(kept["access_token"], kept["refresh_token"], time.monotonic() + left, kept["user"])
        except (OSError, ValueError, KeyError):
            return None

    def save(self, tokens: Tokens) -> None:
        """Keep these, and make this person the current one."""
        kept = {
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token,
            "expires_at": time.time() + tokens.expires_at - time.monotonic(),
            "user": tokens.user,
        }
        draft = self._path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(kept))
        draft.replace(self._path)
        self._current.write_text(self._username)

    def forget(self) -> None:
        """Keep nothing."""
        self._path.unlink(missing_ok=True)


def current_username() -> str:
    """Who logged in last, empty when nobody did."""
    try:
        return (_folder() / "current").read_text().strip()
    except OSError:
        return ""
