"""Settings of the auth process; the only reader of its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from chat4all_runtime.settings import (
    Group,
    GrpcSettings,
    InternalSettings,
    PostgresSettings,
    ProcessSettings,
    RedisSettings,
    TokenSettings,
)


class AuthSettings(Group):
    """Accounts and signing keys."""

    keys_dir: Path = Field(description="Folder of the signing keys, one `<kid>.pem` each; made at the first start.")
    key_activation_seconds: float = Field(
        300.0,
        ge=0,
        le=86400,
        description="A further key is published for so long before it signs, so that cached JWKS know it by then.",
    )
    key_reload_seconds: float = Field(10.0, gt=0, le=3600, description="How often the keys' folder is read again.")
    jwks_max_age_seconds: int = Field(300, ge=0, le=86400, description="How long others may cache the JWKS.")
    sign_up_enabled: bool = Field(True, description="Whether anybody may register; a tenant can also switch it off for itself.")


class IssuedTokenSettings(TokenSettings):
    """What the tokens we give out are like; issuer and audience are also what is checked."""

    jwks_url: str = Field("", description="Not used here: this process reads the keys themselves.")
    access_seconds: int = Field(900, ge=10, le=86400, description="Life of an access token.")
    refresh_seconds: int = Field(
        30 * 86400, ge=60, le=366 * 86400, description="Life of a refresh token, and of a session that is not used."
    )


class PasswordSettings(Group):
    """Argon2id. The defaults are OWASP's minimum, 22 ms on one core (source: OWASP Password Storage Cheat Sheet, 2025)."""

    memory_kib: int = Field(19 * 1024, ge=8, le=4 * 1024 * 1024, description="Memory of one hash.")
    iterations: int = Field(2, ge=1, le=100, description="Passes over the memory.")
    parallelism: int = Field(1, ge=1, le=64, description="Lanes of one hash.")
    workers: int = Field(2, ge=1, le=64, description="Hashes at the same time.")
    max_waiting: int = Field(64, ge=0, le=100_000, description="Hashes that may wait; beyond it calls are refused.")


class ThrottleSettings(Group):
    """Limits on guessing and on mass registration; counted in Redis, for all copies of the process together."""

    account_failures: int = Field(10, ge=1, le=1_000_000, description="Failed logins of one account per login window.")
    address_failures: int = Field(30, ge=1, le=1_000_000, description="Failed logins from one address per login window.")
    login_window_seconds: int = Field(300, ge=1, le=86400, description="Time in which a used-up login limit fills again.")
    registrations: int = Field(600, ge=1, le=1_000_000, description="Registrations from one address per their window.")
    registration_window_seconds: int = Field(3600, ge=1, le=86400, description="Time in which that limit fills again.")
    timeout_seconds: float = Field(0.5, gt=0, le=10, description="Longest wait for Redis; past it the call goes on unlimited.")


class CleanupSettings(Group):
    """Removal of sessions and tokens that can no longer be used."""

    interval_seconds: float = Field(3600.0, gt=0, le=7 * 86400, description="Pause between two rounds.")
    keep_seconds: int = Field(7 * 86400, ge=0, le=366 * 86400, description="How long an ended session is kept to be looked up.")


class Settings(ProcessSettings):
    """Everything the auth process reads from its environment."""

    grpc: GrpcSettings = GrpcSettings()
    postgres: PostgresSettings
    redis: RedisSettings
    internal: InternalSettings
    tokens: IssuedTokenSettings = IssuedTokenSettings()
    auth: AuthSettings
    passwords: PasswordSettings = PasswordSettings()
    throttle: ThrottleSettings = ThrottleSettings()
    cleanup: CleanupSettings = CleanupSettings()
