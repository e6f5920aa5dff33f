"""Records as JSON lines: short to write, strict to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import orjson

from .records import RECORD_TYPES, Entry, HistoryPage, Record


class RecordError(ValueError):
    """A line that is not a record of this format."""


_STAMPS = frozenset(field.name for field in fields(Record))
_OWN_FIELDS: Mapping[type[Record], tuple[tuple[str, Any], ...]] = {
    cls: tuple((field.name, field.default) for field in fields(cls) if field.name not in _STAMPS) for cls in RECORD_TYPES.values()
}

# Ids and digests repeat; the checker compares them by the million, which is quickest when equal ones are one object.
_TEXT_FIELDS: Mapping[type[Record], tuple[str, ...]] = {
    cls: tuple(
        field.name
        for field in fields(cls)
        if field.name == "writer" or field.name.endswith(("_id", "sha256")) or field.name in ("kind", "phase", "source")
    )
    for cls in RECORD_TYPES.values()
}


def encode(record: Record, *, monotonic_ns: int, wall_ns: int, writer: str, index: int) -> bytes:
    """Return the record as one JSON line with the given stamps; fields at their default are left out."""
    line: dict[str, Any] = {
        "op": record.op,
        "monotonic_ns": monotonic_ns,
        "wall_ns": wall_ns,
        "writer": writer,
        "index": index,
    }
    for name, default in _OWN_FIELDS[type(record)]:
        value = getattr(record, name)
        if default is MISSING or value != default:
            line[name] = [list(entry) for entry in value] if name == "entries" else value
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def decode(line: bytes, pool: dict[str, str] | None = None) -> Record:
    """Return the record of one line.

    Args:
        line: one JSON object; a trailing newline is ignored.
        pool: keeps one object for equal strings over many lines, or millions of deliveries would hold ten times as many
            copies of ids.

    Raises:
        RecordError: not JSON, an unknown operation or phase, a missing or unknown field.
    """
    try:
        values: dict[str, Any] = orjson.loads(line)
        cls = RECORD_TYPES[values.pop("op")]
        if "phase" in values and values["phase"] not in cls.phases:
            raise RecordError(f"{cls.op} has no phase {values['phase']!r}")
        if pool is not None:
            for name in _TEXT_FIELDS[cls]:
                if name in values:
                    value = values[name]
                    values[name] = pool.setdefault(value, value)
        if cls is HistoryPage:
            values["entries"] = tuple(_entry(entry, {} if pool is None else pool) for entry in values["entries"])
        return cls(**values)
    except RecordError:
        raise
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"not a record: {error!r}") from error


def _entry(values: list[Any], pool: dict[str, str]) -> Entry:
    number, *texts = values
    if type(number) is not int:
        raise RecordError(f"a page entry begins with its number, not with {number!r}")
    return Entry(number, *[pool.setdefault(text, text) for text in texts])
