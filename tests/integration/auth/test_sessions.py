"""Signing in, staying signed in and being signed out, on real engines."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
import jwt
import orjson

from chat4all.auth.v1 import auth_service_pb2 as pb
from chat4all_auth.cleanup import Cleanup
from chat4all_auth.store_postgres_sessions import PostgresSessions
from chat4all_runtime import redis_client
from chat4all_runtime.clock import SystemClock
from chat4all_runtime.errors import Code
from chat4all_runtime.identity import JwksKeys, TokenVerifier
from chat4all_runtime.ids import is_uuid7, new_id
from chat4all_runtime.postgres import open_pool

from .conftest import PASSWORD, eventually, refusal, some_address, unique


@asynccontextmanager
async def notices_of(auth, user_id: str):
    """What is published to a user's channel while the block runs: an awaitable that gives the next payload's fields."""
    client = redis_client.open_async(auth.settings.redis)
    async with client.pubsub() as subscription:
        await subscription.subscribe(f"user:{user_id}:events")
        await subscription.get_message(timeout=5)

        async def next_fields() -> list[str]:
            message = await subscription.get_message(ignore_subscribe_messages=True, timeout=10)
            assert message is not None, "nothing was published"
            return message["data"].decode().split("\t")

        yield next_fields
    await client.aclose()


async def test_access_token_is_good_for_every_service(auth):
    """The token verifies by the published JWKS with the claims that the design names."""
    login = await auth.signed_in()
    assert login.expires_in == 900
    verifier = TokenVerifier(auth.settings.tokens, JwksKeys(f"{auth.http}/.well-known/jwks.json"))
    caller = await verifier.verify(login.access_token)
    assert (caller.user_id, caller.tenant_id, caller.scopes) == (login.user.user_id, "default", {"chat"})
    claims = jwt.decode(login.access_token, options={"verify_signature": False})
    assert set(claims) == {"sub", "tenant_id", "scope", "sid", "iss", "aud", "iat", "exp", "jti"}
    assert claims["exp"] - claims["iat"] == 900
    assert is_uuid7(claims["sid"])
    assert (claims["iss"], claims["aud"]) == ("https://auth.chat4all.local", "chat4all-api")
    async with aiohttp.ClientSession() as http, http.get(f"{auth.http}/.well-known/jwks.json") as response:
        assert response.headers["Cache-Control"] == "public, max-age=300"
        key = (await response.json())["keys"][0]
    assert {name: key[name] for name in ("kty", "crv", "alg", "use")} == {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "use": "sig",
    }
    assert "d" not in key
    assert jwt.get_unverified_header(login.access_token) == {"alg": "EdDSA", "typ": "JWT", "kid": key["kid"]}


async def test_one_answer_for_unknown_user_wrong_password_and_unknown_tenant(auth):
    """Nothing in the refusal tells whether the account exists."""
    user = await auth.register()
    wrong = await refusal(auth.login(user.username, "wrong password"))
    for call in (
        auth.login(unique(), "wrong password"),
        auth.login("näme with spaces", "wrong password"),
        auth.login(user.username, PASSWORD, tenant_id="nowhere"),
    ):
        error = await refusal(call)
        assert (error.code, error.reason, error.message, error.metadata) == (
            Code.UNAUTHENTICATED,
            "INVALID_CREDENTIALS",
            wrong.message,
            wrong.metadata,
        )
    assert (await refusal(auth.login("", PASSWORD))).reason == "USERNAME_REQUIRED"
    assert (await refusal(auth.login("x\x00", PASSWORD))).reason == "USERNAME_INVALID"
    assert (await refusal(auth.login(user.username, ""))).reason == "PASSWORD_REQUIRED"
    assert (await refusal(auth.login(user.username, "x" * 257))).reason == "PASSWORD_TOO_LONG"
    assert (await refusal(auth.login(user.username, device_id="d" * 101))).reason == "DEVICE_ID_INVALID"
    assert (await refusal(auth.login(user.username, device_name="d\x00"))).reason == "DEVICE_NAME_INVALID"
    assert (await auth.login(user.username.upper())).user == user


async def test_suspended_account_learns_it_only_with_the_password(auth):
    """A wrong password gives the common answer; the right one, and a refresh, tell of the suspension."""
    login = await auth.signed_in()
    await auth.sql("update users set status = 'suspended' where user_id = $1", login.user.user_id)
    assert (await refusal(auth.login(login.user.username, "wrong password"))).reason == "INVALID_CREDENTIALS"
    error = await refusal(auth.login(login.user.username))
    assert (error.code, error.reason) == (Code.PERMISSION_DENIED, "ACCOUNT_SUSPENDED")
    refresh = auth.call("RefreshToken", pb.RefreshTokenRequest(refresh_token=login.refresh_token))
    assert (await refusal(refresh)).reason == "ACCOUNT_SUSPENDED"
    verify = auth.internal("VerifyToken", pb.VerifyTokenRequest(access_token=login.access_token))
    assert (await refusal(verify)).reason == "SESSION_ENDED"


async def test_login_is_throttled_by_account(start):
    """After so many failures even the right password is refused, from any address; other accounts go on."""
    auth = await start(CHAT4ALL_THROTTLE__ACCOUNT_FAILURES="4")
    user, other = await auth.register(), await auth.register()
    for _ in range(10):
        await auth.login(user.username)  # successes cost nothing
    for _ in range(4):
        assert (await refusal(auth.login(user.username, "wrong", address=some_address()))).reason == "INVALID_CREDENTIALS"
    error = await refusal(auth.login(user.username, address=some_address()))
    assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "LOGIN_THROTTLED")
    assert error.retry_after is not None
    assert 0 < error.retry_after.total_seconds() <= 75
    await auth.login(other.username)
    name = unique()
    for _ in range(4):
        await refusal(auth.login(name, "wrong", address=some_address()))
    assert (await refusal(auth.login(name, "wrong"))).reason == "LOGIN_THROTTLED"  # unknown accounts alike


async def test_parallel_guesses_do_not_slip_past(start):
    """Of forty guesses at once at one account exactly as many as the limit allows reach the password check."""
    auth = await start(CHAT4ALL_THROTTLE__ACCOUNT_FAILURES="5", CHAT4ALL_THROTTLE__ADDRESS_FAILURES="1000")
    user = await auth.register()
    errors = await asyncio.gather(*(refusal(auth.login(user.username, f"guess {number}")) for number in range(40)))
    reasons = [error.reason for error in errors]
    assert (reasons.count("INVALID_CREDENTIALS"), reasons.count("LOGIN_THROTTLED")) == (5, 35)


async def test_login_is_throttled_by_address(start):
    """Failures over many accounts from one address stop that address only; a forged first hop does not help."""
    auth = await start(CHAT4ALL_THROTTLE__ADDRESS_FAILURES="6")
    user = await auth.register()
    for _ in range(6):
        assert (await refusal(auth.login(unique(), "wrong"))).reason == "INVALID_CREDENTIALS"
    assert (await refusal(auth.login(user.username))).reason == "LOGIN_THROTTLED"
    forged = (("x-forwarded-for", f"{some_address()}, {auth.address}"),)
    request = pb.LoginRequest(username=user.username, password=PASSWORD)
    assert (await refusal(auth.stub.Login(request, metadata=forged, timeout=20))).reason == "LOGIN_THROTTLED"
    await auth.login(user.username, address=some_address())


async def test_many_sign_in_at_once_from_one_address(auth):
    """A crowd behind one address signs in together: right passwords do not use up the limit of failures (30 here)."""
    users = [await auth.register() for _ in range(50)]
    logins = await asyncio.gather(*(auth.login(user.username) for user in users))
    assert len({login.refresh_token for login in logins}) == 50


async def test_too_many_passwords_at_once_are_refused(start):
    """Past the bound calls are refused at once with a delay; the rest are served."""
    auth = await start(
        CHAT4ALL_PASSWORDS__WORKERS="1", CHAT4ALL_PASSWORDS__MAX_WAITING="2", CHAT4ALL_PASSWORDS__MEMORY_KIB="65536"
    )
    user = await auth.register()
    answers = await asyncio.gather(*(auth.login(user.username) for _ in range(9)), return_exceptions=True)
    served = [answer for answer in answers if isinstance(answer, pb.LoginResponse)]
    assert len(served) >= 3
    refused = next(answer for answer in answers if not isinstance(answer, pb.LoginResponse))

    async def again():
        raise refused

    error = await refusal(again())
    assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "PASSWORDS_BUSY")
    assert error.retry_after == timedelta(seconds=1)


async def test_password_is_hashed_again_when_parameters_change(start):
    """The first login under new parameters replaces the hash; the password stays good."""
    old = await start()
    user = await old.register()
    new = await start(CHAT4ALL_PASSWORDS__MEMORY_KIB="2048")
    await new.login(user.username)
    rows = await new.sql("select password_hash from users where user_id = $1", user.user_id)
    assert "m=2048,t=1,p=1" in rows[0]["password_hash"]
    await new.login(user.username)


async def test_refresh_rotates(auth):
    """Each refresh gives a new pair in the same session; only hashes are kept."""
    login = await auth.signed_in()
    token, seen = login.refresh_token, {login.refresh_token}
    for _ in range(3):
        pair = await auth.call("RefreshToken", pb.RefreshTokenRequest(refresh_token=token))
        assert pair.user == login.user
        token = pair.refresh_token
        seen.add(token)
    assert len(seen) == 4
    old = jwt.decode(login.access_token, options={"verify_signature": False})
    new = jwt.decode(pair.access_token, options={"verify_signature": False})
    assert old["sid"] == new["sid"]
    assert old["jti"] != new["jti"]
    rows = await auth.sql("select token_hash from access_tokens where session_id = $1", old["sid"])
    assert len(rows) == 4
    assert all(len(row["token_hash"]) == 32 for row in rows)


async def test_reuse_ends_the_session_and_tells_gateways(auth):
    """A used refresh token ends the family: the newest token is dead too, and a `k` line names the session."""
    login = await auth.signed_in()
    session_id = jwt.decode(login.access_token, options={"verify_signature": False})["sid"]
    newest = await auth.call("RefreshToken", pb.RefreshTokenRequest(refresh_token=login.refresh_token))
    async with notices_of(auth, login.user.user_id) as next_notice:
        again = auth.call("RefreshToken", pb.RefreshTokenRequest(refresh_token=login.refresh_token))
        error = await refusal(again)
        assert (error.code, error.reason) == (Code.UNAUTHENTICATED, "REFRESH_TOKEN_REUSED")
        kind, sequence, user_id, named, frame = await next_notice()
        assert (kind, sequence, user_id, named) == ("k", "0", login.user.user_id, session_id)
        assert orjson.loads(frame)["reason"] == "SESSION_ENDED"
    dead = auth.call("RefreshToken", pb.RefreshTokenRequest(refresh_token=newest.refresh_token))
    assert (await refusal(dead)).reason == "SESSION_ENDED"
    rows = await auth.sql("select end_reason from sessions where session_id = $1", session_id)
    assert rows[0]["end_reason"] == "refresh_reused"


async def test_one_of_many_refreshes_at_once_wins(auth):
    """Ten who show the same token at once: one gets the next, and the session ends because the others had a copy."""
    login = await auth.signed_in()
    request = pb.RefreshTokenRequest(refresh_token=login.refresh_token)
    answers = await asyncio.gather(*(auth.call("RefreshToken", request) for _ in range(10)), return_exceptions=True)
    won = [answer for answer in answers if isinstance(answer, pb.RefreshTokenResponse)]
    assert len(won) == 1
    dead = auth.call("RefreshToken", pb.RefreshTokenRequest(refresh_token=won[0].refresh_token))
    assert (await refusal(dead)).reason == "SESSION_ENDED"


async def test_bad_refresh_tokens(auth):
    """Unknown, empty, endless and expired ones have each their reason."""

    async def reason(token: str) -> str:
        return (await refusal(auth.call("RefreshToken", pb.RefreshTokenRequest(refresh_token=token)))).reason

    assert await reason("not-one-of-ours") == "REFRESH_TOKEN_INVALID"
    assert await reason("nul\x00") == "REFRESH_TOKEN_INVALID"
    assert await reason("") == "REFRESH_TOKEN_REQUIRED"
    assert await reason("x" * 5000) == "REFRESH_TOKEN_TOO_LONG"
    login = await auth.signed_in()
    await auth.sql(
        "update access_tokens set expires_at = now() - interval '1 second' where user_id = $1::uuid", login.user.user_id
    )
    assert await reason(login.refresh_token) == "REFRESH_TOKEN_EXPIRED"


async def test_logout_ends_this_session(auth):
    """After logout neither token works here, gateways are told, another device stays; a second logout is no error."""
    login = await auth.signed_in()
    other = await auth.login(login.user.username)
    session_id = jwt.decode(login.access_token, options={"verify_signature": False})["sid"]
    async with notices_of(auth, login.user.user_id) as next_notice:
        await auth.call("Logout", pb.LogoutRequest(), login.access_token)
        assert (await next_notice())[:4] == ["k", "0", login.user.user_id, session_id]
    error = await refusal(auth.call("GetCurrentUser", pb.GetCurrentUserRequest(), login.access_token))
    assert (error.code, error.reason) == (Code.UNAUTHENTICATED, "SESSION_ENDED")
    refresh = auth.call("RefreshToken", pb.RefreshTokenRequest(refresh_token=login.refresh_token))
    assert (await refusal(refresh)).reason == "SESSION_ENDED"
    await auth.call("Logout", pb.LogoutRequest(), login.access_token)
    await auth.call("GetCurrentUser", pb.GetCurrentUserRequest(), other.access_token)


async def test_logout_everywhere(auth):
    """All sessions of the caller end, with one notice for all of them; those of others do not."""
    stranger = await auth.signed_in()
    login = await auth.signed_in()
    other = await auth.login(login.user.username)
    async with notices_of(auth, login.user.user_id) as next_notice:
        await auth.call("Logout", pb.LogoutRequest(all_sessions=True), login.access_token)
        assert (await next_notice())[:4] == ["k", "0", login.user.user_id, "*"]
    again = auth.call("Logout", pb.LogoutRequest(all_sessions=True), other.access_token)
    assert (await refusal(again)).reason == "SESSION_ENDED"
    await auth.call("GetCurrentUser", pb.GetCurrentUserRequest(), stranger.access_token)


async def test_sessions_are_listed_and_ended_one_by_one(auth):
    """Last used first, each once over the pages, the asking one marked; only own ones can be ended."""
    user = await auth.register()
    logins = [await auth.login(user.username, device_id=f"d{number}", device_name=f"Phone {number}") for number in range(5)]
    await auth.call("RefreshToken", pb.RefreshTokenRequest(refresh_token=logins[0].refresh_token))
    token = logins[2].access_token
    seen, page_token = [], ""
    while True:
        page = await auth.call("ListSessions", pb.ListSessionsRequest(page_size=2, page_token=page_token), token)
        seen += page.sessions
        page_token = page.next_page_token
        if not page_token:
            break
    assert [session.device_id for session in seen] == ["d0", "d4", "d3", "d2", "d1"]
    assert [session.device_id for session in seen if session.current] == ["d2"]
    assert seen[1].device_name == "Phone 4"

    await auth.call("DeleteSession", pb.DeleteSessionRequest(session_id=seen[1].session_id), token)
    dead = auth.call("GetCurrentUser", pb.GetCurrentUserRequest(), logins[4].access_token)
    assert (await refusal(dead)).reason == "SESSION_ENDED"
    stranger = await auth.signed_in()
    for session_id, by, reason in (
        (seen[1].session_id, token, "SESSION_NOT_FOUND"),
        (seen[0].session_id, stranger.access_token, "SESSION_NOT_FOUND"),
        (new_id(), token, "SESSION_NOT_FOUND"),
        ("1", token, "SESSION_ID_INVALID"),
    ):
        request = pb.DeleteSessionRequest(session_id=session_id)
        assert (await refusal(auth.call("DeleteSession", request, by))).reason == reason
    for page_token in ("WzEsMl0", "Wy05MjIzMzcyMDM2ODU0Nzc1ODA4LCIxIl0", "WzkyMjMzNzIwMzY4NTQ3NzU4MDcsIjEiXQ"):
        request = pb.ListSessionsRequest(page_token=page_token)
        assert (await refusal(auth.call("ListSessions", request, token))).reason == "PAGE_TOKEN_INVALID"


async def test_verify_token_looks_at_the_session(auth):
    """Internal callers learn whose a token is, and that its session has ended although the token has not expired."""
    login = await auth.signed_in()
    request = pb.VerifyTokenRequest(access_token=login.access_token)
    told = await auth.internal("VerifyToken", request)
    assert (told.user_id, told.tenant_id, list(told.scopes)) == (login.user.user_id, "default", ["chat"])
    assert told.expire_time.seconds == jwt.decode(login.access_token, options={"verify_signature": False})["exp"]
    await auth.call("Logout", pb.LogoutRequest(), login.access_token)
    assert (await refusal(auth.internal("VerifyToken", request))).reason == "SESSION_ENDED"
    for token, reason in (("a.b.c", "TOKEN_INVALID"), ("", "ACCESS_TOKEN_REQUIRED"), ("x" * 5000, "ACCESS_TOKEN_TOO_LONG")):
        assert (await refusal(auth.internal("VerifyToken", pb.VerifyTokenRequest(access_token=token)))).reason == reason
    error = await refusal(auth.call("VerifyToken", request, login.access_token))
    assert (error.code, error.reason) == (Code.PERMISSION_DENIED, "INTERNAL_METHOD")


async def test_tokens_of_others_are_refused(auth):
    """No algorithm but ours, no key but ours: `none`, HMAC with the public key, and a foreign key do not pass."""
    login = await auth.signed_in()
    claims = jwt.decode(login.access_token, options={"verify_signature": False})
    kid = jwt.get_unverified_header(login.access_token)["kid"]
    forged = [
        jwt.encode(claims, None, algorithm="none", headers={"kid": kid}),
        jwt.encode(claims, "k" * 64, algorithm="HS256", headers={"kid": kid}),
        login.access_token[:-4] + ("AAAA" if not login.access_token.endswith("AAAA") else "BBBB"),
    ]
    for token in forged:
        error = await refusal(auth.call("GetCurrentUser", pb.GetCurrentUserRequest(), token))
        assert (error.code, error.reason) == (Code.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_cleanup_removes_only_what_is_over(auth):
    """Sessions long ended and tokens expired go; a living session and its used token stay, so that reuse is still seen."""
    gone, kept = await auth.signed_in(), await auth.signed_in()
    await auth.call("RefreshToken", pb.RefreshTokenRequest(refresh_token=kept.refresh_token))
    await auth.call("Logout", pb.LogoutRequest(), gone.access_token)
    await auth.sql("update sessions set ended_at = now() - interval '8 days' where user_id = $1::uuid", gone.user.user_id)
    async with open_pool(auth.settings.postgres, "auth") as pool:
        cleanup = Cleanup(PostgresSessions(pool, 5.0), SystemClock(), timedelta(hours=1), timedelta(days=7))
        await cleanup.clean(asyncio.Event())  # the process's own round may have been first; what counts is what is left
        assert await cleanup.clean(asyncio.Event()) == 0
    assert await auth.sql("select from access_tokens where user_id = $1::uuid", gone.user.user_id) == []
    again = auth.call("RefreshToken", pb.RefreshTokenRequest(refresh_token=kept.refresh_token))
    assert (await refusal(again)).reason == "REFRESH_TOKEN_REUSED"


async def test_metrics_count_by_outcome(auth):
    """The process's own page shows logins by outcome, every outcome from the start."""

    async def metrics() -> str:
        async with aiohttp.ClientSession() as http, http.get(f"{auth.http}/metrics") as response:
            return await response.text()

    assert 'chat4all_auth_logins_total{outcome="suspended"}' in await metrics()
    await auth.signed_in()

    async def counted() -> bool:
        return 'chat4all_auth_logins_total{outcome="success"} 0.0' not in await metrics()

    await eventually(counted)
