"""When PostgreSQL is away: which errors mean it, and what a caller is told then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import structlog

from chat4all_runtime.errors import unavailable

log = structlog.get_logger()

# Refused or broken connections, a server that starts or stops, a statement past its deadline, no free connection in time, and
# the two conflicts that vanish when the call is made again. Inside a call's own deadline a TimeoutError can only be asyncpg's:
# the end of the call itself arrives as a cancellation.
AWAY: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
)


@contextmanager
def reaching_postgres() -> Iterator[None]:
    """Turn errors that mean PostgreSQL is away into UNAVAILABLE `POSTGRES_UNAVAILABLE`.

    A commit that was under way then may or may not be done; every call of this service can be made again.
    """
    try:
        yield
    except AWAY as error:
        log.warning("postgres_away", error=str(error), error_type=type(error).__name__)
        raise unavailable("postgres") from error
