"""The wiring of the auth process: open, build, serve, close; read it from top to bottom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import asyncpg
import redis.asyncio

from chat4all.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from chat4all_auth import jwks
from chat4all_auth.cleanup import Cleanup
from chat4all_auth.keys import SigningKeys
from chat4all_auth.passwords import Argon2Passwords
from chat4all_auth.postgres_watch import PostgresWatch
from chat4all_auth.repository import Passwords, SessionNotices, Throttle
from chat4all_auth.servicer import ACCESS, AuthServicer, UseCases
from chat4all_auth.session_notices import RedisSessionNotices
from chat4all_auth.settings import Settings, ThrottleSettings
from chat4all_auth.store_postgres import PostgresAccounts
from chat4all_auth.store_postgres_sessions import PostgresSessions
from chat4all_auth.throttle_redis import Limit, RedisThrottle
from chat4all_auth.tokens import JwtAccessTokens
from chat4all_auth.usecases.directory import BatchGetUsers, GetUser, ListUsers, UpdateCurrentUser
from chat4all_auth.usecases.registration import Register
from chat4all_auth.usecases.sessions import DeleteSession, ListSessions, LiveSession, Logout, VerifyToken
from chat4all_auth.usecases.sign_in import Login, RefreshTokens
from chat4all_runtime import lifecycle, redis_client
from chat4all_runtime.clock import Clock, SystemClock
from chat4all_runtime.grpc_server import Authenticator, GrpcServer
from chat4all_runtime.http_server import HttpServer
from chat4all_runtime.identity import ServiceTokens, TokenVerifier
from chat4all_runtime.postgres import migrate, open_pool

NAME = "auth"
SCHEMA = "auth"
MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Listening:
    """The real ports."""

    grpc_port: int
    http_port: int


@asynccontextmanager
async def listening(settings: Settings, process: lifecycle.Process) -> AsyncIterator[Listening]:
    """Serve while the block runs. Waits for PostgreSQL as long as it takes; JWKS and health answer meanwhile."""
    clock = SystemClock()
    keys = SigningKeys(settings.auth.keys_dir, timedelta(seconds=settings.auth.key_activation_seconds), clock)
    await asyncio.to_thread(keys.open)
    async with AsyncExitStack() as stack:
        routes = {jwks.PATH: jwks.handler(keys, settings.auth.jwks_max_age_seconds)}
        http = await stack.enter_async_context(HttpServer(settings.http, process.health, routes))
        pool = await stack.enter_async_context(open_pool(settings.postgres, SCHEMA))
        await migrate(settings.postgres, SCHEMA, MIGRATIONS)
        cache = redis_client.open_async(settings.redis)
        stack.push_async_callback(cache.aclose)
        passwords = await stack.enter_async_context(
            Argon2Passwords(
                memory_kib=settings.passwords.memory_kib,
                iterations=settings.passwords.iterations,
                parallelism=settings.passwords.parallelism,
                workers=settings.passwords.workers,
                max_waiting=settings.passwords.max_waiting,
            )
        )
        notices = RedisSessionNotices(cache, clock, timedelta(seconds=settings.tokens.access_seconds))
        cleanup = Cleanup(
            PostgresSessions(pool, settings.postgres.timeout_seconds),
            clock,
            timedelta(seconds=settings.cleanup.interval_seconds),
            timedelta(seconds=settings.cleanup.keep_seconds),
        )
        watch = PostgresWatch(pool)
        process.health.require("postgres", watch.why_not)

        stop = asyncio.Event()
        loops = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(stop.set)
        loops.create_task(notices.run(stop))
        loops.create_task(cleanup.run(stop))
        loops.create_task(watch.run(stop))
        loops.create_task(keys.run(stop, timedelta(seconds=settings.auth.key_reload_seconds)))

        verifier = TokenVerifier(settings.tokens, keys)
        throttle = _throttle(settings.throttle, cache)
        usecases = _usecases(settings, pool, passwords, throttle, notices, keys, verifier, clock)
        servicer = AuthServicer(usecases)
        server = GrpcServer(
            settings.grpc,
            area="auth",
            service=auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"],
            access=ACCESS,
            authenticator=Authenticator(verifier, ServiceTokens(settings.internal, NAME)),
            register=lambda server: auth_service_pb2_grpc.add_AuthServiceServicer_to_server(servicer, server),
            process_health=process.health,
        )
        await stack.enter_async_context(server)
        process.health.serving()
        yield Listening(server.port, http.port)


def _throttle(settings: ThrottleSettings, client: redis.asyncio.Redis) -> RedisThrottle:
    login_window = timedelta(seconds=settings.login_window_seconds)
    return RedisThrottle(
        client,
        account=Limit(settings.account_failures, login_window),
        address=Limit(settings.address_failures, login_window),
        registration=Limit(settings.registrations, timedelta(seconds=settings.registration_window_seconds)),
        timeout_seconds=settings.timeout_seconds,
    )


def _usecases(
    settings: Settings,
    pool: asyncpg.Pool,
    passwords: Passwords,
    throttle: Throttle,
    notices: SessionNotices,
    keys: SigningKeys,
    verifier: TokenVerifier,
    clock: Clock,
) -> UseCases:
    accounts = PostgresAccounts(pool, settings.postgres.timeout_seconds)
    sessions = PostgresSessions(pool, settings.postgres.timeout_seconds)
    tokens = JwtAccessTokens(keys, settings.tokens.issuer, settings.tokens.audience, settings.tokens.access_seconds)
    refresh_lifetime = timedelta(seconds=settings.tokens.refresh_seconds)
    live = LiveSession(sessions, clock)
    return UseCases(
        register=Register(accounts, passwords, throttle, clock, settings.auth.sign_up_enabled),
        login=Login(accounts, sessions, passwords, throttle, tokens, clock, refresh_lifetime),
        refresh=RefreshTokens(sessions, tokens, notices, clock, refresh_lifetime),
        logout=Logout(sessions, live, notices, clock),
        live=live,
        update=UpdateCurrentUser(accounts, live, clock),
        list_sessions=ListSessions(sessions, live, clock),
        delete_session=DeleteSession(sessions, live, notices, clock),
        get_user=GetUser(accounts, live),
        list_users=ListUsers(accounts, live),
        verify=VerifyToken(verifier, live),
        batch_get_users=BatchGetUsers(accounts),
    )


async def serve(settings: Settings, process: lifecycle.Process) -> None:
    """Serve until the process is told to stop."""
    async with listening(settings, process):
        await process.wait_for_stop()


def main() -> None:
    """Run the auth process."""
    lifecycle.run(NAME, Settings, serve)
