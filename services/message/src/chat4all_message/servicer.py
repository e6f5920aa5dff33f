"""The gRPC edge of messages: request → one use case → response."""

from __future__ import annotations

from typing import Any

from chat4all.message.v1 import message_pb2, message_service_pb2_grpc
from chat4all.message.v1 import message_service_pb2 as pb
from chat4all_message.domain.model import Draft, Sent, Summary, SummaryItem
from chat4all_message.usecases.reading import GetMessage, ListMessages, Reader, SummarizeConversations
from chat4all_message.usecases.sending import Result, SendMessages
from chat4all_message.wire import entry_message, plain_content, sent_message, state, timestamp
from chat4all_runtime import page_token
from chat4all_runtime.errors import DomainError, invalid
from chat4all_runtime.grpc_errors import to_status
from chat4all_runtime.grpc_server import Access, seconds_left
from chat4all_runtime.identity import current_caller
from chat4all_runtime.ids import is_uuid

ACCESS = {
    "SendMessage": Access.USER,
    "SendMessageBatch": Access.USER,
    "ListMessages": Access.USER_OR_INTERNAL,
    "GetMessage": Access.USER_OR_INTERNAL,
    "SubmitMessages": Access.INTERNAL,
    "SummarizeConversations": Access.INTERNAL,
}

_MAX_ITEMS = 200
_INTERNAL_PAGE = 1000
# Kept back from a call's deadline so that the answer, which says what is known, arrives before the caller gives up.
_MARGIN_SECONDS = 0.1


class MessageServicer(message_service_pb2_grpc.MessageServiceServicer):
    """Implements chat4all.message.v1.MessageService.

    Args:
        default_deadline_seconds: for calls that bring none; the server's own.
    """

    def __init__(
        self,
        send: SendMessages,
        list_messages: ListMessages,
        get: GetMessage,
        summarize: SummarizeConversations,
        default_deadline_seconds: float,
    ) -> None:
        self._send = send
        self._list = list_messages
        self._get = get
        self._summarize = summarize
        self._default_deadline_seconds = default_deadline_seconds

    async def SendMessage(self, request: pb.SendMessageRequest, context: Any) -> pb.SendMessageResponse:
        """One message of the caller."""
        caller = current_caller()
        draft = _draft(request, caller.tenant_id, caller.user_id, request.conversation_id)
        (result,) = await self._send.send_many((draft,), self._seconds_left(context))
        if isinstance(result, DomainError):
            raise result
        return pb.SendMessageResponse(message=sent_message(result), state=state(result))

    async def SendMessageBatch(self, request: pb.SendMessageBatchRequest, context: Any) -> pb.SendMessageBatchResponse:
        """Up to 200 messages of the caller to one conversation."""
        caller = current_caller()
        _check_count("messages", len(request.messages))
        if not is_uuid(request.conversation_id):
            raise _conversation_id_invalid()
        drafts = [_in_batch(item, caller.tenant_id, caller.user_id, request.conversation_id) for item in request.messages]
        results = await self._send.send_many(drafts, self._seconds_left(context))
        ids = [item.message_id for item in request.messages]
        return pb.SendMessageBatchResponse(results=[_result(*pair) for pair in zip(ids, results, strict=True)])

    async def SubmitMessages(self, request: pb.SubmitMessagesRequest, context: Any) -> pb.SubmitMessagesResponse:
        """Up to 200 messages of many senders, for our own processes."""
        _check_count("submissions", len(request.submissions))
        drafts = [
            _draft(item.request, item.tenant_id, item.sender_user_id, item.request.conversation_id)
            for item in request.submissions
        ]
        results = await self._send.send_many(drafts, self._seconds_left(context))
        ids = [item.request.message_id for item in request.submissions]
        return pb.SubmitMessagesResponse(results=[_result(*pair) for pair in zip(ids, results, strict=True)])

    async def ListMessages(self, request: pb.ListMessagesRequest, context: Any) -> pb.ListMessagesResponse:
        """A page of a conversation's log; frames for our own processes."""
        reader = _reader()
        if not is_uuid(request.conversation_id):
            raise _conversation_id_invalid()
        size = page_token.page_size(request.page_size, maximum=_INTERNAL_PAGE if reader.internal else _MAX_ITEMS)
        position, ascending = _position(request)
        page = await self._list(reader, request.conversation_id, position, ascending, size)
        return pb.ListMessagesResponse(
            messages=[entry_message(entry) for entry in page.entries],
            next_page_token=page_token.encode(_direction(ascending), page.next_position)
            if page.next_position is not None
            else "",
            last_sequence_number=page.last_sequence_number,
            frames=[
                pb.LogFrame(
                    sequence_number=entry.sequence_number,
                    kind=entry.marker,
                    from_user_id=entry.sender_id,
                    message_id=entry.message_id,
                    frame=entry.frame,
                )
                for entry in page.frames
            ],
        )

    async def GetMessage(self, request: pb.GetMessageRequest, context: Any) -> message_pb2.Message:
        """One message."""
        if not is_uuid(request.message_id):
            raise invalid("message_id", "MESSAGE_ID_INVALID", "message_id must be a lower-case UUID.")
        return entry_message(await self._get(_reader(), request.message_id))

    async def SummarizeConversations(
        self, request: pb.SummarizeConversationsRequest, context: Any
    ) -> pb.SummarizeConversationsResponse:
        """Newest message and unread count of up to 200 conversations, for our own processes."""
        if len(request.items) > _MAX_ITEMS:
            raise _too_many("items", len(request.items))
        for item in request.items:
            if not is_uuid(item.conversation_id):
                raise _conversation_id_invalid("items.conversation_id")
            if not is_uuid(item.user_id):
                raise invalid("items.user_id", "USER_ID_INVALID", "user_id must be a lower-case UUID.")
        items = [SummaryItem(item.conversation_id, item.user_id, item.read_sequence_number) for item in request.items]
        return pb.SummarizeConversationsResponse(summaries=[_summary(found) for found in await self._summarize(items)])

    def _seconds_left(self, context: Any) -> float:
        left = seconds_left(context)
        return max(0.01, (self._default_deadline_seconds if left is None else left) - _MARGIN_SECONDS)


