"""The gRPC edge: check the request, call one use case, build the response. No decisions here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from chat4all.conversation.v1 import conversation_pb2, conversation_service_pb2, conversation_service_pb2_grpc
from chat4all_conversation import checks
from chat4all_conversation.domain.model import (
    ConversationDraft,
    ConversationType,
    ListPosition,
    Mark,
    Role,
    View,
    without_repeats,
)
from chat4all_conversation.events import ROLES, TYPES, member_message, timestamp
from chat4all_conversation.usecases.changing import ArchiveConversation, UpdateConversation
from chat4all_conversation.usecases.creating import CreateConversation
from chat4all_conversation.usecases.marking import MarkConversationRead, RecordMarks
from chat4all_conversation.usecases.membership import AddMembers, RemoveMember, UpdateMember
from chat4all_conversation.usecases.reading import GetConversation, ListConversations, ListMembers, ListMemberships
from chat4all_runtime import page_token
from chat4all_runtime.errors import Code, DomainError, invalid
from chat4all_runtime.grpc_server import Access
from chat4all_runtime.identity import Caller, current_caller
from chat4all_runtime.ids import is_uuid

ACCESS = {
    "CreateConversation": Access.USER,
    "GetConversation": Access.USER,
    "ListConversations": Access.USER,
    "UpdateConversation": Access.USER,
    "ArchiveConversation": Access.USER,
    "ListMembers": Access.USER_OR_INTERNAL,
    "AddMembers": Access.USER,
    "UpdateMember": Access.USER,
    "RemoveMember": Access.USER,
    "MarkConversationRead": Access.USER,
    "RecordMarks": Access.INTERNAL,
    "ListMemberships": Access.INTERNAL,
}

_TYPES: dict[int, ConversationType] = {number: kind for kind, number in TYPES.items()}
_ROLES: dict[int, Role] = {number: role for role, number in ROLES.items()}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTERNAL_PAGE = 1000


class ConversationServicer(conversation_service_pb2_grpc.ConversationServiceServicer):
    """Every method of `chat4all.conversation.v1.ConversationService`."""

    def __init__(
        self,
        *,
        create: CreateConversation,
        get: GetConversation,
        list_conversations: ListConversations,
        update: UpdateConversation,
        archive: ArchiveConversation,
        list_members: ListMembers,
        add_members: AddMembers,
        update_member: UpdateMember,
        remove_member: RemoveMember,
        mark_read: MarkConversationRead,
        record_marks: RecordMarks,
        list_memberships: ListMemberships,
    ) -> None:
        self._create = create
        self._get = get
        self._list_conversations = list_conversations
        self._update = update
        self._archive = archive
        self._list_members = list_members
        self._add_members = add_members
        self._update_member = update_member
        self._remove_member = remove_member
        self._mark_read = mark_read
        self._record_marks = record_marks
        self._list_memberships = list_memberships

    async def CreateConversation(
        self, request: conversation_service_pb2.CreateConversationRequest, context: Any
    ) -> conversation_pb2.Conversation:
        """Creates a conversation, or gives the one that this request or this pair already has."""
        caller = _user()
        kind = _TYPES.get(request.type)
        if kind is None:
            raise invalid("type", "TYPE_INVALID", "type must be direct, group or channel.")
        title = checks.title("title", request.title)
        if kind is ConversationType.DIRECT and title:
            raise invalid("title", "TITLE_NOT_ALLOWED", "A direct conversation has no title.")
        # A bound before the ids are looked at one by one; the limit of members is the use case's.
        members = checks.identifiers("member_ids", request.member_ids, checks.MAX_IDS)
        draft = ConversationDraft(
            tenant_id=caller.tenant_id,
            creator_id=caller.user_id,
            type=kind,
            title=title,
            member_ids=without_repeats(members, except_for=caller.user_id),
            # A direct conversation is known by its pair, so there is nothing that a request id could add.
            request_id="" if kind is ConversationType.DIRECT else checks.request_id("request_id", request.request_id),
        )
        return _conversation(await self._create(draft))

    async def GetConversation(
        self, request: conversation_service_pb2.GetConversationRequest, context: Any
    ) -> conversation_pb2.Conversation:
        """One conversation of the caller."""
        caller = _user()
        conversation_id = checks.identifier("conversation_id", request.conversation_id)
        return _conversation(await self._get(caller.tenant_id, caller.user_id, conversation_id))

    async def ListConversations(
        self, request: conversation_service_pb2.ListConversationsRequest, context: Any
    ) -> conversation_service_pb2.ListConversationsResponse:
        """The caller's conversations, newest activity first."""
        caller = _user()
        size = page_token.page_size(request.page_size)
        since = _sync_marker(request.changed_since)
        after, first_marker = _list_position(request.page_token, since)
        page = await self._list_conversations(caller.tenant_id, caller.user_id, after=after, changed_since=since, page_size=size)
        # All pages answer the marker of the first: a conversation that moved while paging is told by the next sync.
        marker = page.sync_marker if first_marker is None else first_marker
        position = page.next_position
        return conversation_service_pb2.ListConversationsResponse(
            conversations=[_conversation(view) for view in page.views],
            next_page_token=(
                ""
                if position is None
                else page_token.encode(
                    _micros(position.last_activity_at), position.conversation_id, marker, -1 if since is None else since
                )
            ),
            sync_token=page_token.encode("conversations", marker),
        )

    async def UpdateConversation(
        self, request: conversation_service_pb2.UpdateConversationRequest, context: Any
    ) -> conversation_pb2.Conversation:
        """Changes the title."""
        caller = _user()
        wanted = request.conversation
        conversation_id = checks.identifier("conversation.conversation_id", wanted.conversation_id)
        for path in request.update_mask.paths:
            if path not in ("title", "*"):
                raise invalid("update_mask", "UPDATE_MASK_INVALID", f"{path[:100]} cannot be changed; title can.")
        if not request.update_mask.paths and not wanted.title:
            raise invalid("update_mask", "UPDATE_MASK_INVALID", "Nothing to change: set title, or name it in update_mask.")
        title = checks.title("conversation.title", wanted.title)
        view = await self._update(caller.tenant_id, caller.user_id, conversation_id, title=title, etag=wanted.etag)
        return _conversation(view)

    async def ArchiveConversation(
        self, request: conversation_service_pb2.ArchiveConversationRequest, context: Any
    ) -> conversation_pb2.Conversation:
        """Archives: it stays readable and takes no new messages."""
        caller = _user()
        conversation_id = checks.identifier("conversation_id", request.conversation_id)
        return _conversation(await self._archive(caller.tenant_id, caller.user_id, conversation_id))

    async def ListMembers(
        self, request: conversation_service_pb2.ListMembersRequest, context: Any
    ) -> conversation_service_pb2.ListMembersResponse:
        """Who is in it, in order of joining."""
        caller = current_caller()
        internal = bool(caller.service)
        conversation_id = checks.identifier("conversation_id", request.conversation_id)
        after = _member_position(request.page_token)
        if internal:
            size = page_token.page_size(request.page_size, maximum=_INTERNAL_PAGE)
            page = await self._list_members.for_service(conversation_id, after, size)
        else:
            caller = _user()
            size = page_token.page_size(request.page_size)
            page = await self._list_members.for_user(caller.tenant_id, caller.user_id, conversation_id, after, size)
        last = page.members[-1] if page.more else None
        return conversation_service_pb2.ListMembersResponse(
            members=[member_message(member) for member in page.members],
            next_page_token="" if last is None else page_token.encode(_micros(last.joined_at), last.user_id),
            tenant_id=page.conversation.tenant_id if internal else "",
            archived=internal and page.conversation.archived_at is not None,
        )

    async def AddMembers(
        self, request: conversation_service_pb2.AddMembersRequest, context: Any
    ) -> conversation_service_pb2.AddMembersResponse:
        """Adds people."""
        caller = _user()
        conversation_id = checks.identifier("conversation_id", request.conversation_id)
        user_ids = checks.identifiers("user_ids", request.user_ids, checks.MAX_ADDED_MEMBERS)
        role = _role("role", request.role)
        if role is Role.OWNER:
            raise invalid("role", "ROLE_INVALID", "People are added as member or admin; make them owner afterwards.")
        members = await self._add_members(caller.tenant_id, caller.user_id, conversation_id, without_repeats(user_ids), role)
        return conversation_service_pb2.AddMembersResponse(members=[member_message(member) for member in members])

    async def UpdateMember(self, request: conversation_service_pb2.UpdateMemberRequest, context: Any) -> conversation_pb2.Member:
        """Changes a member's role."""
        caller = _user()
        conversation_id = checks.identifier("conversation_id", request.conversation_id)
        target_id = checks.identifier("member.user_id", request.member.user_id)
        role = _role("member.role", request.member.role)
        return member_message(await self._update_member(caller.tenant_id, caller.user_id, conversation_id, target_id, role))

    async def RemoveMember(
        self, request: conversation_service_pb2.RemoveMemberRequest, context: Any
    ) -> conversation_service_pb2.RemoveMemberResponse:
        """Removes somebody, or leaves when it is the caller."""
        caller = _user()
        conversation_id = checks.identifier("conversation_id", request.conversation_id)
        target_id = caller.user_id if request.user_id == "me" else checks.identifier("user_id", request.user_id)
        await self._remove_member(caller.tenant_id, caller.user_id, conversation_id, target_id)
        return conversation_service_pb2.RemoveMemberResponse()

    async def MarkConversationRead(
        self, request: conversation_service_pb2.MarkConversationReadRequest, context: Any
    ) -> conversation_pb2.Member:
        """Moves the caller's read mark forward."""
        caller = _user()
        conversation_id = checks.identifier("conversation_id", request.conversation_id)
        if request.sequence_number < 1:
            raise invalid("sequence_number", "SEQUENCE_NUMBER_INVALID", "sequence_number must be at least 1.")
        return member_message(await self._mark_read(caller.tenant_id, caller.user_id, conversation_id, request.sequence_number))

    async def RecordMarks(
        self, request: conversation_service_pb2.RecordMarksRequest, context: Any
    ) -> conversation_service_pb2.RecordMarksResponse:
        """Moves many marks forward at once."""
        if len(request.marks) > checks.MAX_MARKS:
            maximum = str(checks.MAX_MARKS)
            raise invalid("marks", "TOO_MANY_MARKS", f"marks takes at most {maximum}.", maximum=maximum)
        marks = [
            Mark(
                checks.identifier(f"marks[{index}].conversation_id", mark.conversation_id),
                checks.identifier(f"marks[{index}].user_id", mark.user_id),
                mark.read_sequence_number,
                mark.delivered_sequence_number,
            )
            for index, mark in enumerate(request.marks)
        ]
        return conversation_service_pb2.RecordMarksResponse(changed_count=await self._record_marks(marks))

    async def ListMemberships(
        self, request: conversation_service_pb2.ListMembershipsRequest, context: Any
    ) -> conversation_service_pb2.ListMembershipsResponse:
        """The conversations somebody is in, by id."""
        user_id = checks.identifier("user_id", request.user_id)
        if not request.tenant_id:
            raise invalid("tenant_id", "FIELD_REQUIRED", "tenant_id is required.")
        size = page_token.page_size(request.page_size, default=_INTERNAL_PAGE, maximum=_INTERNAL_PAGE)
        parts = page_token.decode(request.page_token, str)
        after = "" if parts is None else _token_id(str(parts[0]))
        found, more = await self._list_memberships(request.tenant_id, user_id, after, size)
        return conversation_service_pb2.ListMembershipsResponse(
            conversation_ids=found, next_page_token=page_token.encode(found[-1]) if more else ""
        )


