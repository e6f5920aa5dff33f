"""Who may call what: every method of the contract against every kind of caller."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from chat4all.auth.v1 import auth_service_pb2 as pb
from chat4all_auth.servicer import ACCESS
from chat4all_runtime.grpc_server import Access

SERVICE = pb.DESCRIPTOR.services_by_name["AuthService"]

# Answer's code by access and caller; OK stands for "let in, whatever the use case says of an empty request".
EXPECTED = {
    Access.OPEN: {"nobody": "OK", "user": "OK", "service": "OK", "forged service": "OK"},
    Access.USER: {"nobody": "UNAUTHENTICATED", "user": "OK", "service": "UNAUTHENTICATED", "forged service": "UNAUTHENTICATED"},
    Access.INTERNAL: {
        "nobody": "PERMISSION_DENIED",
        "user": "PERMISSION_DENIED",
        "service": "OK",
        "forged service": "UNAUTHENTICATED",
    },
}


@pytest.mark.parametrize("caller", ["nobody", "user", "service", "forged service"])
async def test_every_method_by_every_caller(auth, caller):
    """Open methods let everybody in, users' methods only users, internal ones only our processes."""
    login = await auth.signed_in()
    metadata = {
        "nobody": auth.metadata(),
        "user": auth.metadata(login.access_token),
        "service": auth.service_metadata(),
        "forged service": (("x-service-token", login.access_token),),
    }[caller]
    methods = sorted(SERVICE.methods, key=lambda method: method.name == "Logout")  # that one last: it ends the session
    for method in methods:
        request = GetMessageClass(method.input_type)()
        try:
            await getattr(auth.stub, method.name)(request, metadata=metadata, timeout=20)
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code = "OK" if error.code() is grpc.StatusCode.INVALID_ARGUMENT else error.code().name
        assert code == EXPECTED[ACCESS[method.name]][caller], method.name
