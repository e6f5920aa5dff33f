"""Where a copy of the stack keeps what it has: data, logs, pid files, secrets; all under one folder.

data/<engine>/       what the engine stores        log/<name>.log       what a part says
run/<name>.json      pid and identity of a part    secrets/             generated once, readable by the owner only
cache/               downloads, shared by all copies of a checkout
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chat4all_native.errors import StartFailed
from chat4all_native.waiting import Deadline, wait_until

MIN_FREE_BYTES = 1 << 30
_LOCK_SECONDS = 180.0


@dataclass(frozen=True)
class Secrets:
    """Passwords between our processes and the engines of one copy."""

    postgres_password: str
    redis_password: str
    s3_access_key: str
    s3_secret_key: str
    internal_secret: str

    def __repr__(self) -> str:
        """Never the values: this object may end in a traceback."""
        return "Secrets(**********)"


def checkout() -> Path:
    """The root folder of the checkout this code runs from.

    Raises:
        StartFailed: the package was installed without its checkout (topics and state would have no place).
    """
    root = Path(__file__).resolve().parents[4]
    if not (root / "infrastructure" / "kafka" / "topics.yaml").is_file():
        raise StartFailed(
            "stack", 'this package runs from a checkout only; clone the repository and `pip install -e ".[engines]"`'
        )
    return root


class Layout:
    """The folders of one copy.

    Args:
        state: the folder; made when it is missing.
        cache: where downloads go; by default `.state/cache` of the checkout, whichever copy asks.
    """

    def __init__(self, state: Path, cache: Path | None = None) -> None:
        self.state = state.resolve()
        self.cache = (cache or checkout() / ".state" / "cache").resolve()

    def make(self) -> None:
        """Create the folders.

        Raises:
            StartFailed: the folder cannot be written, or less than 1 GiB is free there.
        """
        try:
            # PostgreSQL may run as another user, who must get through to its data; the rest is nobody else's business.
            (self.state / "data").mkdir(parents=True, exist_ok=True)
            for name in ("log", "run", "secrets"):
                (self.state / name).mkdir(mode=0o700, exist_ok=True)
            self.cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartFailed(
                "stack", f"the state folder {self.state} cannot be made ({error.strerror}); choose another"
            ) from error
        free = shutil.disk_usage(self.state).free
        if free < MIN_FREE_BYTES:
            raise StartFailed(
                "stack",
                f"only {free // (1 << 20)} MiB are free on the disk of {self.state}; the engines need 1 GiB to start safely, free some space",
            )

    def data(self, name: str) -> Path:
        """The data folder of an engine (not made)."""
        return self.state / "data" / name

    def log(self, name: str) -> Path:
        """The log file of a part."""
        return self.state / "log" / f"{name}.log"

    def run(self, name: str) -> Path:
        """The pid file of a part."""
        return self.state / "run" / f"{name}.json"

    def known(self) -> list[str]:
        """Names of all parts that have a pid file, running or not."""
        return sorted(path.stem for path in (self.state / "run").glob("*.json"))

    def secrets(self) -> Secrets:
        """The secrets of this copy, made on first use with mode 0600; safe when two ask at once."""
        path = self.state / "secrets" / "secrets.json"
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = Secrets(*(secrets.token_hex(24) for _ in range(5)))
            draft = path.with_name(f"draft-{os.getpid()}-{secrets.token_hex(4)}")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(made.__dict__, file)
            try:
                os.link(draft, path)  # fails when another was first, and never shows a half-written file
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return Secrets(**json.loads(path.read_text()))

    def read_port_base(self) -> int | None:
        """The block the parts of this copy were last started on."""
        try:
            return int((self.state / "port-base").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def write_port_base(self, base: int) -> None:
        """Remember the block for commands that come without the setting."""
        (self.state / "port-base").write_text(f"{base}\n")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Only one command at a time changes what runs in this copy.

        Raises:
            StartFailed: another command was at work for three minutes.
        """
        with lock_file(
            self.state / "stack.lock", "stack", "another command is starting or stopping this copy; wait for it to end"
        ):
            yield


@contextmanager
def lock_file(path: Path, name: str, sentence: str) -> Iterator[None]:
    """Hold an advisory lock; it ends with this process, so it is never stale.

    Raises:
        StartFailed: not got within three minutes; carries `sentence`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:

        def taken() -> str | None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return sentence
            return None

        if reason := wait_until(taken, Deadline(_LOCK_SECONDS)):
            raise StartFailed(name, reason)
        yield
    finally:
        os.close(descriptor)
