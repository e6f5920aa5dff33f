"""One PostgreSQL transaction that changes conversations and writes their events into the outbox.

Locks are taken in one order everywhere, so that nobody waits in a circle: the conversation's row, then rows of its members by
user id. An outbox row is inserted after the row it tells about is locked, so ids of rows about one conversation (or one
member's marks) grow in the order of the commits, which is what the relay's order rests on.
"""

# ruff: noqa: S608
# Statements are put together from constants of this package only; values always travel as parameters.

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import orjson

from chat4all_conversation import rows
from chat4all_conversation.domain.facts import Fact, MarkMoved
from chat4all_conversation.domain.model import Conversation, ConversationDraft, Mark, Member, Role
from chat4all_runtime.events import OutgoingRecord
from chat4all_runtime.ids import new_id

Encode = Callable[[Fact], list[OutgoingRecord]]

_XID = "pg_current_xact_id()::text::bigint"

_CREATE = f"""
insert into conversations as c (conversation_id, tenant_id, type, title, created_by, direct_key, request_id, request_digest,
                                member_count, last_activity_at, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $10)
on conflict do nothing
returning {rows.CONVERSATION_COLUMNS}
"""
_LOCK = f"""
select {rows.CONVERSATION_COLUMNS} from conversations c where c.conversation_id = $1 and c.tenant_id = $2 for no key update
"""
_MEMBER = f"""
select {rows.MEMBER_COLUMNS} from conversation_members m where m.conversation_id = $1 and m.user_id = $2 and m.left_at is null
"""
_MEMBERS_AMONG = f"""
select {rows.MEMBER_COLUMNS} from conversation_members m
where m.conversation_id = $1 and m.user_id = any($2::uuid[]) and m.left_at is null
order by m.joined_at, m.user_id
"""
_OWNER_COUNT = """
select count(*) from conversation_members where conversation_id = $1 and role = 'owner' and left_at is null
"""
# Who left comes back with the marks of before: what was read stays read.
_JOIN = f"""
insert into conversation_members as m (conversation_id, user_id, tenant_id, role, joined_at)
select $1, person.user_id, $2, person.role, $5
from unnest($3::uuid[], $4::text[]) as person (user_id, role) order by person.user_id
on conflict (conversation_id, user_id) do update
    set left_at = null, role = excluded.role, joined_at = excluded.joined_at, changed_xid = {_XID}
    where m.left_at is not null
returning {rows.MEMBER_COLUMNS}
"""
_LEAVE = f"""
update conversation_members set left_at = $3, changed_xid = {_XID}
where conversation_id = $1 and user_id = $2 and left_at is null
"""
_SET_ROLE = f"""
update conversation_members as m set role = $3, changed_xid = {_XID}
where m.conversation_id = $1 and m.user_id = $2 and m.left_at is null
returning {rows.MEMBER_COLUMNS}
"""
_CHANGE = f"""
update conversations as c
set title = coalesce($3, c.title), archived_at = case when $4 then coalesce(c.archived_at, $2) else c.archived_at end,
    member_count = c.member_count + $5, version = c.version + 1, updated_at = $2, changed_xid = {_XID}
where c.conversation_id = $1
returning {rows.CONVERSATION_COLUMNS}
"""
# The inner query locks the rows in order; after a wait it sees what the other transaction left.
_MOVE_MARKS = f"""
with asked as (
    select conversation_id, user_id, max(read_to) as read_to, greatest(max(read_to), max(delivered_to)) as delivered_to
    from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[]) as t (conversation_id, user_id, read_to, delivered_to)
    group by conversation_id, user_id
), moving as (
    select m.conversation_id, m.user_id, m.read_sequence_number as old_read, asked.read_to, asked.delivered_to
    from conversation_members m join asked using (conversation_id, user_id)
    where m.left_at is null
      and (asked.read_to > m.read_sequence_number or asked.delivered_to > m.delivered_sequence_number)
    order by m.conversation_id, m.user_id
    for no key update of m
)
update conversation_members as m
set read_sequence_number = greatest(m.read_sequence_number, moving.read_to),
    delivered_sequence_number = greatest(m.delivered_sequence_number, moving.delivered_to),
    changed_xid = {_XID}
from moving
where m.conversation_id = moving.conversation_id and m.user_id = moving.user_id
returning m.conversation_id, m.user_id, m.tenant_id, m.read_sequence_number, m.delivered_sequence_number,
          m.read_sequence_number > moving.old_read as read_moved
"""
# Serial ids are given in the order of the select.
_OUTBOX = """
insert into outbox (event_id, topic, key, value, headers)
select event_id, topic, key, value, headers
from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::jsonb[])
     with ordinality as t (event_id, topic, key, value, headers, place)
order by place
"""


