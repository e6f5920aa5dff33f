"""Wiring of the history worker; read from top to bottom it is the whole process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import structlog
from pymongo.errors import PyMongoError

from chat4all_history.domain.recent import Recent
from chat4all_history.handler import HistoryHandler
from chat4all_history.settings import Settings
from chat4all_history.store_mongodb import MongoHistory
from chat4all_history.usecases import RecordHistory
from chat4all_runtime import mongodb
from chat4all_runtime.http_server import HttpServer
from chat4all_runtime.kafka_consumer import BatchConsumer
from chat4all_runtime.lifecycle import Process, run

log = structlog.get_logger()


async def serve(settings: Settings, process: Process) -> None:
    """Record until told to stop. All the work is in the consumer's thread; this loop only answers health and metrics."""
    own = settings.history
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(HttpServer(settings.http, process.health))
        client, database = mongodb.open_sync(settings.mongo)
        stack.push_async_callback(asyncio.to_thread, client.close)
        history = MongoHistory(database, own.retention_days)
        await _prepare(history)
        recent = Recent(own.recent_ids)
        consumer = BatchConsumer(
            settings.kafka,
            group=own.group,
            instance=settings.instance,
            topics=[own.stored_topic],
            handler=HistoryHandler(
                RecordHistory(history, recent, stale_after_seconds=settings.kafka.session_timeout_ms / 2000), recent
            ),
            on_stopped=process.fail,
            max_batch=own.max_batch,
            fetch_min_bytes=own.fetch_min_bytes,
            fetch_wait_ms=own.fetch_wait_ms,
        )
        process.health.require_alive("consumer", consumer.not_live)
        process.health.require("consumer", consumer.not_ready)
        consumer.start()
        stack.push_async_callback(_stop, consumer, settings.shutdown.hard_stop_seconds)
        process.health.serving()
        await process.wait_for_stop()


async def _prepare(history: MongoHistory) -> None:
    """Wait for the store, however long it takes; nothing else can be done meanwhile."""
    wait = 0.2
    while True:
        try:
            await asyncio.to_thread(history.prepare)
            return
        except PyMongoError as error:
            log.warning("mongodb_not_ready", error=str(error)[:300], retry_seconds=wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 5.0)


async def _stop(consumer: BatchConsumer, seconds: float) -> None:
    consumer.request_stop()
    if not await asyncio.to_thread(consumer.join, seconds):
        log.error("consumer_did_not_stop")


def main() -> None:
    """Entry point of `chat4all-history`."""
    run("history", Settings, serve)
