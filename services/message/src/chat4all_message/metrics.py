"""Metrics of the message service; the runtime's own come on top."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from chat4all_message.domain.model import Sent
from chat4all_runtime.errors import DomainError

sends = Counter("chat4all_message_sends_total", "Messages asked to be sent, by how it ended.", ["outcome"])
lookup_outages = Counter("chat4all_message_lookup_outages_total", "Times the look-up of used ids became unavailable.")
membership_loads = Counter("chat4all_message_membership_loads_total", "Memberships asked for, by outcome.", ["outcome"])
memberships = Gauge("chat4all_message_memberships_conversations", "Conversations whose members are remembered.")
feed_restarts = Counter("chat4all_message_membership_feed_restarts_total", "Times the feed of membership changes had to restart.")

_accepted = sends.labels("accepted")
_stored = sends.labels("stored")
_refused = sends.labels("refused")
loads_ok = membership_loads.labels("ok")
loads_refused = membership_loads.labels("refused")


def count_sends(results: list[Sent | DomainError]) -> None:
    """Count the ends of one call's messages: three numbers, however many they are."""
    accepted = stored = 0
    for result in results:
        if isinstance(result, Sent):
            if result.sequence_number:
                stored += 1
            else:
                accepted += 1
    refused = len(results) - accepted - stored
    if accepted:
        _accepted.inc(accepted)
    if stored:
        _stored.inc(stored)
    if refused:
        _refused.inc(refused)
