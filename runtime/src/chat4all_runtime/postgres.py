"""A pool of PostgreSQL connections for one schema, and the migrations that make it.

Migrations are Alembic revisions in the service's own `migrations/` folder; each service has its own schema and version table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import structlog
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from chat4all_runtime.settings import PostgresSettings

log = structlog.get_logger()


@asynccontextmanager
async def open_pool(settings: PostgresSettings, schema: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections whose search path is `schema`. Waits for the server, with backoff, until the process is told to stop."""
    dsn = settings.dsn.get_secret_value()
    wait = 0.2
    while True:
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=settings.pool_size,
                timeout=settings.timeout_seconds,
                command_timeout=settings.timeout_seconds,
                server_settings={"search_path": schema, "application_name": f"chat4all-{schema}"},
            )
            break
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            log.warning("postgres_not_reachable", error=str(error), retry_seconds=wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 5.0)
    try:
        yield pool
    finally:
        try:
            await asyncio.wait_for(pool.close(), 5.0)
        except TimeoutError:
            pool.terminate()


async def migrate(settings: PostgresSettings, schema: str, folder: Path) -> None:
    """Bring the schema to the newest revision in `folder`. Copies that start together take turns (advisory lock)."""
    url = settings.dsn.get_secret_value().replace("postgresql://", "postgresql+asyncpg://", 1)
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, schema, folder)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, schema: str, folder: Path) -> None:
    connection.execute(text("select pg_advisory_xact_lock(hashtext(:name))"), {"name": f"migrate-{schema}"})
    connection.execute(text(f'create schema if not exists "{schema}"'))
    connection.execute(text(f'set local search_path to "{schema}"'))
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)

    def plan(revision: Any, _: Any) -> Any:
        return script._upgrade_revs("head", revision)

    with EnvironmentContext(config, script, fn=plan, as_sql=False) as environment:
        environment.configure(
            connection=connection, version_table="schema_version", version_table_schema=schema, transactional_ddl=False
        )
        environment.run_migrations()