def _user() -> Caller:
    caller = current_caller()
    if not is_uuid(caller.user_id):
        # A partner's own token, for one: it is valid and stands for nobody who can be in a conversation.
        raise DomainError(Code.PERMISSION_DENIED, "NOT_A_USER", "Only users have conversations.")
    return caller


def _role(field: str, value: int) -> Role:
    if value == conversation_pb2.MEMBER_ROLE_UNSPECIFIED:
        return Role.MEMBER
    role = _ROLES.get(value)
    if role is None:
        raise invalid(field, "ROLE_INVALID", f"{field} must be member, admin or owner.")
    return role


def _conversation(view: View) -> conversation_pb2.Conversation:
    conversation, summary = view.conversation, view.summary
    activity, last = conversation.last_activity_at, conversation.last_sequence_number
    if summary is not None:
        # The message service reads the log itself; our own row follows it.
        last = max(last, summary.last_sequence_number)
        activity = max(activity, summary.last_activity_at or activity)
    message: Any = None if summary is None else summary.last_message
    return conversation_pb2.Conversation(
        conversation_id=conversation.conversation_id,
        tenant_id=conversation.tenant_id,
        type=TYPES[conversation.type],
        title=conversation.title,
        created_by=conversation.created_by,
        create_time=timestamp(conversation.created_at),
        update_time=timestamp(conversation.updated_at),
        last_activity_time=timestamp(activity),
        last_sequence_number=last,
        last_message=message,
        unread_count=0 if summary is None else summary.unread_count,
        my_membership=member_message(view.membership),
        member_count=conversation.member_count,
        archived=conversation.archived_at is not None,
        etag=conversation.etag,
    )


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _time(micros: int, field: str) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError as error:
        raise _token_refused(field) from error


