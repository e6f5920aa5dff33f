"""The state folder: secrets made once, kept private; a full disk told before anything starts."""

from __future__ import annotations

import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chat4all_native.errors import StartFailed, diagnose
from chat4all_native.layout import Layout

Usage = namedtuple("Usage", "total used free")


def test_secrets_are_made_once_even_when_many_ask_at_once(tmp_path: Path) -> None:
    """All processes of a copy share the same secrets, whoever comes first."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: Layout(tmp_path, tmp_path).secrets(), range(16)))
    assert len(set(made)) == 1
    assert len(made[0].internal_secret) >= 32


def test_secrets_are_private_and_not_printed(tmp_path: Path) -> None:
    """No other user reads them, and no log or traceback shows them."""
    layout = Layout(tmp_path, tmp_path)
    secrets = layout.secrets()
    assert (tmp_path / "secrets" / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert secrets.postgres_password not in repr(secrets)


def test_too_little_disk_is_told_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with what is free and what is needed."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10 << 30, 9 << 30, 300 << 20))
    with pytest.raises(StartFailed, match=r"only 300 MiB are free .* need 1 GiB"):
        Layout(tmp_path / "state", tmp_path / "cache").make()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file where the folder should be is a sentence, not a traceback."""
    (tmp_path / "state").write_text("")
    with pytest.raises(StartFailed, match="cannot be made"):
        Layout(tmp_path / "state", tmp_path / "cache").make()


def test_known_causes_in_a_log_become_plain_words() -> None:
    """The person reads what to do, not a stack trace."""
    assert "disk is full" in (diagnose(["java.io.IOException: No space left on device"]) or "")
    assert diagnose(["nothing known"]) is None
