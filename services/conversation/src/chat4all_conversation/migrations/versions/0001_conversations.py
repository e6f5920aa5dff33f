"""Conversations, their members, and the outbox.

`changed_xid` is the transaction that last changed a row. A sync token is the oldest transaction still open when it was given
out, so a row whose transaction commits late is never skipped (a sequence or a clock could not promise that).
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.execute(
        """
        create table conversations (
            conversation_id      uuid primary key,
            tenant_id            text not null,
            type                 text not null,
            title                text not null,
            created_by           uuid not null,
            -- Both members of a direct conversation in a fixed order; null for the other types.
            direct_key           text,
            request_id           text,
            request_digest       bytea,
            version              bigint not null default 1,
            member_count         integer not null,
            last_sequence_number bigint not null default 0,
            last_activity_at     timestamptz not null,
            created_at           timestamptz not null,
            updated_at           timestamptz not null,
            archived_at          timestamptz,
            changed_xid          bigint not null default (pg_current_xact_id()::text::bigint)
        ) with (fillfactor = 80)  -- activity updates stay on their page
        """
    )
    op.execute("create unique index conversations_direct on conversations (tenant_id, direct_key) where direct_key is not null")
    op.execute(
        "create unique index conversations_request on conversations (tenant_id, created_by, request_id)"
        " where request_id is not null"
    )
    op.execute(
        """
        create table conversation_members (
            conversation_id           uuid not null references conversations,
            user_id                   uuid not null,
            tenant_id                 text not null,
            role                      text not null,
            joined_at                 timestamptz not null,
            left_at                   timestamptz,
            read_sequence_number      bigint not null default 0,
            delivered_sequence_number bigint not null default 0,
            changed_xid               bigint not null default (pg_current_xact_id()::text::bigint),
            primary key (conversation_id, user_id)
        ) with (fillfactor = 80)  -- marks move often
        """
    )
    op.execute("create index conversation_members_user on conversation_members (user_id, conversation_id) where left_at is null")
    op.execute(
        """
        create table outbox (
            id         bigserial primary key,
            event_id   uuid not null,
            topic      text not null,
            key        text not null,
            value      bytea not null,
            headers    jsonb not null,
            created_at timestamptz not null default now()
        ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000)
        """
    )


def downgrade() -> None:
    """Remove the tables."""
    op.execute("drop table outbox")
    op.execute("drop table conversation_members")
    op.execute("drop table conversations")
