"""Accounts, the directory and who may see what, on real engines."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from chat4all.auth.v1 import auth_service_pb2 as pb
from chat4all.auth.v1 import user_pb2
from chat4all_runtime.errors import Code
from chat4all_runtime.ids import is_uuid7, new_id

from .conftest import PASSWORD, refusal, some_address, unique


async def test_registered_account_is_as_asked_for(auth):
    """Register answers the stored account: folded name, trimmed display name, tenant default, role user."""
    name = unique("Ana")
    user = await auth.register(name, display_name="  Ana Lúcia ", email="Ana@Example.org" + name[-12:])
    assert is_uuid7(user.user_id)
    assert (user.tenant_id, user.username, user.display_name, user.role) == ("default", name.lower(), "Ana Lúcia", "user")
    assert user.email == "ana@example.org" + name[-12:]
    assert user.status == user_pb2.USER_STATUS_ACTIVE
    rows = await auth.sql("select password_hash from users where user_id = $1", user.user_id)
    assert rows[0]["password_hash"].startswith("$argon2id$")
    assert PASSWORD not in rows[0]["password_hash"]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("username", "", "USERNAME_INVALID"),
        ("username", "ab", "USERNAME_INVALID"),
        ("username", "a" * 65, "USERNAME_INVALID"),
        ("username", "name\x00", "USERNAME_INVALID"),
        ("username", "\u212aelvin", "USERNAME_INVALID"),
        ("password", "short", "PASSWORD_TOO_SHORT"),
        ("password", "x" * 257, "PASSWORD_TOO_LONG"),
        ("password", "12345678\x00", "PASSWORD_INVALID"),
        ("display_name", "   ", "DISPLAY_NAME_INVALID"),
        ("display_name", "x" * 101, "DISPLAY_NAME_INVALID"),
        ("display_name", "a\x00b", "DISPLAY_NAME_INVALID"),
        ("display_name", "a\nb", "DISPLAY_NAME_INVALID"),
        ("email", "nobody", "EMAIL_INVALID"),
        ("email", "a\x00@example.org", "EMAIL_INVALID"),
        ("email", "a@" + "b" * 250 + ".org", "EMAIL_INVALID"),
        ("tenant_id", "Not\x00One", "TENANT_ID_INVALID"),
    ],
)
async def test_each_field_is_checked(auth, field, value, reason):
    """Bad input is INVALID_ARGUMENT with the field and a stable reason, never an error of a store."""
    error = await refusal(auth.register(**{field: value}))
    assert (error.code, error.reason, error.metadata["field"]) == (Code.INVALID_ARGUMENT, reason, field)


async def test_names_and_addresses_are_taken_once(auth):
    """Case does not make a name or an address another one; twenty at once leave one account."""
    name = unique()
    await auth.register(name, email=f"{name}@example.org")
    assert (await refusal(auth.register(name.upper()))).reason == "USERNAME_TAKEN"
    error = await refusal(auth.register(email=f"{name.upper()}@example.org"))
    assert (error.code, error.reason) == (Code.ALREADY_EXISTS, "EMAIL_TAKEN")

    wanted = unique()
    answers = await asyncio.gather(*(auth.register(wanted) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(answer, user_pb2.User) for answer in answers) == 1
    for answer in answers:
        assert isinstance(answer, user_pb2.User) or answer.code().name == "ALREADY_EXISTS"


@pytest.mark.parametrize("body", [b"\x0a\x03\xed\xa0\x80", b"\x0a\x03\xff\xfe\xfd", b"\x0a\xff"])
async def test_requests_that_cannot_be_read(auth, body):
    """A lone surrogate, bytes that are not UTF-8 and half a message are bad input, not a failure of ours."""
    error = await refusal(auth.channel.unary_unary("/chat4all.auth.v1.AuthService/Register")(body, timeout=10))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "REQUEST_NOT_READABLE")


async def test_unknown_tenant(auth):
    """Register names the tenant that is not there."""
    error = await refusal(auth.register(tenant_id="nowhere"))
    assert (error.code, error.reason) == (Code.NOT_FOUND, "TENANT_NOT_FOUND")


async def test_sign_up_can_be_switched_off(start):
    """For all by the setting, for one tenant by its row."""
    closed = await start(CHAT4ALL_AUTH__SIGN_UP_ENABLED="false")
    error = await refusal(closed.register())
    assert (error.code, error.reason) == (Code.PERMISSION_DENIED, "SIGN_UP_DISABLED")

    opened = await start(CHAT4ALL_AUTH__SIGN_UP_ENABLED="true")
    tenant = unique("tenant")
    await opened.sql("insert into tenants (tenant_id, display_name, sign_up_enabled) values ($1, 'Closed', false)", tenant)
    assert (await refusal(opened.register(tenant_id=tenant))).reason == "SIGN_UP_DISABLED"
    await opened.register()


async def test_registration_is_throttled_by_address(start):
    """Past the limit of an address: REGISTRATION_THROTTLED with a delay; another address is not touched."""
    auth = await start(CHAT4ALL_THROTTLE__REGISTRATIONS="3")
    for _ in range(3):
        await auth.register()
    error = await refusal(auth.register())
    assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "REGISTRATION_THROTTLED")
    assert error.retry_after is not None
    assert 0 < error.retry_after.total_seconds() <= 1200
    request = pb.RegisterRequest(username=unique(), password=PASSWORD, display_name="Else")
    await auth.call("Register", request, address=some_address())


async def test_profile_and_change(auth):
    """The caller sees and changes the own account: with a mask exactly the named, without one what is set."""
    login = await auth.signed_in(email=f"{unique()}@example.org")
    token = login.access_token
    me = await auth.call("GetCurrentUser", pb.GetCurrentUserRequest(), token)
    assert me == login.user

    request = pb.UpdateCurrentUserRequest(user=user_pb2.User(display_name="New Name"))
    changed = await auth.call("UpdateCurrentUser", request, token)
    assert (changed.display_name, changed.email) == ("New Name", me.email)
    assert changed.update_time.ToNanoseconds() > me.update_time.ToNanoseconds()

    request = pb.UpdateCurrentUserRequest(user=user_pb2.User(), update_mask=FieldMask(paths=["email"]))
    assert (await auth.call("UpdateCurrentUser", request, token)).email == ""

    for mask, reason in ((["role"], "UPDATE_MASK_INVALID"), ([], "UPDATE_EMPTY")):
        request = pb.UpdateCurrentUserRequest(user=user_pb2.User(role="admin"), update_mask=FieldMask(paths=mask))
        assert (await refusal(auth.call("UpdateCurrentUser", request, token))).reason == reason
    other = await auth.register(email=f"{unique()}@example.org")
    request = pb.UpdateCurrentUserRequest(user=user_pb2.User(email=other.email))
    assert (await refusal(auth.call("UpdateCurrentUser", request, token))).reason == "EMAIL_TAKEN"


async def test_directory_pages_and_finds_by_prefix(auth):
    """Every account once over all pages, in order of username; prefixes of both names match, signs of LIKE are plain text."""
    tenant = unique("tenant")
    await auth.sql("insert into tenants (tenant_id, display_name) values ($1, 'Directory')", tenant)
    names = sorted(f"p{number:02}_{chr(97 + number % 3)}" for number in range(23))
    await asyncio.gather(*(auth.register(name, display_name=f"Ângela {name[-1]}", tenant_id=tenant) for name in names))
    token = (await auth.login(names[0], tenant_id=tenant)).access_token

    seen: list[str] = []
    page_token = ""
    for _ in range(10):
        request = pb.ListUsersRequest(page_size=5, page_token=page_token)
        page = await auth.call("ListUsers", request, token)
        seen += [user.username for user in page.users]
        page_token = page.next_page_token
        if not page_token:
            break
    assert seen == names

    async def found(query: str) -> list[str]:
        return [user.username for user in (await auth.call("ListUsers", pb.ListUsersRequest(query=query), token)).users]

    assert await found("P1") == [name for name in names if name.startswith("p1")]
    assert await found("âNGELA B") == [name for name in names if name.endswith("b")]
    assert await found("p%") == []
    assert await found("p__") == []
    assert await found("p01_") == ["p01_b"]

    for request, reason in (
        (pb.ListUsersRequest(query="a\x00"), "QUERY_INVALID"),
        (pb.ListUsersRequest(query="q" * 101), "QUERY_INVALID"),
        (pb.ListUsersRequest(page_size=201), "PAGE_SIZE_INVALID"),
        (pb.ListUsersRequest(page_size=-1), "PAGE_SIZE_INVALID"),
        (pb.ListUsersRequest(page_token="nonsense"), "PAGE_TOKEN_INVALID"),
        (pb.ListUsersRequest(page_token="WyJcdTAwMDAiXQ"), "PAGE_TOKEN_INVALID"),  # ["\u0000"]
    ):
        assert (await refusal(auth.call("ListUsers", request, token))).reason == reason


async def test_addresses_are_for_their_owner_and_administrators(auth):
    """Others of the tenant see an account without its email."""
    owner = await auth.signed_in(email=f"{unique()}@example.org")
    other = await auth.signed_in()
    request = pb.GetUserRequest(user_id=owner.user.user_id)
    assert (await auth.call("GetUser", request, owner.access_token)).email == owner.user.email
    assert (await auth.call("GetUser", request, other.access_token)).email == ""
    query = pb.ListUsersRequest(query=owner.user.username)
    assert (await auth.call("ListUsers", query, other.access_token)).users[0].email == ""

    await auth.sql("update users set role = 'admin' where user_id = $1", other.user.user_id)
    assert (await auth.call("GetUser", request, other.access_token)).email == owner.user.email


async def test_tenants_do_not_see_each_other(auth):
    """A user of another tenant is not found, not listed and not in a batch."""
    tenant = unique("tenant")
    await auth.sql("insert into tenants (tenant_id, display_name) values ($1, 'Elsewhere')", tenant)
    name = unique()
    here = await auth.signed_in(username=name)
    there = await auth.register(name, tenant_id=tenant)  # the same name, another person
    request = pb.GetUserRequest(user_id=there.user_id)
    error = await refusal(auth.call("GetUser", request, here.access_token))
    assert (error.code, error.reason) == (Code.NOT_FOUND, "USER_NOT_FOUND")
    assert (
        await refusal(auth.call("GetUser", pb.GetUserRequest(user_id=new_id()), here.access_token))
    ).reason == "USER_NOT_FOUND"
    bad = pb.GetUserRequest(user_id="'; drop table users; --")
    assert (await refusal(auth.call("GetUser", bad, here.access_token))).reason == "USER_ID_INVALID"
    back = (await auth.login(name, tenant_id=tenant)).access_token
    assert (await auth.call("GetUser", request, back)).user_id == there.user_id
    request = pb.GetUserRequest(user_id=here.user.user_id)
    assert (await refusal(auth.call("GetUser", request, back))).reason == "USER_NOT_FOUND"
    listed = await auth.call("ListUsers", pb.ListUsersRequest(query=name), here.access_token)
    assert [user.user_id for user in listed.users] == [here.user.user_id]
    batch = pb.BatchGetUsersRequest(user_ids=[there.user_id, here.user.user_id, new_id()], tenant_id="default")
    assert [user.user_id for user in (await auth.internal("BatchGetUsers", batch)).users] == [here.user.user_id]


async def test_batch_is_for_processes_only_and_bounded(auth):
    """A user's token does not open an internal method; more than 200 ids are refused."""
    login = await auth.signed_in()
    batch = pb.BatchGetUsersRequest(user_ids=[login.user.user_id], tenant_id="default")
    error = await refusal(auth.call("BatchGetUsers", batch, login.access_token))
    assert (error.code, error.reason) == (Code.PERMISSION_DENIED, "INTERNAL_METHOD")
    many = pb.BatchGetUsersRequest(user_ids=[new_id() for _ in range(201)], tenant_id="default")
    assert (await refusal(auth.internal("BatchGetUsers", many))).reason == "TOO_MANY_USER_IDS"
    nameless = pb.BatchGetUsersRequest(user_ids=[login.user.user_id])
    assert (await refusal(auth.internal("BatchGetUsers", nameless))).reason == "TENANT_ID_REQUIRED"
