"""Whether files may be sent, asked of the file service: one call for a whole batch."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from chat4all.file.v1 import file_service_pb2, file_service_pb2_grpc
from chat4all_message.domain.errors import attachment_refused
from chat4all_message.domain.model import Draft
from chat4all_message.memberships_grpc import peer_refusal
from chat4all_runtime.errors import DomainError, unavailable
from chat4all_runtime.grpc_channel import ServiceChannel


class GrpcAttachmentChecker:
    """Asks `CheckAttachments`."""

    def __init__(self, channel: ServiceChannel, timeout_seconds: float) -> None:
        self._channel = channel
        self._stub = file_service_pb2_grpc.FileServiceStub(channel.channel)
        self._timeout_seconds = timeout_seconds

    async def check(self, drafts: Sequence[Draft]) -> list[DomainError | None]:
        """The refusal of each draft's file, None when usable. At most 200.

        Raises:
            DomainError: UNAVAILABLE or RESOURCE_EXHAUSTED when it cannot be asked.
        """
        request = file_service_pb2.CheckAttachmentsRequest(
            attachments=[
                file_service_pb2.Attachment(
                    file_id=draft.file_id, sender_user_id=draft.sender_id, conversation_id=draft.conversation_id
                )
                for draft in drafts
            ]
        )
        try:
            answer = await self._stub.CheckAttachments(
                request, metadata=self._channel.metadata(), timeout=self._timeout_seconds, wait_for_ready=True
            )
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise unavailable("file") from error
            raise peer_refusal(error, "file") from error
        if len(answer.reasons) != len(drafts):
            raise unavailable("file")
        return [
            attachment_refused(reason, draft.file_id) if reason else None
            for reason, draft in zip(answer.reasons, drafts, strict=True)
        ]
