"""The auth service as its peers see it: users of tenants, and access tokens signed by a published key."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import grpc
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.peer_server import PeerServer, require_service_token
from jwt.algorithms import OKPAlgorithm

from chat4all.auth.v1 import auth_service_pb2, auth_service_pb2_grpc, user_pb2
from chat4all_runtime.ids import new_id
from chat4all_runtime.settings import InternalSettings

ISSUER = "https://auth.chat4all.local"
AUDIENCE = "chat4all-api"


class FakeAuth(auth_service_pb2_grpc.AuthServiceServicer):
    """Knows the users it was told of; counts the calls."""

    def __init__(self, internal: InternalSettings) -> None:
        self._internal = internal
        self._users: dict[str, user_pb2.User] = {}
        self.calls = 0
        self.server = PeerServer(lambda server: auth_service_pb2_grpc.add_AuthServiceServicer_to_server(self, server))

    def add(self, tenant_id: str = "default", status: user_pb2.UserStatus = user_pb2.USER_STATUS_ACTIVE) -> str:
        """A new user's id."""
        user_id = new_id()
        self._users[user_id] = user_pb2.User(user_id=user_id, tenant_id=tenant_id, status=status)
        return user_id

    def BatchGetUsers(
        self, request: auth_service_pb2.BatchGetUsersRequest, context: grpc.ServicerContext
    ) -> auth_service_pb2.BatchGetUsersResponse:
        """Accounts by id; unknown ids are left out."""
        require_service_token(context, self._internal)
        self.calls += 1
        if len(request.user_ids) > 200:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "at most 200")
        found = [self._users[user_id] for user_id in request.user_ids if user_id in self._users]
        return auth_service_pb2.BatchGetUsersResponse(users=[user for user in found if user.tenant_id == request.tenant_id])


class TokenIssuer:
    """Signs access tokens and publishes the key at `jwks_url` from `__enter__` to `__exit__`."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        document = {**orjson.loads(OKPAlgorithm.to_jwk(self._key.public_key())), "kid": "test", "use": "sig", "alg": "EdDSA"}
        body = orjson.dumps({"keys": [document]})

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.jwks_url = f"http://127.0.0.1:{self._server.server_port}/.well-known/jwks.json"

    def token(self, user_id: str, tenant_id: str = "default") -> str:
        """An access token, good for ten minutes."""
        now = int(time.time())
        claims = {
            "sub": user_id,
            "tenant_id": tenant_id,
            "sid": new_id(),
            "scope": "user",
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 600,
            "jti": new_id(),
        }
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": "test"})

    def __enter__(self) -> TokenIssuer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
