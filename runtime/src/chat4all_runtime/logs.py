"""structlog, set up once per process: JSON lines for machines, colours for people.

Never log message text, tokens, phone numbers or file names: ids, sizes and hashes only.
"""

from __future__ import annotations

import logging
import sys

import structlog

from chat4all_runtime.settings import LogSettings


def configure(settings: LogSettings, process: str) -> None:
    """Write events at or above the level to standard error, with the process name, UTC time and bound context."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if settings.format == "json" else structlog.dev.ConsoleRenderer()
    )
    level = logging.getLevelNamesMapping()[settings.level]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    # Libraries that use the standard module say only what matters.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