def _sync_marker(token: str) -> int | None:
    parts = page_token.decode(token, str, int, field="changed_since")
    if parts is None:
        return None
    if parts[0] != "conversations" or not _is_marker(int(parts[1])):
        raise _token_refused("changed_since")
    return int(parts[1])


def _is_marker(number: int) -> bool:
    return 0 <= number < 2**63


def _list_position(token: str, since: int | None) -> tuple[ListPosition | None, int | None]:
    """Where the page starts and the marker of the first page; the token is good for the list it was given out for."""
    parts = page_token.decode(token, int, str, int, int)
    if parts is None:
        return None, None
    if int(parts[3]) != (-1 if since is None else since) or not _is_marker(int(parts[2])):
        raise _token_refused("page_token")
    return ListPosition(_time(int(parts[0]), "page_token"), _token_id(str(parts[1]))), int(parts[2])


def _member_position(token: str) -> tuple[datetime, str] | None:
    parts = page_token.decode(token, int, str)
    return None if parts is None else (_time(int(parts[0]), "page_token"), _token_id(str(parts[1])))


def _token_id(value: str) -> str:
    if not is_uuid(value):
        raise _token_refused("page_token")
    return value


def _token_refused(field: str) -> DomainError:
    return invalid(field, "PAGE_TOKEN_INVALID", f"{field} is not one that this service gave out.")
