"""The wiring of the presence service, readable from top to bottom."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

from chat4all.presence.v1 import presence_service_pb2, presence_service_pb2_grpc
from chat4all_presence.announcer import Announcer
from chat4all_presence.publisher import RedisKafkaPublisher
from chat4all_presence.servicer import ACCESS, PresenceServicer
from chat4all_presence.settings import Settings
from chat4all_presence.store_redis import RedisPresenceRepository, open_redis
from chat4all_presence.usecases import AnnounceChanges, GetPresence, RecordHeartbeats, UpdatePresence
from chat4all_runtime.grpc_server import Authenticator, GrpcServer
from chat4all_runtime.http_server import HttpServer
from chat4all_runtime.identity import JwksKeys, ServiceTokens, TokenVerifier
from chat4all_runtime.kafka_producer import EventProducer
from chat4all_runtime.lifecycle import Process, run

NAME = "presence"


async def serve(settings: Settings, process: Process) -> None:
    """Open everything from the bottom up, serve, close in reverse."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(HttpServer(settings.http, process.health))
        redis = open_redis(settings.redis)
        stack.push_async_callback(redis.aclose)
        producer = await stack.enter_async_context(EventProducer(settings.kafka, process.fail))

        rules = settings.presence
        wait = timedelta(seconds=rules.kafka_wait_seconds)
        presences = RedisPresenceRepository(
            redis,
            ttl=timedelta(seconds=rules.ttl_seconds),
            keep=timedelta(days=rules.keep_last_seen_days),
            coalesce=timedelta(seconds=rules.coalesce_seconds),
            lease=2 * wait + timedelta(seconds=5),
            max_devices=rules.max_devices,
        )
        announce = AnnounceChanges(presences, RedisKafkaPublisher(redis, producer, wait))
        announcer = Announcer(announce, timedelta(seconds=rules.tick_seconds))
        process.health.require("redis", announcer.trouble)

        servicer = PresenceServicer(GetPresence(presences), UpdatePresence(presences), RecordHeartbeats(presences))
        server = GrpcServer(
            settings.grpc,
            area=NAME,
            service=presence_service_pb2.DESCRIPTOR.services_by_name["PresenceService"],
            access=ACCESS,
            authenticator=Authenticator(
                TokenVerifier(settings.tokens, JwksKeys(settings.tokens.jwks_url)), ServiceTokens(settings.internal, NAME)
            ),
            register=lambda server: presence_service_pb2_grpc.add_PresenceServiceServicer_to_server(servicer, server),
            process_health=process.health,
        )
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(announcer.run(stop))
            try:
                async with server:
                    process.health.serving()
                    await process.wait_for_stop()
            finally:
                stop.set()


def main() -> None:
    """Run the service until it is told to stop."""
    run(NAME, Settings, serve)
