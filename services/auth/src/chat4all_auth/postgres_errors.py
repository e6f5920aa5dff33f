"""Says which failures of PostgreSQL mean "away for now"; all others are defects and stay what they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import structlog

from chat4all_runtime.errors import unavailable

log = structlog.get_logger()

# Class 08 connection, 53 resources, 57 operator (shutdown, starting up, cancelled), 25006 standby, 40 asks to do it again;
# InterfaceError is a connection that broke between two statements (source: PostgreSQL manual, appendix A).
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.ReadOnlySQLTransactionError,
    asyncpg.exceptions.TransactionRollbackError,
)


@contextmanager
def postgres_guard() -> Iterator[None]:
    """Around every use of a connection.

    Raises:
        DomainError: UNAVAILABLE `POSTGRES_UNAVAILABLE` when PostgreSQL is away or too slow.
    """
    try:
        yield
    except ValueError:
        raise  # asyncpg's error for arguments of a wrong type is also an InterfaceError, but the fault is ours
    except _AWAY as error:
        log.warning("postgres_unavailable", error=str(error), error_type=type(error).__name__)
        raise unavailable("postgres") from error
