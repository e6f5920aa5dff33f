"""Choosing an engine's program: the PATH before the wheel, never a bad version, never one that cannot read the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from chat4all_native.engines.etcd import _good
from chat4all_native.engines.kafka_jars import _fetch, kafka_version, pinned_jars
from chat4all_native.errors import StartFailed
from chat4all_native.programs import Program, choose


def program(folder: Path, version: str, name: str = "engine") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho 'engine version {version}'\n")
    path.chmod(0o755)
    return path


def pick(wheel: Path | None, series: tuple[int, Path] | None = None) -> Program:
    return choose(
        "engine",
        on_path=("engine",),
        wheel=wheel,
        argument="--version",
        pattern=r"version (\d+\.\d+)",
        good=lambda version: version >= (7,),
        wanted="run `pip install it`",
        series=series,
    )


def test_a_good_program_on_the_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine has is used when it is good enough, and it is said where it comes from."""
    own = program(tmp_path / "path", "7.2")
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/bin")
    chosen = pick(program(tmp_path / "wheel", "8.0"))
    assert (chosen.path, chosen.version) == (own, (7, 2))
    assert chosen.describe("Engine") == f"Engine 7.2 (on the PATH: {own})"


def test_an_old_program_on_the_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old system package does not break the start."""
    program(tmp_path / "path", "6.9")
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/bin")
    assert pick(program(tmp_path / "wheel", "8.0")).version == (8, 0)


def test_a_missing_program_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with the command that helps."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartFailed, match="not installed: run `pip install it`"):
        pick(None)


def test_data_of_another_version_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version that wrote the data is preferred over a newer one; when it is gone, the person is told."""
    program(tmp_path / "path", "9.1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/bin")
    memory = tmp_path / "series"
    memory.write_text("8\n")
    wheel = program(tmp_path / "wheel", "8.4")
    assert pick(wheel, (1, memory)).path == wheel
    with pytest.raises(StartFailed, match="written by version 8 and only 9 is here"):
        pick(None, (1, memory))


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ((3, 4, 21), False),
        ((3, 4, 23), True),
        ((3, 5, 0), False),
        ((3, 5, 1), False),
        ((3, 5, 2), False),
        ((3, 5, 3), True),
        ((3, 6, 1), True),
    ],
)
def test_etcd_versions_that_lose_data_are_not_taken_from_the_path(version: tuple[int, ...], good: bool) -> None:
    """3.5.0-3.5.2 can lose data when killed."""
    assert _good(version) is good


def test_every_jar_is_pinned() -> None:
    """46 files, each by its SHA-256, the broker among them."""
    jars = pinned_jars()
    assert len({jar.file_name for jar in jars}) == len(jars) == 46
    assert all(len(jar.sha256) == 64 for jar in jars)
    assert kafka_version() == "4.3.1"


class OneJar:
    """Stands in for jgo's Maven client: hands out one file, whatever is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def project(self, group: str, artifact: str) -> OneJar:
        """The same for every project."""
        return self

    def at_version(self, version: str) -> OneJar:
        """The same for every version."""
        return self

    def artifact(self, packaging: str) -> OneJar:
        """The same for every packaging."""
        return self

    def resolve(self) -> Path:
        """The file it was made with."""
        return self.path


def test_a_jar_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    """What a mirror or an attacker changed never gets onto the class path."""
    (tmp_path / "served").write_bytes(b"something else")
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(StartFailed, match="not the file that was pinned"):
        _fetch(OneJar(tmp_path / "served"), pinned_jars()[0], target)
    assert list(target.iterdir()) == []


def test_a_wheel_for_another_machine_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another processor the sentence names the wheel's program, not a missing package."""
    monkeypatch.setenv("PATH", str(tmp_path))
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"\x7fELF of another machine")
    foreign.chmod(0o755)
    with pytest.raises(StartFailed, match="does not run here"):
        pick(foreign)
