"""The wiring: opens what the gateway needs, serves, and ends it in order."""

from __future__ import annotations

import asyncio
import gc
import http
import resource
from contextlib import AsyncExitStack
from typing import Any

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import NegotiationError
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from chat4all_runtime.grpc_channel import ServiceChannel
from chat4all_runtime.http_server import HttpServer
from chat4all_runtime.identity import JwksKeys, ServiceTokens, TokenVerifier
from chat4all_runtime.lifecycle import Process, run
from chat4all_websocket_gateway.backends import Conversations, Messages, Presences
from chat4all_websocket_gateway.connection import WIRE_LOG, Connection, Flusher
from chat4all_websocket_gateway.connections import Connections, origin_check
from chat4all_websocket_gateway.feeds import Feeds
from chat4all_websocket_gateway.gateway import MAX_FRAME_BYTES, Gateway
from chat4all_websocket_gateway.marks import Marks
from chat4all_websocket_gateway.memberships import Memberships
from chat4all_websocket_gateway.presence import Presence, Watchers
from chat4all_websocket_gateway.redis_subscriber import RedisSubscriber
from chat4all_websocket_gateway.sending import Sending
from chat4all_websocket_gateway.settings import Settings

log = structlog.get_logger()

PATH = "/v1/ws"
SUBPROTOCOL = Subprotocol("chat4all.v1.json")
_BACKLOG = 4096
# Above it a socket's replay waits; far below the bound at which a socket is closed as too slow.
_WRITE_HIGH_WATER_BYTES = 128 * 1024
_LAST_WORDS_SECONDS = 2.0
# Thousands of sockets are long-lived objects; Python's default of 700 would walk the young ones far too often.
_COLLECT_AFTER = (20_000, 20, 50)


def main() -> None:
    """Run the gateway until it is told to stop."""
    run("websocket-gateway", Settings, serve_gateway)


async def serve_gateway(settings: Settings, process: Process) -> None:
    """Serve until `process` is stopped."""
    _raise_file_limit()
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        http_server = await stack.enter_async_context(HttpServer(settings.http, process.health))
        services = ServiceTokens(settings.internal, "websocket-gateway")
        messages = Messages(await stack.enter_async_context(ServiceChannel(settings.message.target, services)))
        conversations = Conversations(await stack.enter_async_context(ServiceChannel(settings.conversation.target, services)))
        presences = Presences(await stack.enter_async_context(ServiceChannel(settings.presence.target, services)))
        tokens = TokenVerifier(settings.tokens, JwksKeys(settings.tokens.jwks_url))

        flusher = Flusher(settings.websocket.write_buffer_bytes)
        connections = Connections(settings.websocket)

        def restored() -> None:
            feeds.restored()
            memberships.restored()

        subscriber = RedisSubscriber(
            settings.redis.url.get_secret_value(),
            settings.fanout.canary_seconds,
            restored,
        )
        sending = Sending(settings.send, messages.submit, lambda conversation_id: feeds.suspect(conversation_id))
        feeds = Feeds(
            settings.fanout,
            subscriber,
            flusher,
            messages.entries,
            messages.positions,
            sending.awaited,
            sending.stored,
        )
        memberships = Memberships(
            feeds, subscriber, messages.entries, conversations.memberships, settings.fanout.membership_check_seconds
        )
        feeds.removals = memberships
        marks = Marks(conversations.record_marks)
        presence = Presence(settings.presence, presences.record)
        gateway = Gateway(
            settings.websocket,
            settings.fanout,
            tokens,
            connections,
            memberships,
            sending,
            marks,
            presence,
            Watchers(subscriber.subscribe, subscriber.unsubscribe),
            subscriber.publish,
        )
        process.health.require("redis", lambda: None if subscriber.connected else "The live connection is away.")

        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(part.run(stop))
                for part in (subscriber, feeds, memberships, sending, marks, presence, connections)
            ]
            server = await _listen(settings, gateway, connections, flusher)
            port = server.sockets[0].getsockname()[1]
            log.info("websocket_listening", port=port, http_port=http_server.port)
            # What is here now stays; the collector need not look at it again and again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*_COLLECT_AFTER)
            process.health.serving()
            try:
                await process.wait_for_stop()
            finally:
                # Stop accepting, send everybody away, finish what was taken, tell what is left.
                server.close(close_connections=False)
                presence.leave_all()
                await connections.drain()
                if not await sending.idle(_LAST_WORDS_SECONDS):
                    log.warning("sends_left_unanswered")
                await marks.flush(_LAST_WORDS_SECONDS)
                stop.set()
                gateway.stop()
                for task in work:
                    task.cancel()


async def _listen(settings: Settings, gateway: Gateway, connections: Connections, flusher: Flusher) -> Server:
    origin_allowed = origin_check(settings.websocket.allowed_origins)

    def admit(connection: ServerConnection, request: Request) -> Response | None:
        if request.path.partition("?")[0] != PATH:
            return connection.respond(http.HTTPStatus.NOT_FOUND, "Connect to /v1/ws.\n")
        origins = request.headers.get_all("Origin")
        if len(origins) > 1 or (origins and not origin_allowed(origins[0])):
            return connection.respond(http.HTTPStatus.FORBIDDEN, "This origin may not connect.\n")
        if connections.full:
            response = connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "This gateway is full.\n")
            response.headers["Retry-After"] = "5"
            return response
        return None

    def choose(_: ServerConnection, offered: Any) -> Subprotocol | None:
        if not offered:
            return None  # a client that names none gets the only one there is
        if SUBPROTOCOL in offered:
            return SUBPROTOCOL
        raise NegotiationError(f"offer {SUBPROTOCOL}")

    def connect(*args: Any, **kwargs: Any) -> Connection:
        return Connection(gateway, flusher, settings.websocket.frames_per_second, *args, **kwargs)

    async def handle(connection: ServerConnection) -> None:
        if isinstance(connection, Connection):  # it always is: `connect` makes them
            await gateway.serve(connection)

    return await serve(
        handle,
        settings.websocket.host,
        settings.websocket.port,
        subprotocols=[SUBPROTOCOL],
        select_subprotocol=choose,
        process_request=admit,
        compression=None,
        max_size=MAX_FRAME_BYTES,
        # One timer pings all sockets; a task for each would cost 2 KiB.
        ping_interval=None,
        close_timeout=3,
        write_limit=_WRITE_HIGH_WATER_BYTES,
        server_header=None,
        logger=WIRE_LOG,
        create_connection=connect,  # type: ignore[arg-type]  # a factory, as the documentation of serve() allows
        backlog=_BACKLOG,
        reuse_port=False,
    )


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        log.info("file_limit_raised", soft=soft, hard=hard)
