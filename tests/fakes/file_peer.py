"""The file service as its peers see it: which uploads may be sent by whom, where."""

from __future__ import annotations

import threading

import grpc
from fakes.peer_server import PeerServer, require_service_token

from chat4all.file.v1 import file_service_pb2, file_service_pb2_grpc
from chat4all_runtime.ids import new_id
from chat4all_runtime.settings import InternalSettings


class FakeFiles(file_service_pb2_grpc.FileServiceServicer):
    """Uploads that a test makes; keeps how many were asked about in each call. While `gate` is cleared, answers wait."""

    def __init__(self, internal: InternalSettings) -> None:
        self._internal = internal
        self._files: dict[str, tuple[str, str, bool]] = {}
        self.calls: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.server = PeerServer(lambda server: file_service_pb2_grpc.add_FileServiceServicer_to_server(self, server))

    def add(self, user_id: str, conversation_id: str, *, ready: bool = True) -> str:
        """A new upload's id."""
        file_id = new_id()
        self._files[file_id] = (user_id, conversation_id, ready)
        return file_id

    def remove(self, file_id: str) -> None:
        """Gone."""
        del self._files[file_id]

    def CheckAttachments(
        self, request: file_service_pb2.CheckAttachmentsRequest, context: grpc.ServicerContext
    ) -> file_service_pb2.CheckAttachmentsResponse:
        """A reason for each, empty when usable."""
        require_service_token(context, self._internal)
        self.calls.append(len(request.attachments))
        self.gate.wait(10)
        return file_service_pb2.CheckAttachmentsResponse(reasons=[self._reason(item) for item in request.attachments])

    def _reason(self, item: file_service_pb2.Attachment) -> str:
        known = self._files.get(item.file_id)
        if known is None or known[:2] != (item.sender_user_id, item.conversation_id):
            return "FILE_NOT_FOUND"
        return "" if known[2] else "FILE_NOT_READY"
