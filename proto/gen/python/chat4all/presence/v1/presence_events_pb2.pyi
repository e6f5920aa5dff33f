import datetime

from chat4all.presence.v1 import presence_service_pb2 as _presence_service_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PresenceChanged(_message.Message):
    __slots__ = ("tenant_id", "user_id", "state", "previous_state", "change_time")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_STATE_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    user_id: str
    state: _presence_service_pb2.PresenceState
    previous_state: _presence_service_pb2.PresenceState
    change_time: _timestamp_pb2.Timestamp
    def __init__(self, tenant_id: _Optional[str] = ..., user_id: _Optional[str] = ..., state: _Optional[_Union[_presence_service_pb2.PresenceState, str]] = ..., previous_state: _Optional[_Union[_presence_service_pb2.PresenceState, str]] = ..., change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
