"""The two services this one asks: auth (who is a user of the tenant) and message (what a conversation's log holds)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC

import grpc

from chat4all.auth.v1 import auth_service_pb2, auth_service_pb2_grpc, user_pb2
from chat4all.message.v1 import message_service_pb2, message_service_pb2_grpc
from chat4all_conversation.domain.model import Summary
from chat4all_runtime.errors import Code, DomainError
from chat4all_runtime.grpc_channel import ServiceChannel
from chat4all_runtime.grpc_errors import from_rpc_error

# Ids in one call, by the contract of BatchGetUsers.
_USERS_PER_CALL = 200
# What a caller of ours can act on. Any other answer of a peer means that we asked wrongly, which is our defect.
_PASSED_ON = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED)


def _refusal(error: grpc.RpcError, peer: str) -> Exception:
    refused = from_rpc_error(error, peer)
    if refused.code in _PASSED_ON:
        return refused
    return RuntimeError(f"{peer} refused our call: {refused.code.name} {refused.reason}: {refused.message}")


class AuthDirectory:
    """Users of a tenant, asked of the auth service in bundles of 200."""

    def __init__(self, channel: ServiceChannel, timeout_seconds: float) -> None:
        self._channel = channel
        self._stub = auth_service_pb2_grpc.AuthServiceStub(channel.channel)
        self._timeout_seconds = timeout_seconds

    async def missing(self, tenant_id: str, user_ids: Sequence[str]) -> list[str]:
        """Those of the ids that are no users of the tenant, in their order; deleted users count as missing.

        Raises:
            DomainError: UNAVAILABLE or DEADLINE_EXCEEDED when the auth service does not answer.
        """
        bundles = [user_ids[start : start + _USERS_PER_CALL] for start in range(0, len(user_ids), _USERS_PER_CALL)]
        found: set[str] = set()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._known(tenant_id, bundle)) for bundle in bundles]
        except* (DomainError, RuntimeError) as errors:
            raise errors.exceptions[0] from errors
        for task in tasks:
            found |= task.result()
        return [user_id for user_id in user_ids if user_id not in found]

    async def _known(self, tenant_id: str, user_ids: Sequence[str]) -> set[str]:
        request = auth_service_pb2.BatchGetUsersRequest(user_ids=user_ids, tenant_id=tenant_id)
        try:
            answer = await self._stub.BatchGetUsers(request, timeout=self._timeout_seconds, metadata=self._channel.metadata())
        except grpc.RpcError as error:
            raise _refusal(error, "auth") from error
        return {user.user_id for user in answer.users if user.status != user_pb2.USER_STATUS_DELETED}


class ServiceSummaries:
    """Newest message and unread count, asked of the message service."""

    def __init__(self, channel: ServiceChannel, timeout_seconds: float) -> None:
        self._channel = channel
        self._stub = message_service_pb2_grpc.MessageServiceStub(channel.channel)
        self._timeout_seconds = timeout_seconds

    async def of(self, user_id: str, items: Sequence[tuple[str, int]]) -> list[Summary]:
        """One summary for each (conversation_id, read mark), in their order, at most 200, for one reader.

        Raises:
            DomainError: UNAVAILABLE or DEADLINE_EXCEEDED when the message service does not answer.
        """
        if not items:
            return []
        request = message_service_pb2.SummarizeConversationsRequest(
            items=[
                message_service_pb2.SummaryRequest(conversation_id=conversation_id, user_id=user_id, read_sequence_number=read)
                for conversation_id, read in items
            ]
        )
        try:
            answer = await self._stub.SummarizeConversations(
                request, timeout=self._timeout_seconds, metadata=self._channel.metadata()
            )
        except grpc.RpcError as error:
            raise _refusal(error, "message") from error
        if [summary.conversation_id for summary in answer.summaries] != [conversation_id for conversation_id, _ in items]:
            raise RuntimeError("the message service answered for other conversations than it was asked about")
        return [
            Summary(
                last_sequence_number=summary.last_sequence_number,
                last_message=summary.last_message if summary.HasField("last_message") else None,
                unread_count=summary.unread_count,
                last_activity_at=(
                    summary.last_activity_time.ToDatetime(tzinfo=UTC) if summary.HasField("last_activity_time") else None
                ),
            )
            for summary in answer.summaries
        ]
