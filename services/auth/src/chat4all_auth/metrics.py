"""What the auth service counts. Labels have few values, never an id; every series starts at zero."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

logins = Counter("chat4all_auth_logins_total", "Login attempts by outcome.", ["outcome"])
registrations = Counter("chat4all_auth_registrations_total", "Attempts to register by outcome.", ["outcome"])
refreshes = Counter("chat4all_auth_refreshes_total", "Refresh tokens shown, by outcome.", ["outcome"])
throttle_failures = Counter("chat4all_auth_throttle_failures_total", "Calls let through because Redis did not answer.")
session_notices = Counter("chat4all_auth_session_notices_total", "Notices to gateways that a session ended.", ["outcome"])
password_seconds = Histogram(
    "chat4all_auth_password_duration_seconds",
    "Time to hash or check a password, waiting included.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)

for _outcome in ("success", "invalid_credentials", "suspended", "refused", "throttled", "failed"):
    logins.labels(_outcome)
for _outcome in ("success", "refused", "throttled", "failed"):
    registrations.labels(_outcome)
for _outcome in ("success", "invalid", "expired", "session_ended", "reused", "suspended", "failed"):
    refreshes.labels(_outcome)
for _outcome in ("published", "dropped"):
    session_notices.labels(_outcome)
