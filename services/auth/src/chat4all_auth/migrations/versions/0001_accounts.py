"""Tenants, users, sessions, access tokens; the tenant `default`."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    create table tenants (
        tenant_id text primary key check (tenant_id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
        display_name text not null,
        sign_up_enabled boolean not null default true,
        created_at timestamptz not null default now(),
        updated_at timestamptz not null default now()
    )
    """,
    "insert into tenants (tenant_id, display_name) values ('default', 'Default')",
    # Byte order (collation C) makes prefix search and keyset paging use plain indexes, whatever the database's locale is.
    """
    create table users (
        user_id uuid primary key,
        tenant_id text not null references tenants,
        username text collate "C" not null,
        display_name text not null,
        search_name text collate "C" not null,
        email text collate "C" check (email <> ''),
        password_hash text,
        status text not null default 'active' check (status in ('active', 'suspended', 'deleted')),
        role text not null default 'user' check (role in ('user', 'agent', 'admin', 'partner')),
        metadata jsonb not null default '{}',
        created_at timestamptz not null,
        updated_at timestamptz not null
    )
    """,
    "create unique index users_tenant_username on users (tenant_id, lower(username))",
    "create unique index users_tenant_email on users (tenant_id, lower(email)) where email is not null",
    "create index users_tenant_search_name on users (tenant_id, search_name)",
    """
    create table sessions (
        session_id uuid primary key,
        tenant_id text not null references tenants,
        user_id uuid not null references users,
        device_id text not null default '',
        device_name text not null default '',
        address text not null default '',
        user_agent text not null default '',
        created_at timestamptz not null,
        last_used_at timestamptz not null,
        expires_at timestamptz not null,
        ended_at timestamptz,
        end_reason text check ((end_reason is null) = (ended_at is null))
    )
    """,
    "create index sessions_user_live on sessions (user_id, last_used_at desc, session_id desc) where ended_at is null",
    "create index sessions_expires_at on sessions (expires_at)",
    "create index sessions_ended_at on sessions (ended_at) where ended_at is not null",
    # A session is the family of its refresh tokens. Kinds `personal` and `client` belong to no session.
    """
    create table access_tokens (
        token_id uuid primary key,
        tenant_id text not null references tenants,
        user_id uuid not null references users,
        session_id uuid references sessions on delete cascade,
        kind text not null check (kind in ('refresh', 'personal', 'client')),
        token_hash bytea not null check (length(token_hash) = 32),
        device_id text not null default '',
        address text not null default '',
        user_agent text not null default '',
        created_at timestamptz not null,
        last_used_at timestamptz,
        expires_at timestamptz not null,
        used_at timestamptz,
        check ((kind = 'refresh') = (session_id is not null))
    )
    """,
    "create unique index access_tokens_token_hash on access_tokens (token_hash)",
    "create index access_tokens_session on access_tokens (session_id)",
    "create index access_tokens_expires_at on access_tokens (expires_at)",
)


def upgrade() -> None:
    """Make everything, in the schema of the connection's search path."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Remove everything."""
    for table in ("access_tokens", "sessions", "users", "tenants"):
        op.execute(f"drop table {table}")
