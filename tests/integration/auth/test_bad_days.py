"""Engines that are away, come late or come back; two copies; restarts."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

import aiohttp
import grpc
import jwt
import pytest
import redis.asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chat4all.auth.v1 import auth_service_pb2 as pb
from chat4all.auth.v1 import auth_service_pb2_grpc as pb_grpc
from chat4all_native.ports import find_free_block
from chat4all_runtime.errors import Code, DomainError
from chat4all_runtime.identity import JwksKeys, TokenVerifier

from .conftest import PASSWORD, eventually, refusal, unique


async def _status(url: str) -> int:
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http, http.get(url) as response:
            return response.status
    except aiohttp.ClientConnectionError:
        return 0


async def test_postgres_away_and_back(start, engines, relay):
    """While PostgreSQL is away every call is UNAVAILABLE with a delay, JWKS goes on; afterwards all works by itself."""
    line = await relay(engines["CHAT4ALL_POSTGRES__DSN"])
    auth = await start(CHAT4ALL_POSTGRES__DSN=line.url, CHAT4ALL_THROTTLE__ACCOUNT_FAILURES="3")
    login = await auth.signed_in()
    await line.cut()
    calls = [
        lambda: auth.register(),
        lambda: auth.login(login.user.username),
        lambda: auth.call("RefreshToken", pb.RefreshTokenRequest(refresh_token=login.refresh_token)),
        lambda: auth.call("GetCurrentUser", pb.GetCurrentUserRequest(), login.access_token),
        lambda: auth.call("ListUsers", pb.ListUsersRequest(), login.access_token),
        lambda: auth.call("ListSessions", pb.ListSessionsRequest(), login.access_token),
        lambda: auth.call("Logout", pb.LogoutRequest(), login.access_token),
        lambda: auth.internal("VerifyToken", pb.VerifyTokenRequest(access_token=login.access_token)),
        lambda: auth.internal("BatchGetUsers", pb.BatchGetUsersRequest(user_ids=[login.user.user_id], tenant_id="default")),
    ]
    for call in [*calls, *calls]:
        error = await refusal(call())
        assert (error.code, error.reason) == (Code.UNAVAILABLE, "POSTGRES_UNAVAILABLE")
        assert error.retry_after is not None
    assert await _status(f"{auth.http}/.well-known/jwks.json") == 200
    assert await _status(f"{auth.http}/health/live") == 200

    async def answers(code: int) -> bool:
        return await _status(f"{auth.http}/health/ready") == code

    await eventually(lambda: answers(503))
    await line.mend()
    await eventually(lambda: answers(200))
    # The failed refreshes used nothing up, and failures of ours were not counted as guesses.
    await auth.call("RefreshToken", pb.RefreshTokenRequest(refresh_token=login.refresh_token))
    await auth.login(login.user.username)


async def test_redis_away_lets_logins_through(start, engines, relay):
    """Without Redis people still sign in and out, in bounded time; the notice reaches gateways when it is back."""
    line = await relay(engines["CHAT4ALL_REDIS__URL"])
    auth = await start(CHAT4ALL_REDIS__URL=line.url, CHAT4ALL_THROTTLE__ACCOUNT_FAILURES="1")
    user = await auth.register()
    await line.cut()
    started = time.monotonic()
    assert (await refusal(auth.login(user.username, "wrong password"))).reason == "INVALID_CREDENTIALS"
    assert (await refusal(auth.login(user.username, "wrong password"))).reason == "INVALID_CREDENTIALS"
    login = await auth.login(user.username)
    await auth.call("Logout", pb.LogoutRequest(), login.access_token)
    assert time.monotonic() - started < 10
    client = redis.asyncio.Redis.from_url(engines["CHAT4ALL_REDIS__URL"])
    async with client.pubsub() as subscription:
        await subscription.subscribe(f"user:{user.user_id}:events")
        await subscription.get_message(timeout=5)
        await line.mend()
        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=20)
        assert message is not None
        assert message["data"].startswith(b"k\t0\t")
    await client.aclose()


async def test_keys_stay_over_restarts_and_are_shared(start):
    """A token and a refresh token of one process are good in the next on the same folder."""
    first = await start()
    login = await first.signed_in()
    second = await start()
    await second.call("GetCurrentUser", pb.GetCurrentUserRequest(), login.access_token)
    await second.call("RefreshToken", pb.RefreshTokenRequest(refresh_token=login.refresh_token))
    folder = second.settings.auth.keys_dir
    assert [oct(path.stat().st_mode & 0o777) for path in folder.glob("*.pem")] == ["0o600"]
    assert oct(folder.stat().st_mode & 0o777) == "0o700"


async def test_two_copies_start_together(start, tmp_path):
    """Two first starts at the same moment make one schema, one tenant and one key."""
    folder = str(tmp_path / "shared")
    first, second = await asyncio.gather(start(CHAT4ALL_AUTH__KEYS_DIR=folder), start(CHAT4ALL_AUTH__KEYS_DIR=folder))
    assert len(os.listdir(folder)) == 1
    login = await first.signed_in()
    await second.call("GetCurrentUser", pb.GetCurrentUserRequest(), login.access_token)
    assert [row["tenant_id"] for row in await first.sql("select tenant_id from tenants where tenant_id = 'default'")] == [
        "default"
    ]


async def test_rotation_with_overlap(start, tmp_path):
    """A further key is published at once and signs when its time has come; tokens of the old one stay good until it is removed."""
    auth = await start(CHAT4ALL_AUTH__KEY_ACTIVATION_SECONDS="1000", CHAT4ALL_AUTH__KEY_RELOAD_SECONDS="0.1")
    before = await auth.signed_in()
    old_kid = jwt.get_unverified_header(before.access_token)["kid"]
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = auth.settings.auth.keys_dir / "second.pem"
    path.write_bytes(pem)
    path.chmod(0o600)

    async def kids() -> list[str]:
        async with aiohttp.ClientSession() as http, http.get(f"{auth.http}/.well-known/jwks.json") as response:
            return [key["kid"] for key in (await response.json())["keys"]]

    async def both() -> bool:
        return await kids() == ["second", old_kid]

    await eventually(both)
    assert jwt.get_unverified_header((await auth.signed_in()).access_token)["kid"] == old_kid
    old = auth.settings.auth.keys_dir / f"{old_kid}.pem"
    os.utime(old, (time.time() - 3000, time.time() - 3000))
    os.utime(path, (time.time() - 2000, time.time() - 2000))

    async def second_signs() -> bool:
        return jwt.get_unverified_header((await auth.signed_in()).access_token)["kid"] == "second"

    await eventually(second_signs)
    verifier = TokenVerifier(auth.settings.tokens, JwksKeys(f"{auth.http}/.well-known/jwks.json"))
    await verifier.verify(before.access_token)
    old.unlink()

    async def only_second() -> bool:
        return await kids() == ["second"]

    await eventually(only_second)
    verifier = TokenVerifier(auth.settings.tokens, JwksKeys(f"{auth.http}/.well-known/jwks.json"))
    with pytest.raises(DomainError, match="not known"):
        await verifier.verify(before.access_token)


async def test_process_starts_before_its_engines_and_stops_in_order(engines, relay, tmp_path):
    """As an own process: alive without PostgreSQL, ready when it comes, and ends with 0 on SIGTERM."""
    line = await relay(engines["CHAT4ALL_POSTGRES__DSN"])
    await line.cut()
    base = find_free_block()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHAT4ALL_")} | engines
    environment |= {
        "CHAT4ALL_POSTGRES__DSN": line.url,
        "CHAT4ALL_AUTH__KEYS_DIR": str(tmp_path / "keys"),
        "CHAT4ALL_GRPC__PORT": str(base + 3),
        "CHAT4ALL_HTTP__PORT": str(base + 4),
    }
    http = f"http://127.0.0.1:{base + 4}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chat4all_auth", env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:

        async def answers(path: str, code: int) -> bool:
            return await _status(http + path) == code

        await eventually(lambda: answers("/health/live", 200), 30)
        assert await _status(http + "/health/ready") == 503
        assert await _status(http + "/.well-known/jwks.json") == 200
        await line.mend()
        await eventually(lambda: answers("/health/ready", 200), 30)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{base + 3}") as channel:
            stub = pb_grpc.AuthServiceStub(channel)
            name = unique()
            await stub.Register(pb.RegisterRequest(username=name, password=PASSWORD, display_name="A"), timeout=10)
            await stub.Login(pb.LoginRequest(username=name, password=PASSWORD), timeout=10)
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0, log.decode()
        assert PASSWORD.encode() not in log
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