def _reader() -> Reader:
    caller = current_caller()
    return Reader(caller.tenant_id, caller.user_id, internal=bool(caller.service))


def _draft(request: pb.SendMessageRequest, tenant_id: str, sender_id: str, conversation_id: str) -> Draft | DomainError:
    try:
        content = plain_content(request.content)
    except DomainError as error:
        return error
    return Draft(
        tenant_id=tenant_id,
        sender_id=sender_id,
        conversation_id=conversation_id,
        message_id=request.message_id,
        content=content,
        reply_to_message_id=request.reply_to_message_id,
        thread_id=request.thread_id,
        wait_for_stored=request.wait_for == pb.WAIT_FOR_STORED,
    )


def _in_batch(item: pb.SendMessageRequest, tenant_id: str, sender_id: str, conversation_id: str) -> Draft | DomainError:
    if item.conversation_id and item.conversation_id != conversation_id:
        return invalid("conversation_id", "CONVERSATION_ID_INVALID", "An item names another conversation than its batch.")
    return _draft(item, tenant_id, sender_id, conversation_id)


def _result(message_id: str, result: Result) -> pb.SendMessageResult:
    if isinstance(result, Sent):
        return pb.SendMessageResult(message_id=message_id, message=sent_message(result), state=state(result))
    return pb.SendMessageResult(message_id=message_id, error=to_status(result, "message"))


def _summary(found: Summary) -> pb.ConversationSummary:
    return pb.ConversationSummary(
        conversation_id=found.conversation_id,
        last_sequence_number=found.last_sequence_number,
        last_message=entry_message(found.last_message) if found.last_message else None,
        unread_count=found.unread_count,
        last_activity_time=timestamp(found.last_activity_time) if found.last_activity_time else None,
    )


def _position(request: pb.ListMessagesRequest) -> tuple[int | None, bool]:
    """Where the page begins and whether it ascends."""
    after = request.HasField("after_sequence_number")
    before = request.HasField("before_sequence_number")
    if after and before:
        raise invalid(
            "before_sequence_number",
            "DIRECTION_AMBIGUOUS",
            "Give after_sequence_number or before_sequence_number, not both.",
        )
    parts = page_token.decode(request.page_token, str, int)
    if parts is not None:
        # A token may stand alone; with a position beside it, it must be of the same direction.
        if parts[0] not in ("a", "d") or (after and parts[0] != "a") or (before and parts[0] != "d"):
            raise invalid("page_token", "PAGE_TOKEN_INVALID", "page_token is of a list in the other direction.")
        return int(parts[1]), parts[0] == "a"
    if after:
        return request.after_sequence_number, True
    return (request.before_sequence_number if before else None), False


def _direction(ascending: bool) -> str:
    return "a" if ascending else "d"


def _check_count(field: str, count: int) -> None:
    if count == 0:
        raise invalid(field, "ITEMS_REQUIRED", f"{field} must hold 1 to {_MAX_ITEMS} items.", maximum=str(_MAX_ITEMS))
    if count > _MAX_ITEMS:
        raise _too_many(field, count)


def _too_many(field: str, count: int) -> DomainError:
    message = f"{field} holds {count} items; at most {_MAX_ITEMS} are allowed."
    return invalid(field, "TOO_MANY_ITEMS", message, count=str(count), maximum=str(_MAX_ITEMS))


def _conversation_id_invalid(field: str = "conversation_id") -> DomainError:
    return invalid(field, "CONVERSATION_ID_INVALID", "conversation_id must be a lower-case UUID.")
