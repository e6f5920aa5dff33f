"""The jars of the Kafka broker: fetched once per checkout from Maven Central through jgo, each checked against its pinned hash.

Only exactly the files in `kafka_jars.lock` are fetched; nothing is resolved at run time, so no Maven and no JDK is needed.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chat4all_native.errors import StartFailed
from chat4all_native.layout import lock_file

LOCK = Path(__file__).with_name("kafka_jars.lock")
_PARALLEL = 6
_FETCH_SECONDS = 60


@dataclass(frozen=True)
class Jar:
    """One pinned file."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Its name in Maven's repository."""
        return f"{self.artifact}-{self.version}.jar"


def pinned_jars() -> list[Jar]:
    """The jars of the committed lock file."""
    jars = []
    for line in LOCK.read_text().splitlines():
        if line and not line.startswith("#"):
            coordinates, sha256 = line.split()
            group, artifact, version = coordinates.split(":")
            jars.append(Jar(group, artifact, version, sha256))
    return jars


def kafka_version() -> str:
    """The version of the broker in the lock file."""
    return next(jar.version for jar in pinned_jars() if jar.artifact == "kafka-server")


def ensure_jars(cache: Path) -> Path:
    """The folder with all jars, fetched if need be; safe when several copies of the stack ask at once.

    Raises:
        StartFailed: a jar could not be fetched or is not the pinned one.
    """
    folder = cache / "kafka-jars" / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    if folder.is_dir():  # complete and checked: it got its name at the very end
        return folder
    with lock_file(cache / "kafka-jars.lock", "kafka", "another copy has been fetching the Kafka jars for too long; try again"):
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in (path for pattern in ("draft-*", "repository-*") for path in folder.parent.glob(pattern)):
            shutil.rmtree(left)  # of a fetch that was killed; nobody else is fetching now
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=folder.parent))
        try:
            _fetch_all(draft)
            draft.chmod(0o755)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def _fetch_all(target: Path) -> None:
    try:
        from jgo.maven import MavenContext  # only when something is to be fetched: the import costs 0.4 s
    except ImportError as error:
        raise StartFailed(
            "kafka", 'its jars must be fetched and jgo is not installed: run `pip install -e ".[engines]"`'
        ) from error
    with tempfile.TemporaryDirectory(prefix="repository-", dir=target.parent) as repository:
        maven = MavenContext(repo_cache=Path(repository), timeout=_FETCH_SECONDS)
        with ThreadPoolExecutor(_PARALLEL) as pool:
            list(pool.map(lambda jar: _fetch(maven, jar, target), pinned_jars()))


def _fetch(maven: Any, jar: Jar, target: Path) -> None:
    artifact = maven.project(jar.group, jar.artifact).at_version(jar.version).artifact(packaging="jar")
    try:
        path: Path = artifact.resolve()
    except Exception as error:  # requests' and jgo's own, without a common base
        raise StartFailed(
            "kafka", f"{jar.file_name} could not be fetched from Maven Central ({error}); check the network"
        ) from error
    if hashlib.sha256(path.read_bytes()).hexdigest() != jar.sha256:
        raise StartFailed("kafka", f"{jar.file_name} is not the file that was pinned; do not use it, and tell the maintainers")
    shutil.copyfile(path, target / jar.file_name)
