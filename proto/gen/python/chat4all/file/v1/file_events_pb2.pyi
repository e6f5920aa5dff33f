from chat4all.file.v1 import file_service_pb2 as _file_service_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FileUploaded(_message.Message):
    __slots__ = ("file", "bucket", "object_key")
    FILE_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    OBJECT_KEY_FIELD_NUMBER: _ClassVar[int]
    file: _file_service_pb2.File
    bucket: str
    object_key: str
    def __init__(self, file: _Optional[_Union[_file_service_pb2.File, _Mapping]] = ..., bucket: _Optional[str] = ..., object_key: _Optional[str] = ...) -> None: ...
