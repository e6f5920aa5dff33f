"""The Ed25519 keys that sign access tokens: files in one folder, the only place where they are.

One file `<kid>.pem` (PKCS #8, mode 0600) per key. All are published; the newest signs, once it has been published for as long
as others may cache the JWKS, so that nobody meets a token whose key they cannot know. The folder is read again while the
process runs: rotate by adding a file, retire a key by removing its file when its last tokens have expired.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chat4all_runtime.clock import Clock
from chat4all_runtime.ids import new_id

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key; `made_at` is the file's time of change, in seconds since 1970."""

    kid: str
    private: Ed25519PrivateKey
    made_at: float

    def jwk(self) -> dict[str, str]:
        """The public half as a JWK (source: RFC 8037 §2)."""
        raw = self.private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        x = urlsafe_b64encode(raw).decode().rstrip("=")
        return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "alg": "EdDSA", "use": "sig"}


class SigningKeys:
    """The keys of a folder; also the `KeySource` of this process's own token verifier.

    Args:
        activation: how long a further key is published before it signs.
    """

    def __init__(self, folder: Path, activation: timedelta, clock: Clock) -> None:
        self._folder = folder
        self._activation_seconds = activation.total_seconds()
        self._clock = clock
        self._keys: dict[str, SigningKey] = {}  # oldest first

    def open(self) -> None:
        """Read the folder; make it, and the first key, when there is none. Blocks on the disk.

        Raises:
            OSError: the folder cannot be used.
            RuntimeError: it holds key files, but none that can be read as an Ed25519 key.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # of copies that start together on one folder, one makes the key
            if not any(self._folder.glob("*.pem")):
                _write_new_key(self._folder)
                os.fsync(folder)
        finally:
            os.close(folder)
        self.reload()
        if not self._keys:
            raise RuntimeError(f"no key in {self._folder} can be read")

    def reload(self) -> None:
        """Read the folder again; files that are no keys are logged and left out. Blocks on the disk."""
        found = [key for path in self._folder.glob("*.pem") if (key := _read(path)) is not None]
        found.sort(key=lambda key: (key.made_at, key.kid))
        if [key.kid for key in found] != list(self._keys):
            log.info("signing_keys_loaded", kids=[key.kid for key in found])
        if found:
            self._keys = {key.kid: key for key in found}
        elif self._keys:
            log.error("signing_keys_gone", folder=str(self._folder))  # go on with those in memory

    def signer(self, now: datetime) -> SigningKey:
        """The newest key that has been published long enough; the oldest when none has."""
        published_since = now.timestamp() - self._activation_seconds
        keys = list(self._keys.values())
        return next((key for key in reversed(keys) if key.made_at <= published_since), keys[0])

    def jwks(self) -> dict[str, Any]:
        """The public keys, newest first."""
        return {"keys": [key.jwk() for key in reversed(self._keys.values())]}

    async def key(self, kid: str) -> Any | None:
        """The public key of that id, None when there is none."""
        key = self._keys.get(kid)
        return None if key is None else key.private.public_key()

    async def run(self, stop: asyncio.Event, every: timedelta) -> None:
        """Read the folder again and again until told to stop."""
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), every.total_seconds())
            except TimeoutError:
                try:
                    await asyncio.to_thread(self.reload)
                except OSError as error:
                    log.error("signing_keys_not_readable", folder=str(self._folder), error=str(error))


def _write_new_key(folder: Path) -> None:
    """Write one key so that its final name never shows half a file."""
    kid = new_id()
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    unfinished = folder / f".{kid}.new"
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(folder / f"{kid}.pem")


def _read(path: Path) -> SigningKey | None:
    try:
        status = path.stat()
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        return None  # removed since it was listed
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        log.error("signing_key_not_readable", file=path.name, error=str(error))
        return None
    if not isinstance(private, Ed25519PrivateKey):
        log.error("signing_key_not_readable", file=path.name, error="not an Ed25519 key")
        return None
    if status.st_mode & 0o077:
        log.warning("signing_key_open_to_others", file=path.name, mode=oct(status.st_mode & 0o777))
    return SigningKey(path.stem, private, status.st_mtime)