class PostgresTransaction:
    """Implements `repository.Transaction` on one connection; `flush` is the last step before the commit."""

    def __init__(self, connection: Any, encode: Encode) -> None:
        self._connection = connection
        self._encode = encode
        self._records: list[OutgoingRecord] = []

    @property
    def recorded(self) -> bool:
        """Whether the commit leaves rows in the outbox."""
        return bool(self._records)

    async def create(self, conversation_id: str, draft: ConversationDraft, at: datetime) -> Conversation | None:
        """Insert the conversation, its members to follow; None when the pair or the request has one already."""
        row = await self._connection.fetchrow(
            _CREATE,
            conversation_id,
            draft.tenant_id,
            draft.type.value,
            draft.title,
            draft.creator_id,
            draft.direct_key,
            draft.request_id or None,
            draft.digest,
            len(draft.roles()),
            at,
        )
        return None if row is None else rows.conversation(row)

    async def lock(self, conversation_id: str, tenant_id: str) -> Conversation | None:
        """The conversation as it is now, unchanged by others until the end; None when there is none."""
        row = await self._connection.fetchrow(_LOCK, conversation_id, tenant_id)
        return None if row is None else rows.conversation(row)

    async def member(self, conversation_id: str, user_id: str) -> Member | None:
        """The membership, None when there is none now."""
        row = await self._connection.fetchrow(_MEMBER, conversation_id, user_id)
        return None if row is None else rows.member(row)

    async def members_among(self, conversation_id: str, user_ids: Sequence[str]) -> list[Member]:
        """Those of the users who are in now, in order of joining."""
        found = await self._connection.fetch(_MEMBERS_AMONG, conversation_id, list(user_ids))
        return [rows.member(row) for row in found]

    async def owner_count(self, conversation_id: str) -> int:
        """How many owners there are now."""
        return int(await self._connection.fetchval(_OWNER_COUNT, conversation_id))

    async def join(self, conversation: Conversation, people: Sequence[tuple[str, Role]], at: datetime) -> list[Member]:
        """Bring people in, those who left before included; answers the ones who were not in."""
        user_ids = [user_id for user_id, _ in people]
        roles = [role.value for _, role in people]
        found = await self._connection.fetch(_JOIN, conversation.conversation_id, conversation.tenant_id, user_ids, roles, at)
        return [rows.member(row) for row in found]

    async def leave(self, conversation_id: str, user_id: str, at: datetime) -> None:
        """Take somebody out; marks are kept for a return."""
        await self._connection.execute(_LEAVE, conversation_id, user_id, at)

    async def set_role(self, conversation_id: str, user_id: str, role: Role) -> Member:
        """Give a member another role."""
        return rows.member(await self._connection.fetchrow(_SET_ROLE, conversation_id, user_id, role.value))

    async def change(
        self,
        conversation_id: str,
        at: datetime,
        *,
        title: str | None = None,
        archive: bool = False,
        member_delta: int = 0,
    ) -> Conversation:
        """Write what changed and count the version up; answers the conversation after it."""
        row = await self._connection.fetchrow(_CHANGE, conversation_id, at, title, archive, member_delta)
        return rows.conversation(row)

    async def move_marks(self, marks: Sequence[Mark], at: datetime) -> list[MarkMoved]:
        """Move marks forward in one statement, ignore those of people who are not in, and record what moved."""
        moved = await self._connection.fetch(
            _MOVE_MARKS,
            [mark.conversation_id for mark in marks],
            [mark.user_id for mark in marks],
            [mark.read_sequence_number for mark in marks],
            [mark.delivered_sequence_number for mark in marks],
        )
        facts = [
            MarkMoved(
                event_id=new_id(),
                tenant_id=row["tenant_id"],
                conversation_id=str(row["conversation_id"]),
                user_id=str(row["user_id"]),
                read_sequence_number=row["read_sequence_number"],
                delivered_sequence_number=row["delivered_sequence_number"],
                read_moved=row["read_moved"],
                happened_at=at,
            )
            for row in moved
        ]
        for fact in facts:
            self.record(fact)
        return facts

    def record(self, fact: Fact) -> None:
        """Put the fact's Kafka records into the outbox when the transaction commits."""
        self._records += self._encode(fact)

    async def flush(self) -> None:
        """Insert what was recorded, in one statement."""
        if self._records:
            await self._connection.execute(
                _OUTBOX,
                [_text(dict(record.headers)["ce_id"]) for record in self._records],
                [record.topic for record in self._records],
                [record.key.decode() for record in self._records],
                [record.value for record in self._records],
                [orjson.dumps([(name, _text(value)) for name, value in record.headers]).decode() for record in self._records],
            )


def _text(value: str | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
