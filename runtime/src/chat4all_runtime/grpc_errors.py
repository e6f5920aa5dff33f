"""`DomainError` ⇄ `google.rpc.Status`. Servicers never set a status code themselves."""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from chat4all_runtime.errors import Code, DomainError, unavailable


def to_status(error: DomainError, area: str) -> status_pb2.Status:
    """The error as a client sees it; `area` such as `message` gives the domain `message.chat4all`."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=f"{area}.chat4all", metadata=error.metadata)
    ]
    if error.field is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message, reason=error.reason)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        details.append(retry)
    packed = []
    for detail in details:
        item = any_pb2.Any()
        item.Pack(detail)
        packed.append(item)
    return status_pb2.Status(code=int(error.code), message=error.message, details=packed)


def from_status(status: status_pb2.Status) -> DomainError:
    """The error that a status carries, for callers that got one inside an answer."""
    reason, metadata = "UNKNOWN", {}
    retry_after = None
    for item in status.details:
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        if item.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif item.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta()
    return DomainError(_code(status.code), reason, status.message, metadata=metadata, retry_after=retry_after)


def from_rpc_error(error: grpc.RpcError, dependency: str) -> DomainError:
    """What a failed call of ours means to our own caller: its reason when it gave one, else the dependency is away."""
    status = rpc_status.from_call(error)
    if status is not None:
        return from_status(status)
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return unavailable(dependency)
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = f"{dependency} did not answer in time; try again."
        return DomainError(Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", message, metadata={"dependency": dependency})
    return DomainError(_code(error.code().value[0]), "UNKNOWN", error.details() or "The call failed.")


def _code(number: int) -> Code:
    return Code(number) if number in set(Code) else Code.INTERNAL
