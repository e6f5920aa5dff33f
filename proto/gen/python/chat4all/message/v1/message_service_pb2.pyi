import datetime

from chat4all.message.v1 import message_pb2 as _message_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WaitFor(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAIT_FOR_UNSPECIFIED: _ClassVar[WaitFor]
    WAIT_FOR_ACCEPTED: _ClassVar[WaitFor]
    WAIT_FOR_STORED: _ClassVar[WaitFor]
WAIT_FOR_UNSPECIFIED: WaitFor
WAIT_FOR_ACCEPTED: WaitFor
WAIT_FOR_STORED: WaitFor

class SendMessageRequest(_message.Message):
    __slots__ = ("conversation_id", "message_id", "content", "reply_to_message_id", "thread_id", "wait_for")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    REPLY_TO_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    THREAD_ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_FOR_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    message_id: str
    content: _message_pb2.MessageContent
    reply_to_message_id: str
    thread_id: str
    wait_for: WaitFor
    def __init__(self, conversation_id: _Optional[str] = ..., message_id: _Optional[str] = ..., content: _Optional[_Union[_message_pb2.MessageContent, _Mapping]] = ..., reply_to_message_id: _Optional[str] = ..., thread_id: _Optional[str] = ..., wait_for: _Optional[_Union[WaitFor, str]] = ...) -> None: ...

class SendMessageResponse(_message.Message):
    __slots__ = ("message", "state")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    message: _message_pb2.Message
    state: _message_pb2.MessageState
    def __init__(self, message: _Optional[_Union[_message_pb2.Message, _Mapping]] = ..., state: _Optional[_Union[_message_pb2.MessageState, str]] = ...) -> None: ...

class SendMessageBatchRequest(_message.Message):
    __slots__ = ("conversation_id", "messages")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    messages: _containers.RepeatedCompositeFieldContainer[SendMessageRequest]
    def __init__(self, conversation_id: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[SendMessageRequest, _Mapping]]] = ...) -> None: ...

class SendMessageBatchResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SendMessageResult]
    def __init__(self, results: _Optional[_Iterable[_Union[SendMessageResult, _Mapping]]] = ...) -> None: ...

class SendMessageResult(_message.Message):
    __slots__ = ("message_id", "message", "state", "error")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    message: _message_pb2.Message
    state: _message_pb2.MessageState
    error: _status_pb2.Status
    def __init__(self, message_id: _Optional[str] = ..., message: _Optional[_Union[_message_pb2.Message, _Mapping]] = ..., state: _Optional[_Union[_message_pb2.MessageState, str]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class ListMessagesRequest(_message.Message):
    __slots__ = ("conversation_id", "after_sequence_number", "before_sequence_number", "page_size", "page_token")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    BEFORE_SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    after_sequence_number: int
    before_sequence_number: int
    page_size: int
    page_token: str
    def __init__(self, conversation_id: _Optional[str] = ..., after_sequence_number: _Optional[int] = ..., before_sequence_number: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListMessagesResponse(_message.Message):
    __slots__ = ("messages", "next_page_token", "last_sequence_number", "frames")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[_message_pb2.Message]
    next_page_token: str
    last_sequence_number: int
    frames: _containers.RepeatedCompositeFieldContainer[LogFrame]
    def __init__(self, messages: _Optional[_Iterable[_Union[_message_pb2.Message, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., last_sequence_number: _Optional[int] = ..., frames: _Optional[_Iterable[_Union[LogFrame, _Mapping]]] = ...) -> None: ...

class LogFrame(_message.Message):
    __slots__ = ("sequence_number", "kind", "from_user_id", "message_id", "frame")
    SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    FROM_USER_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    sequence_number: int
    kind: str
    from_user_id: str
    message_id: str
    frame: bytes
    def __init__(self, sequence_number: _Optional[int] = ..., kind: _Optional[str] = ..., from_user_id: _Optional[str] = ..., message_id: _Optional[str] = ..., frame: _Optional[bytes] = ...) -> None: ...

class GetMessageRequest(_message.Message):
    __slots__ = ("message_id",)
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    def __init__(self, message_id: _Optional[str] = ...) -> None: ...

class Submission(_message.Message):
    __slots__ = ("tenant_id", "sender_user_id", "request")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    SENDER_USER_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    sender_user_id: str
    request: SendMessageRequest
    def __init__(self, tenant_id: _Optional[str] = ..., sender_user_id: _Optional[str] = ..., request: _Optional[_Union[SendMessageRequest, _Mapping]] = ...) -> None: ...

class SubmitMessagesRequest(_message.Message):
    __slots__ = ("submissions",)
    SUBMISSIONS_FIELD_NUMBER: _ClassVar[int]
    submissions: _containers.RepeatedCompositeFieldContainer[Submission]
    def __init__(self, submissions: _Optional[_Iterable[_Union[Submission, _Mapping]]] = ...) -> None: ...

class SubmitMessagesResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SendMessageResult]
    def __init__(self, results: _Optional[_Iterable[_Union[SendMessageResult, _Mapping]]] = ...) -> None: ...

class SummaryRequest(_message.Message):
    __slots__ = ("conversation_id", "user_id", "read_sequence_number")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    READ_SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    user_id: str
    read_sequence_number: int
    def __init__(self, conversation_id: _Optional[str] = ..., user_id: _Optional[str] = ..., read_sequence_number: _Optional[int] = ...) -> None: ...

class SummarizeConversationsRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[SummaryRequest]
    def __init__(self, items: _Optional[_Iterable[_Union[SummaryRequest, _Mapping]]] = ...) -> None: ...

class ConversationSummary(_message.Message):
    __slots__ = ("conversation_id", "last_sequence_number", "last_message", "unread_count", "last_activity_time")
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    LAST_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    UNREAD_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_ACTIVITY_TIME_FIELD_NUMBER: _ClassVar[int]
    conversation_id: str
    last_sequence_number: int
    last_message: _message_pb2.Message
    unread_count: int
    last_activity_time: _timestamp_pb2.Timestamp
    def __init__(self, conversation_id: _Optional[str] = ..., last_sequence_number: _Optional[int] = ..., last_message: _Optional[_Union[_message_pb2.Message, _Mapping]] = ..., unread_count: _Optional[int] = ..., last_activity_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SummarizeConversationsResponse(_message.Message):
    __slots__ = ("summaries",)
    SUMMARIES_FIELD_NUMBER: _ClassVar[int]
    summaries: _containers.RepeatedCompositeFieldContainer[ConversationSummary]
    def __init__(self, summaries: _Optional[_Iterable[_Union[ConversationSummary, _Mapping]]] = ...) -> None: ...
