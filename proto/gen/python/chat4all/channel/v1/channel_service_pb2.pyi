import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChannelAccount(_message.Message):
    __slots__ = ("channel_account_id", "channel", "display_name", "config", "secrets", "enabled", "health", "create_time", "update_time")
    class SecretsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CHANNEL_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    channel_account_id: str
    channel: str
    display_name: str
    config: _struct_pb2.Struct
    secrets: _containers.ScalarMap[str, str]
    enabled: bool
    health: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, channel_account_id: _Optional[str] = ..., channel: _Optional[str] = ..., display_name: _Optional[str] = ..., config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., secrets: _Optional[_Mapping[str, str]] = ..., enabled: _Optional[bool] = ..., health: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateChannelAccountRequest(_message.Message):
    __slots__ = ("channel_account", "request_id")
    CHANNEL_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    channel_account: ChannelAccount
    request_id: str
    def __init__(self, channel_account: _Optional[_Union[ChannelAccount, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetChannelAccountRequest(_message.Message):
    __slots__ = ("channel_account_id",)
    CHANNEL_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    channel_account_id: str
    def __init__(self, channel_account_id: _Optional[str] = ...) -> None: ...

class ListChannelAccountsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListChannelAccountsResponse(_message.Message):
    __slots__ = ("channel_accounts", "next_page_token")
    CHANNEL_ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    channel_accounts: _containers.RepeatedCompositeFieldContainer[ChannelAccount]
    next_page_token: str
    def __init__(self, channel_accounts: _Optional[_Iterable[_Union[ChannelAccount, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateChannelAccountRequest(_message.Message):
    __slots__ = ("channel_account", "update_mask")
    CHANNEL_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    channel_account: ChannelAccount
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, channel_account: _Optional[_Union[ChannelAccount, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class DeleteChannelAccountRequest(_message.Message):
    __slots__ = ("channel_account_id",)
    CHANNEL_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    channel_account_id: str
    def __init__(self, channel_account_id: _Optional[str] = ...) -> None: ...

class DeleteChannelAccountResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyChannelAccountRequest(_message.Message):
    __slots__ = ("channel_account_id",)
    CHANNEL_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    channel_account_id: str
    def __init__(self, channel_account_id: _Optional[str] = ...) -> None: ...
