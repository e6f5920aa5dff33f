"""Wiring of the router; read from top to bottom it is the whole process."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack

import structlog
from pymongo.errors import PyMongoError

from chat4all_router.announcer_kafka import KafkaAnnouncer
from chat4all_router.domain.memory import Memory
from chat4all_router.events import RouterEvents
from chat4all_router.handler import RouterHandler
from chat4all_router.live_redis import RedisLive
from chat4all_router.settings import Settings
from chat4all_router.store_mongodb import MongoMessageLog
from chat4all_router.usecases import RouteBatch
from chat4all_runtime import mongodb
from chat4all_runtime.clock import SystemClock
from chat4all_runtime.http_server import HttpServer
from chat4all_runtime.kafka_consumer import BatchConsumer
from chat4all_runtime.kafka_producer import BlockingProducer
from chat4all_runtime.lifecycle import Process, run

log = structlog.get_logger()


# Objects allocated between two looks of the cycle collector. A batch makes tens of thousands that die by reference count; at the
# default of 700 the collector walks the memory of recent ids again and again and finds nothing.
_COLLECT_EVERY = 50_000


async def serve(settings: Settings, process: Process) -> None:
    """Route until told to stop. All the work is in the consumer's thread; this loop only answers health and metrics."""
    own = settings.router
    gc.set_threshold(_COLLECT_EVERY, 20, 50)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(HttpServer(settings.http, process.health))
        client, database = mongodb.open_sync(settings.mongo)
        stack.push_async_callback(asyncio.to_thread, client.close)
        messages = MongoMessageLog(database, window=2 * own.max_batch)
        await _prepare(messages)
        live = RedisLive(settings.redis.url.get_secret_value(), own.redis_timeout_seconds)
        stack.callback(live.close)
        memory = Memory(own.recent_ids, own.known_conversations)
        route = RouteBatch(
            messages,
            live,
            KafkaAnnouncer(BlockingProducer(settings.kafka)),
            RouterEvents(own.stored_topic, own.failed_topic),
            memory,
            SystemClock(),
            stale_after_seconds=settings.kafka.session_timeout_ms / 2000,
        )
        consumer = BatchConsumer(
            settings.kafka,
            group=own.group,
            instance=settings.instance,
            topics=[own.commands_topic],
            handler=RouterHandler(route, memory),
            on_stopped=process.fail,
            max_batch=own.max_batch,
            gather_ms=own.gather_ms,
        )
        process.health.require_alive("consumer", consumer.not_live)
        process.health.require("consumer", consumer.not_ready)
        consumer.start()
        stack.push_async_callback(_stop, consumer, settings.shutdown.hard_stop_seconds)
        process.health.serving()
        await process.wait_for_stop()


async def _prepare(messages: MongoMessageLog) -> None:
    """Wait for the store, however long it takes: without its unique index nothing may be written."""
    wait = 0.2
    while True:
        try:
            await asyncio.to_thread(messages.prepare)
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
    """Entry point of `chat4all-router`."""
    run("router", Settings, serve)
