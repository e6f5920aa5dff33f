"""Conversations and members in PostgreSQL: the reads, and the frame of each transaction."""

# ruff: noqa: S608
# Statements are put together from constants of this package only; values always travel as parameters.

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from chat4all_conversation import rows
from chat4all_conversation.domain.model import Conversation, ConversationDraft, ListPosition, Member
from chat4all_conversation.postgres_errors import reaching_postgres
from chat4all_conversation.repository import Existing, ListPage
from chat4all_conversation.store_transaction import Encode, PostgresTransaction

_FIND_DIRECT = "select conversation_id, request_digest from conversations where tenant_id = $1 and direct_key = $2"
_FIND_REQUEST = """
select conversation_id, request_digest from conversations where tenant_id = $1 and created_by = $2 and request_id = $3
"""
_GET = f"""
select {rows.CONVERSATION_COLUMNS}, {rows.MEMBER_COLUMNS}
from conversations c join conversation_members m using (conversation_id)
where c.conversation_id = $1 and c.tenant_id = $2 and m.user_id = $3 and m.left_at is null
"""
_GET_ANY = f"select {rows.CONVERSATION_COLUMNS} from conversations c where c.conversation_id = $1"
# A row's transaction is at or after the marker exactly when the reader of the marker could not see it yet.
_LIST_PAGE = f"""
select {rows.CONVERSATION_COLUMNS}, {rows.MEMBER_COLUMNS}
from conversation_members m join conversations c using (conversation_id)
where m.user_id = $1 and m.left_at is null and c.tenant_id = $2
  and ($3::timestamptz is null or (c.last_activity_at, c.conversation_id) < ($3, $4::uuid))
  and ($5::bigint is null or c.changed_xid >= $5 or m.changed_xid >= $5)
order by c.last_activity_at desc, c.conversation_id desc
limit $6
"""
_SYNC_MARKER = "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_LIST_MEMBERS = f"""
select {rows.MEMBER_COLUMNS} from conversation_members m
where m.conversation_id = $1 and m.left_at is null and ($2::timestamptz is null or (m.joined_at, m.user_id) > ($2, $3::uuid))
order by m.joined_at, m.user_id
limit $4
"""
_LIST_MEMBERSHIPS = """
select conversation_id from conversation_members
where user_id = $1 and tenant_id = $2 and left_at is null and ($3::uuid is null or conversation_id > $3)
order by conversation_id
limit $4
"""
_RECORD_ACTIVITY = """
with reached as (
    select * from unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) as t (conversation_id, sequence_number, stored_at)
), behind as (
    select conversation_id, sequence_number, stored_at
    from conversations c join reached using (conversation_id)
    where c.last_sequence_number < reached.sequence_number
    order by conversation_id
    for no key update of c
)
update conversations c
set last_sequence_number = greatest(c.last_sequence_number, behind.sequence_number),
    last_activity_at = greatest(c.last_activity_at, behind.stored_at),
    changed_xid = pg_current_xact_id()::text::bigint
from behind
where c.conversation_id = behind.conversation_id
returning c.conversation_id
"""


class PostgresConversations:
    """Implements `repository.ConversationRepository` on a pool.

    Args:
        encode: the Kafka records of a fact, for the outbox.
        committed: called after each commit that left rows in the outbox.
        timeout_seconds: longest wait for a free connection; statements have the pool's own deadline.
    """

    def __init__(self, pool: Any, *, encode: Encode, committed: Callable[[], None], timeout_seconds: float) -> None:
        self._pool = pool
        self._encode = encode
        self._committed = committed
        self._timeout_seconds = timeout_seconds

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        with reaching_postgres():
            async with self._pool.acquire(timeout=self._timeout_seconds) as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        """A transaction that commits when the block ends without an error."""
        async with self._connection() as connection, connection.transaction():
            transaction = PostgresTransaction(connection, self._encode)
            yield transaction
            await transaction.flush()
        if transaction.recorded:
            self._committed()

    async def find_existing(self, draft: ConversationDraft) -> Existing | None:
        """What the pair or the request already has."""
        async with self._connection() as connection:
            if draft.direct_key is not None:
                row = await connection.fetchrow(_FIND_DIRECT, draft.tenant_id, draft.direct_key)
            else:
                row = await connection.fetchrow(_FIND_REQUEST, draft.tenant_id, draft.creator_id, draft.request_id)
        return None if row is None else Existing(str(row["conversation_id"]), row["request_digest"])

    async def get(self, conversation_id: str, tenant_id: str, user_id: str) -> tuple[Conversation, Member] | None:
        """The conversation and the user's membership, None when they are not in it."""
        async with self._connection() as connection:
            row = await connection.fetchrow(_GET, conversation_id, tenant_id, user_id)
        return None if row is None else (rows.conversation(row), rows.member(row))

    async def get_any(self, conversation_id: str) -> Conversation | None:
        """The conversation, whoever asks."""
        async with self._connection() as connection:
            row = await connection.fetchrow(_GET_ANY, conversation_id)
        return None if row is None else rows.conversation(row)

    async def list_page(
        self, tenant_id: str, user_id: str, *, after: ListPosition | None, changed_since: int | None, limit: int
    ) -> ListPage:
        """The user's conversations, newest activity first, after a position; only what changed since a marker if given."""
        place = (None, None) if after is None else (after.last_activity_at, after.conversation_id)
        async with self._connection() as connection:
            # Taken before the rows are read: what commits in between is told again next time rather than never.
            marker = await connection.fetchval(_SYNC_MARKER)
            found = await connection.fetch(_LIST_PAGE, user_id, tenant_id, *place, changed_since, limit)
        return ListPage([(rows.conversation(row), rows.member(row)) for row in found], marker)

    async def list_members(self, conversation_id: str, *, after: tuple[datetime, str] | None, limit: int) -> list[Member]:
        """Members in order of joining, after (joined_at, user_id)."""
        async with self._connection() as connection:
            found = await connection.fetch(_LIST_MEMBERS, conversation_id, *(after or (None, None)), limit)
        return [rows.member(row) for row in found]

    async def list_memberships(self, tenant_id: str, user_id: str, *, after: str, limit: int) -> list[str]:
        """Ids of the conversations the user is in, in order, after one (empty for the first page)."""
        async with self._connection() as connection:
            found = await connection.fetch(_LIST_MEMBERSHIPS, user_id, tenant_id, after or None, limit)
        return [str(row["conversation_id"]) for row in found]

    async def record_activity(self, activity: Sequence[tuple[str, int, datetime]]) -> int:
        """Raise last number and last activity of conversations: (id, number, time) each; answers how many rose."""
        async with self._connection() as connection:
            found = await connection.fetch(
                _RECORD_ACTIVITY,
                [conversation_id for conversation_id, _, _ in activity],
                [number for _, number, _ in activity],
                [stored_at for _, _, stored_at in activity],
            )
        return len(found)
