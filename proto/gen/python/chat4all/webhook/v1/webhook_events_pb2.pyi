from chat4all.event.v1 import event_pb2 as _event_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WebhookEventRaised(_message.Message):
    __slots__ = ("tenant_id", "envelope")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    envelope: _event_pb2.EventEnvelope
    def __init__(self, tenant_id: _Optional[str] = ..., envelope: _Optional[_Union[_event_pb2.EventEnvelope, _Mapping]] = ...) -> None: ...
