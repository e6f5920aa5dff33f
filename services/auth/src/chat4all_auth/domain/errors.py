"""The refusals of the auth service, each with its stable reason."""

from __future__ import annotations

from datetime import timedelta

from chat4all_runtime.errors import Code, DomainError


def invalid_credentials() -> DomainError:
    """The one answer for an unknown user, a wrong password and an account without one."""
    return DomainError(Code.UNAUTHENTICATED, "INVALID_CREDENTIALS", "Username or password is wrong.")


def login_throttled(retry_after: timedelta) -> DomainError:
    """Too many failures for this account or from this address; says not which."""
    return DomainError(
        Code.RESOURCE_EXHAUSTED, "LOGIN_THROTTLED", "Too many failed logins; wait before the next.", retry_after=retry_after
    )


def registration_throttled(retry_after: timedelta) -> DomainError:
    """Too many registrations from this address."""
    message = "Too many registrations from this address; wait before the next."
    return DomainError(Code.RESOURCE_EXHAUSTED, "REGISTRATION_THROTTLED", message, retry_after=retry_after)


def passwords_busy() -> DomainError:
    """More passwords wait to be checked than the process is allowed to keep waiting."""
    message = "Too many passwords are being checked at once; try again."
    return DomainError(Code.RESOURCE_EXHAUSTED, "PASSWORDS_BUSY", message, retry_after=timedelta(seconds=1))


def account_suspended() -> DomainError:
    """Said only to somebody who has shown the password or a token of the account."""
    return DomainError(Code.PERMISSION_DENIED, "ACCOUNT_SUSPENDED", "The account is suspended.")


def session_ended() -> DomainError:
    """The session of a token has ended or run out."""
    return DomainError(Code.UNAUTHENTICATED, "SESSION_ENDED", "The session has ended; sign in again.")


def refresh_token_invalid() -> DomainError:
    """Not a refresh token of ours, or one of a session long gone."""
    return DomainError(Code.UNAUTHENTICATED, "REFRESH_TOKEN_INVALID", "The refresh token is not valid; sign in again.")


def refresh_token_expired() -> DomainError:
    """Too old to be used."""
    return DomainError(Code.UNAUTHENTICATED, "REFRESH_TOKEN_EXPIRED", "The refresh token has expired; sign in again.")


def refresh_token_reused() -> DomainError:
    """It was used before: somebody has a copy, so its whole session ended."""
    message = "The refresh token was used before; its session has been ended. Sign in again."
    return DomainError(Code.UNAUTHENTICATED, "REFRESH_TOKEN_REUSED", message)


def sign_up_disabled() -> DomainError:
    """Nobody may register by themself."""
    return DomainError(Code.PERMISSION_DENIED, "SIGN_UP_DISABLED", "Registration is switched off.")


def tenant_not_found(tenant_id: str) -> DomainError:
    """No such tenant."""
    message = f"There is no tenant {tenant_id}."
    return DomainError(Code.NOT_FOUND, "TENANT_NOT_FOUND", message, metadata={"tenant_id": tenant_id})


def username_taken(username: str) -> DomainError:
    """Somebody of the tenant has that name."""
    message = f"The username {username} is taken."
    return DomainError(Code.ALREADY_EXISTS, "USERNAME_TAKEN", message, metadata={"username": username}, field="username")


def email_taken() -> DomainError:
    """Somebody of the tenant has that address; it is not repeated."""
    return DomainError(Code.ALREADY_EXISTS, "EMAIL_TAKEN", "The email address is taken.", field="email")


def user_not_found(user_id: str) -> DomainError:
    """No such account in the caller's tenant."""
    message = f"There is no user {user_id}."
    return DomainError(Code.NOT_FOUND, "USER_NOT_FOUND", message, metadata={"user_id": user_id})


def session_not_found(session_id: str) -> DomainError:
    """No such open session of the caller."""
    message = f"You have no session {session_id}."
    return DomainError(Code.NOT_FOUND, "SESSION_NOT_FOUND", message, metadata={"session_id": session_id})
