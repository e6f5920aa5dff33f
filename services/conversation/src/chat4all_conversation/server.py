"""The wiring of the conversation service: open resources, build objects, serve, close."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from chat4all.conversation.v1 import conversation_service_pb2, conversation_service_pb2_grpc
from chat4all_conversation import handler
from chat4all_conversation.events import FactCodec
from chat4all_conversation.live_redis import RedisLive
from chat4all_conversation.peers import AuthDirectory, ServiceSummaries
from chat4all_conversation.relay import OutboxRelay
from chat4all_conversation.servicer import ACCESS, ConversationServicer
from chat4all_conversation.settings import Settings
from chat4all_conversation.store_postgres import PostgresConversations
from chat4all_conversation.usecases.changing import ArchiveConversation, UpdateConversation
from chat4all_conversation.usecases.creating import CreateConversation
from chat4all_conversation.usecases.marking import MarkConversationRead, RecordMarks
from chat4all_conversation.usecases.membership import AddMembers, RemoveMember, UpdateMember
from chat4all_conversation.usecases.reading import GetConversation, ListConversations, ListMembers, ListMemberships
from chat4all_conversation.usecases.views import Views
from chat4all_runtime import lifecycle, redis_client
from chat4all_runtime.clock import SystemClock
from chat4all_runtime.grpc_channel import ServiceChannel
from chat4all_runtime.grpc_server import Authenticator, GrpcServer
from chat4all_runtime.http_server import HttpServer
from chat4all_runtime.identity import JwksKeys, ServiceTokens, TokenVerifier
from chat4all_runtime.kafka_consumer import BatchConsumer
from chat4all_runtime.kafka_producer import EventProducer
from chat4all_runtime.postgres import migrate, open_pool

NAME = "conversation"
SCHEMA = "conversation"
MIGRATIONS = Path(__file__).parent / "migrations"

_CONSUMER_STOP_SECONDS = 5.0


async def serve(settings: Settings, process: lifecycle.Process) -> None:
    """Run until told to stop."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(HttpServer(settings.http, process.health))
        timeout_seconds = settings.postgres.timeout_seconds
        pool = await stack.enter_async_context(open_pool(settings.postgres, SCHEMA))  # waits for PostgreSQL
        await migrate(settings.postgres, SCHEMA, MIGRATIONS)

        producer = await stack.enter_async_context(EventProducer(settings.kafka, process.fail))
        relay = await stack.enter_async_context(
            OutboxRelay(
                pool,
                producer.send_all,
                batch_rows=settings.outbox.batch_rows,
                poll_seconds=settings.outbox.poll_seconds,
                turn_seconds=settings.kafka.delivery_timeout_ms / 1000 + timeout_seconds,
                timeout_seconds=timeout_seconds,
                on_failed=process.fail,
            )
        )
        process.health.require("postgres", relay.not_ready)
        live = await stack.enter_async_context(
            RedisLive(redis_client.open_async(settings.redis), settings.live.queue_size, process.fail)
        )
        service_tokens = ServiceTokens(settings.internal, NAME)
        auth = await stack.enter_async_context(ServiceChannel(settings.auth.target, service_tokens))
        message = await stack.enter_async_context(ServiceChannel(settings.message.target, service_tokens))

        conversations = PostgresConversations(
            pool, encode=FactCodec().records, committed=relay.wake, timeout_seconds=timeout_seconds
        )
        await stack.enter_async_context(_following_activity(settings, conversations, process))
        servicer = build_servicer(
            conversations,
            AuthDirectory(auth, settings.auth.timeout_seconds),
            ServiceSummaries(message, settings.message.timeout_seconds),
            live,
            settings.limits.max_members,
        )
        verifier = TokenVerifier(settings.tokens, JwksKeys(settings.tokens.jwks_url))
        await stack.enter_async_context(
            GrpcServer(
                settings.grpc,
                area=NAME,
                service=conversation_service_pb2.DESCRIPTOR.services_by_name["ConversationService"],
                access=ACCESS,
                authenticator=Authenticator(verifier, service_tokens),
                register=lambda server: conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server(servicer, server),
                process_health=process.health,
            )
        )
        process.health.serving()
        await process.wait_for_stop()


def build_servicer(
    conversations: PostgresConversations,
    directory: AuthDirectory,
    summaries: ServiceSummaries,
    live: RedisLive,
    max_members: int,
) -> ConversationServicer:
    """Every use case with what it needs."""
    clock = SystemClock()
    views = Views(conversations, summaries)
    return ConversationServicer(
        create=CreateConversation(conversations, directory, views, live, clock, max_members),
        get=GetConversation(views),
        list_conversations=ListConversations(conversations, views),
        update=UpdateConversation(conversations, views, live, clock),
        archive=ArchiveConversation(conversations, views, live, clock),
        list_members=ListMembers(conversations, views),
        add_members=AddMembers(conversations, directory, views, live, clock, max_members),
        update_member=UpdateMember(conversations, live, clock),
        remove_member=RemoveMember(conversations, live, clock),
        mark_read=MarkConversationRead(conversations, summaries, views, live, clock),
        record_marks=RecordMarks(conversations, live, clock),
        list_memberships=ListMemberships(conversations),
    )


@asynccontextmanager
async def _following_activity(
    settings: Settings, conversations: PostgresConversations, process: lifecycle.Process
) -> AsyncIterator[None]:
    consumer = BatchConsumer(
        settings.kafka,
        group=settings.activity.group,
        instance=settings.instance,
        topics=[handler.TOPIC],
        handler=handler.ActivityHandler(
            conversations, asyncio.get_running_loop(), timeout_seconds=2 * settings.postgres.timeout_seconds
        ),
        on_stopped=process.fail,
        # Half a second of delay is nothing to a list, and saves the broker many small answers.
        fetch_min_bytes=64 * 1024,
        fetch_wait_ms=500,
    )
    consumer.start()
    process.health.require_alive("activity", consumer.not_live)
    try:
        yield
    finally:
        consumer.request_stop()
        await asyncio.to_thread(consumer.join, _CONSUMER_STOP_SECONDS)


def main() -> None:
    """Entry point of `chat4all-conversation`."""
    lifecycle.run(NAME, Settings, serve)
