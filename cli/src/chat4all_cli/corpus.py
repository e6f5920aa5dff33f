"""Real conversations in 28 languages, right-to-left and non-Latin scripts included: `chatterbot-corpus` (BSD-3-Clause)."""

from __future__ import annotations

import importlib.util
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import yaml

SPEAKERS = 6


@dataclass(frozen=True, slots=True)
class Language:
    """All lines of one language with who speaks each (0 to SPEAKERS - 1). `left_out` lines are not text a message may hold."""

    name: str
    lines: list[tuple[int, str]]
    left_out: int


def load(limit: int | None = None, only: set[str] | None = None) -> list[Language]:
    """Every language of the corpus, at most `limit` lines of each.

    Raises:
        FileNotFoundError: the package is not installed; `make up` installs it.
    """
    found = importlib.util.find_spec("chatterbot_corpus")
    if found is None or found.origin is None:
        raise FileNotFoundError("The package chatterbot-corpus is not installed; `make up` installs it.")
    folders = sorted(path for path in (Path(found.origin).parent / "data").iterdir() if path.is_dir())
    return [_language(folder, limit) for folder in folders if only is None or folder.name in only]


def _language(folder: Path, limit: int | None) -> Language:
    lines: list[tuple[int, str]] = []
    left_out = 0
    exchanges = [
        exchange
        for path in sorted(folder.glob("*.yml"))
        for exchange in yaml.safe_load(path.read_text("utf-8")).get("conversations", [])
    ]
    for index, exchange in enumerate(exchanges):
        for turn, line in enumerate(exchange):
            text = str(line).strip() if line is not None else ""
            if (
                not text
                or len(text) > 10_000
                or any(unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t" for letter in text)
            ):
                left_out += 1
            elif limit is None or len(lines) < limit:
                lines.append(((index + turn) % SPEAKERS, text))
    return Language(folder.name, lines, left_out)
