import datetime

from chat4all.message.v1 import message_pb2 as _message_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MessageCommand(_message.Message):
    __slots__ = ("tenant_id", "conversation_id", "message_id", "from_user_id", "kind", "content", "reply_to_message_id", "thread_id", "accept_time", "digest")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_USER_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_TIME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    conversation_id: str
    message_id: str
    from_user_id: str
    kind: str
    content: _message_pb2.MessageContent
    reply_to_message_id: str
    thread_id: str
    accept_time: _timestamp_pb2.Timestamp
    digest: str
    def __init__(self, tenant_id: _Optional[str] = ..., conversation_id: _Optional[str] = ..., message_id: _Optional[str] = ..., from_user_id: _Optional[str] = ..., kind: _Optional[str] = ..., content: _Optional[_Union[_message_pb2.MessageContent, _Mapping]] = ..., reply_to_message_id: _Optional[str] = ..., thread_id: _Optional[str] = ..., accept_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., digest: _Optional[str] = ...) -> None: ...

class MessageStored(_message.Message):
    __slots__ = ("message", "store_time", "digest")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STORE_TIME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    message: _message_pb2.Message
    store_time: _timestamp_pb2.Timestamp
    digest: str
    def __init__(self, message: _Optional[_Union[_message_pb2.Message, _Mapping]] = ..., store_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., digest: _Optional[str] = ...) -> None: ...

class MessageFailed(_message.Message):
    __slots__ = ("tenant_id", "conversation_id", "message_id", "from_user_id", "recipient_id", "channel", "reason", "detail", "fail_time")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_USER_ID_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_ID_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    FAIL_TIME_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    conversation_id: str
    message_id: str
    from_user_id: str
    recipient_id: str
    channel: str
    reason: str
    detail: str
    fail_time: _timestamp_pb2.Timestamp
    def __init__(self, tenant_id: _Optional[str] = ..., conversation_id: _Optional[str] = ..., message_id: _Optional[str] = ..., from_user_id: _Optional[str] = ..., recipient_id: _Optional[str] = ..., channel: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., fail_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
