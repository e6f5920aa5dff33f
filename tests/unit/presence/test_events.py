"""The two forms in which a change leaves."""

from __future__ import annotations

from datetime import timedelta

import orjson
from unit.presence.samples import MOMENT, change

from chat4all.presence.v1 import presence_events_pb2, presence_service_pb2
from chat4all_presence import events
from chat4all_presence.domain.model import State
from chat4all_runtime.ids import is_uuid7


def test_the_kafka_event_is_a_whole_fact() -> None:
    """Topic, key, tenant and both states are there; the key keeps one person's changes in order."""
    one = change(state=State.OFFLINE, previous_state=State.AWAY)
    record = events.record(one)
    assert (record.topic, record.key) == ("user.presence", one.user_id.encode())
    headers = dict(record.headers)
    assert headers["ce_type"] == b"chat4all.presence.v1.PresenceChanged"
    assert headers["tenant_id"] == b"acme"
    event = presence_events_pb2.PresenceChanged.FromString(record.value)
    assert event.state == presence_service_pb2.PRESENCE_STATE_OFFLINE
    assert event.previous_state == presence_service_pb2.PRESENCE_STATE_AWAY
    assert event.change_time.ToDatetime().isoformat() == "2026-11-24T20:15:30.123000"


def test_the_live_line_is_what_sockets_get() -> None:
    """A transient entry: five fields, the tenant so that no other sees it, the frame as the contract says, on one line."""
    one = change(state=State.AWAY)
    kind, number, user_id, tenant_id, frame = events.line(one).split(b"\t")
    assert (kind, number, user_id, tenant_id) == (b"t", b"0", one.user_id.encode(), b"acme")
    assert b"\n" not in frame
    assert orjson.loads(frame) == {
        "type": "event",
        "event_id": events.event_id(one),
        "event_type": "presence.changed",
        "time": "2026-11-24T20:15:30.123Z",
        "data": {"user_id": one.user_id, "state": "away", "last_seen": "2026-11-24T20:15:30.123Z"},
    }
    assert orjson.loads(events.line(change(last_seen=None)).split(b"\t")[4])["data"]["last_seen"] is None


def test_a_repeat_has_the_same_id_and_another_change_another() -> None:
    """Readers can drop a change that is told twice."""
    one = change()
    assert is_uuid7(events.event_id(one))
    again = change(user_id=one.user_id, previous_state=State.AWAY)
    assert events.event_id(again) == events.event_id(one)
    others = [
        change(),
        change(user_id=one.user_id, tenant_id="other"),
        change(user_id=one.user_id, state=State.AWAY),
        change(user_id=one.user_id, changed_at=MOMENT + timedelta(milliseconds=1)),
    ]
    assert events.event_id(one) not in {events.event_id(other) for other in others}
    assert int(events.event_id(one).replace("-", "")[:12], 16) == round(MOMENT.timestamp() * 1000)
