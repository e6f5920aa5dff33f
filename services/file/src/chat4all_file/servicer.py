"""The gRPC edge of files: request → one use case → response."""

from __future__ import annotations

from typing import Any

from chat4all.file.v1 import file_service_pb2 as pb
from chat4all.file.v1 import file_service_pb2_grpc
from chat4all_file.domain.model import PART_BYTES
from chat4all_file.events import to_resource
from chat4all_file.usecases import (
    AttachmentCheck,
    CheckAttachments,
    CompleteUpload,
    CreateUpload,
    DeleteFile,
    GetFile,
    ListUploadParts,
)
from chat4all_runtime.errors import invalid
from chat4all_runtime.grpc_server import Access
from chat4all_runtime.identity import current_caller

ACCESS = {
    "CreateUpload": Access.USER,
    "ListUploadParts": Access.USER,
    "CompleteUpload": Access.USER,
    "GetFile": Access.USER,
    "GetDownloadLink": Access.USER,
    "DeleteFile": Access.USER,
    "CheckAttachments": Access.INTERNAL,
}

_MAX_ATTACHMENTS = 200


def _token(context: Any) -> str:
    """The caller's own token; the interceptor has checked it."""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return str(value).partition(" ")[2].strip()
    return ""


class FileServicer(file_service_pb2_grpc.FileServiceServicer):
    """Implements chat4all.file.v1.FileService."""

    def __init__(
        self,
        create: CreateUpload,
        parts: ListUploadParts,
        complete: CompleteUpload,
        get: GetFile,
        delete: DeleteFile,
        check: CheckAttachments,
    ) -> None:
        self._create, self._parts, self._complete, self._get, self._delete, self._check = (
            create,
            parts,
            complete,
            get,
            delete,
            check,
        )

    async def CreateUpload(self, request: pb.CreateUploadRequest, context: Any) -> pb.Upload:
        """Open an upload."""
        file = await self._create(
            current_caller(),
            _token(context),
            request.file_name,
            request.content_type,
            request.size_bytes,
            request.sha256,
            request.conversation_id,
            request.request_id,
        )
        answer = pb.Upload(file_id=file.file_id, part_size_bytes=PART_BYTES, part_count=file.part_count)
        answer.expire_time.FromDatetime(file.expire_time)
        return answer

    async def ListUploadParts(self, request: pb.ListUploadPartsRequest, context: Any) -> pb.ListUploadPartsResponse:
        """Where to put parts."""
        links, until, uploaded = await self._parts(current_caller(), request.file_id, list(request.part_numbers))
        answer = pb.ListUploadPartsResponse(uploaded_count=uploaded)
        for link in links:
            answer.parts.add(part_number=link.number, size_bytes=link.size_bytes, upload_url=link.url, uploaded=link.uploaded)
        answer.expire_time.FromDatetime(until)
        return answer

    async def CompleteUpload(self, request: pb.CompleteUploadRequest, context: Any) -> pb.File:
        """Check and make usable."""
        return to_resource(await self._complete(current_caller(), request.file_id, request.sha256))

    async def GetFile(self, request: pb.GetFileRequest, context: Any) -> pb.File:
        """One file."""
        return to_resource(await self._get(current_caller(), _token(context), request.file_id))

    async def GetDownloadLink(self, request: pb.GetDownloadLinkRequest, context: Any) -> pb.DownloadLink:
        """A link to the bytes."""
        url, until = await self._get.link(current_caller(), _token(context), request.file_id)
        answer = pb.DownloadLink(url=url)
        answer.expire_time.FromDatetime(until)
        return answer

    async def DeleteFile(self, request: pb.DeleteFileRequest, context: Any) -> pb.DeleteFileResponse:
        """Remove a file."""
        await self._delete(current_caller(), request.file_id)
        return pb.DeleteFileResponse()

    async def CheckAttachments(self, request: pb.CheckAttachmentsRequest, context: Any) -> pb.CheckAttachmentsResponse:
        """Whether messages may carry these."""
        if len(request.attachments) > _MAX_ATTACHMENTS:
            raise invalid("attachments", "TOO_MANY_ATTACHMENTS", f"At most {_MAX_ATTACHMENTS} at once.")
        items = [AttachmentCheck(item.file_id, item.sender_user_id, item.conversation_id) for item in request.attachments]
        return pb.CheckAttachmentsResponse(reasons=await self._check(items))
