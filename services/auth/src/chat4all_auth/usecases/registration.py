"""Making accounts."""

from __future__ import annotations

from dataclasses import dataclass

from chat4all_auth import metrics
from chat4all_auth.domain import errors, fields
from chat4all_auth.domain.model import Client, Role, User, UserId, UserStatus
from chat4all_auth.repository import Accounts, Passwords, Throttle
from chat4all_runtime.clock import Clock
from chat4all_runtime.errors import Code, DomainError
from chat4all_runtime.ids import new_id


@dataclass(frozen=True, slots=True)
class Registration:
    """What somebody asks for, unchecked."""

    username: str
    password: str
    display_name: str
    email: str
    tenant_id: str


class Register:
    """Creates an account of role `user` in a tenant that lets people sign up.

    Not idempotent: when the answer is lost, the second try finds the username taken.

    Args:
        sign_up_enabled: false refuses everybody, whatever the tenant says.
    """

    def __init__(self, accounts: Accounts, passwords: Passwords, throttle: Throttle, clock: Clock, sign_up_enabled: bool) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._throttle = throttle
        self._clock = clock
        self._sign_up_enabled = sign_up_enabled

    async def __call__(self, asked: Registration, client: Client) -> User:
        """Check, count, hash, keep.

        Raises:
            DomainError: INVALID_ARGUMENT by field, `SIGN_UP_DISABLED`, `TENANT_NOT_FOUND`, `USERNAME_TAKEN`, `EMAIL_TAKEN`,
                `REGISTRATION_THROTTLED`, `PASSWORDS_BUSY`, `POSTGRES_UNAVAILABLE`.
        """
        outcome = "failed"
        try:
            user = await self._register(asked, client)
            outcome = "success"
        except DomainError as error:
            throttled = error.code is Code.RESOURCE_EXHAUSTED
            outcome = "throttled" if throttled else "failed" if error.code is Code.UNAVAILABLE else "refused"
            raise
        finally:
            metrics.registrations.labels(outcome).inc()
        return user

    async def _register(self, asked: Registration, client: Client) -> User:
        tenant_id = fields.tenant_id(asked.tenant_id)
        username = fields.username(asked.username)
        password = fields.new_password(asked.password)
        display_name = fields.display_name(asked.display_name)
        email = fields.email(asked.email)
        if not self._sign_up_enabled:
            raise errors.sign_up_disabled()
        await self._throttle.begin_registration(client.address)
        tenant = await self._accounts.tenant(tenant_id)
        if tenant is None:
            raise errors.tenant_not_found(tenant_id)
        if not tenant.sign_up_enabled:
            raise errors.sign_up_disabled()
        if await self._accounts.username_exists(tenant_id, username):
            raise errors.username_taken(username)  # before the costly hash; the unique index decides in the end
        password_hash = await self._passwords.hash(password)
        now = self._clock.now()
        user = User(
            UserId(new_id()),
            tenant_id,
            username,
            display_name,
            email,
            UserStatus.ACTIVE,
            Role.USER,
            created_at=now,
            updated_at=now,
        )
        await self._accounts.add_user(user, password_hash)
        return user
