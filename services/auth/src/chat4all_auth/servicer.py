"""The gRPC edge of the auth service: request → one use case → response. No decisions here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chat4all.auth.v1 import auth_service_pb2 as pb
from chat4all.auth.v1 import auth_service_pb2_grpc as pb_grpc
from chat4all.auth.v1 import user_pb2
from chat4all_auth.client import client_of
from chat4all_auth.domain.model import Client, Session, User
from chat4all_auth.usecases.directory import BatchGetUsers, GetUser, ListUsers, UpdateCurrentUser
from chat4all_auth.usecases.registration import Register, Registration
from chat4all_auth.usecases.sessions import DeleteSession, ListSessions, LiveSession, Logout, VerifyToken
from chat4all_auth.usecases.sign_in import Login, LoginAttempt, RefreshTokens
from chat4all_runtime.grpc_server import Access
from chat4all_runtime.identity import current_caller

ACCESS = {
    "Register": Access.OPEN,
    "Login": Access.OPEN,
    "RefreshToken": Access.OPEN,
    "Logout": Access.USER,
    "GetCurrentUser": Access.USER,
    "UpdateCurrentUser": Access.USER,
    "ListSessions": Access.USER,
    "DeleteSession": Access.USER,
    "GetUser": Access.USER,
    "ListUsers": Access.USER,
    "VerifyToken": Access.INTERNAL,
    "BatchGetUsers": Access.INTERNAL,
}


@dataclass(frozen=True, slots=True)
class UseCases:
    """Everything the servicer calls."""

    register: Register
    login: Login
    refresh: RefreshTokens
    logout: Logout
    live: LiveSession
    update: UpdateCurrentUser
    list_sessions: ListSessions
    delete_session: DeleteSession
    get_user: GetUser
    list_users: ListUsers
    verify: VerifyToken
    batch_get_users: BatchGetUsers


class AuthServicer(pb_grpc.AuthServiceServicer):
    """Implements `chat4all.auth.v1.AuthService`; what each method does is written in the contract."""

    def __init__(self, usecases: UseCases) -> None:
        self._do = usecases

    async def Register(self, request: pb.RegisterRequest, context: Any) -> user_pb2.User:  # noqa: D102
        asked = Registration(request.username, request.password, request.display_name, request.email, request.tenant_id)
        return _user(await self._do.register(asked, _client(context)))

    async def Login(self, request: pb.LoginRequest, context: Any) -> pb.LoginResponse:  # noqa: D102
        attempt = LoginAttempt(request.username, request.password, request.device_id, request.device_name, request.tenant_id)
        signed_in = await self._do.login(attempt, _client(context))
        return pb.LoginResponse(
            access_token=signed_in.access_token,
            refresh_token=signed_in.refresh_token,
            expires_in=signed_in.expires_in_seconds,
            user=_user(signed_in.user),
        )

    async def RefreshToken(self, request: pb.RefreshTokenRequest, context: Any) -> pb.RefreshTokenResponse:  # noqa: D102
        signed_in = await self._do.refresh(request.refresh_token, _client(context))
        return pb.RefreshTokenResponse(
            access_token=signed_in.access_token,
            refresh_token=signed_in.refresh_token,
            expires_in=signed_in.expires_in_seconds,
            user=_user(signed_in.user),
        )

    async def Logout(self, request: pb.LogoutRequest, context: Any) -> pb.LogoutResponse:  # noqa: D102
        await self._do.logout(current_caller(), request.all_sessions)
        return pb.LogoutResponse()

    async def GetCurrentUser(self, request: pb.GetCurrentUserRequest, context: Any) -> user_pb2.User:  # noqa: D102
        return _user(await self._do.live.owner(current_caller()))

    async def UpdateCurrentUser(self, request: pb.UpdateCurrentUserRequest, context: Any) -> user_pb2.User:  # noqa: D102
        mask = list(request.update_mask.paths)
        return _user(await self._do.update(current_caller(), request.user.display_name, request.user.email, mask))

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Any) -> pb.ListSessionsResponse:  # noqa: D102
        caller = current_caller()
        page = await self._do.list_sessions(caller, request.page_size, request.page_token)
        sessions = [_session(session, session.session_id == caller.session_id) for session in page.sessions]
        return pb.ListSessionsResponse(sessions=sessions, next_page_token=page.next_page_token)

    async def DeleteSession(self, request: pb.DeleteSessionRequest, context: Any) -> pb.DeleteSessionResponse:  # noqa: D102
        await self._do.delete_session(current_caller(), request.session_id)
        return pb.DeleteSessionResponse()

    async def GetUser(self, request: pb.GetUserRequest, context: Any) -> user_pb2.User:  # noqa: D102
        return _user(await self._do.get_user(current_caller(), request.user_id))

    async def ListUsers(self, request: pb.ListUsersRequest, context: Any) -> pb.ListUsersResponse:  # noqa: D102
        page = await self._do.list_users(current_caller(), request.query, request.page_size, request.page_token)
        return pb.ListUsersResponse(users=map(_user, page.users), next_page_token=page.next_page_token)

    async def VerifyToken(self, request: pb.VerifyTokenRequest, context: Any) -> pb.VerifyTokenResponse:  # noqa: D102
        caller = await self._do.verify(request.access_token)
        response = pb.VerifyTokenResponse(
            user_id=caller.user_id, tenant_id=caller.tenant_id, session_id=caller.session_id, scopes=sorted(caller.scopes)
        )
        response.expire_time.FromDatetime(datetime.fromtimestamp(caller.expires_at, UTC))
        return response

    async def BatchGetUsers(self, request: pb.BatchGetUsersRequest, context: Any) -> pb.BatchGetUsersResponse:  # noqa: D102
        users = await self._do.batch_get_users(request.tenant_id, request.user_ids)
        return pb.BatchGetUsersResponse(users=map(_user, users))


def _client(context: Any) -> Client:
    return client_of(context.invocation_metadata() or (), context.peer())


def _user(user: User) -> user_pb2.User:
    message = user_pb2.User(
        user_id=user.user_id,
        tenant_id=user.tenant_id,
        username=user.username,
        display_name=user.display_name,
        email=user.email,
        status=f"USER_STATUS_{user.status.name}",
        role=user.role.value,
    )
    message.create_time.FromDatetime(user.created_at)
    message.update_time.FromDatetime(user.updated_at)
    return message


def _session(session: Session, current: bool) -> user_pb2.Session:
    message = user_pb2.Session(
        session_id=session.session_id, device_id=session.device_id, device_name=session.device_name, current=current
    )
    message.create_time.FromDatetime(session.created_at)
    message.last_used_time.FromDatetime(session.last_used_at)
    return message
