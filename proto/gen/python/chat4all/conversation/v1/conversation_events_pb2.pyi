import datetime

from chat4all.conversation.v1 import conversation_pb2 as _conversation_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConversationCreated(_message.Message):
    __slots__ = ("tenant_id", "conversation_id", "type", "title", "created_by", "members", "create_time")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    conversation_id: str
    type: _conversation_pb2.ConversationType
    title: str
    created_by: str
    members: _containers.RepeatedCompositeFieldContainer[_conversation_pb2.Member]
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, tenant_id: _Optional[str] = ..., conversation_id: _Optional[str] = ..., type: _Optional[_Union[_conversation_pb2.ConversationType, str]] = ..., title: _Optional[str] = ..., created_by: _Optional[str] = ..., members: _Optional[_Iterable[_Union[_conversation_pb2.Member, _Mapping]]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ConversationUpdated(_message.Message):
    __slots__ = ("tenant_id", "conversation_id", "changed_by", "added_members", "removed_user_ids", "changed_members", "title", "archived", "change_time")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    CHANGED_BY_FIELD_NUMBER: _ClassVar[int]
    ADDED_MEMBERS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_USER_IDS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_MEMBERS_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    ARCHIVED_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    conversation_id: str
    changed_by: str
    added_members: _containers.RepeatedCompositeFieldContainer[_conversation_pb2.Member]
    removed_user_ids: _containers.RepeatedScalarFieldContainer[str]
    changed_members: _containers.RepeatedCompositeFieldContainer[_conversation_pb2.Member]
    title: str
    archived: bool
    change_time: _timestamp_pb2.Timestamp
    def __init__(self, tenant_id: _Optional[str] = ..., conversation_id: _Optional[str] = ..., changed_by: _Optional[str] = ..., added_members: _Optional[_Iterable[_Union[_conversation_pb2.Member, _Mapping]]] = ..., removed_user_ids: _Optional[_Iterable[str]] = ..., changed_members: _Optional[_Iterable[_Union[_conversation_pb2.Member, _Mapping]]] = ..., title: _Optional[str] = ..., archived: _Optional[bool] = ..., change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class MarkMoved(_message.Message):
    __slots__ = ("tenant_id", "conversation_id", "user_id", "read_sequence_number", "delivered_sequence_number", "move_time")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    READ_SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    MOVE_TIME_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    conversation_id: str
    user_id: str
    read_sequence_number: int
    delivered_sequence_number: int
    move_time: _timestamp_pb2.Timestamp
    def __init__(self, tenant_id: _Optional[str] = ..., conversation_id: _Optional[str] = ..., user_id: _Optional[str] = ..., read_sequence_number: _Optional[int] = ..., delivered_sequence_number: _Optional[int] = ..., move_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
