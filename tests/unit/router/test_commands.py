"""What comes in: entries with everything the store needs, or a reason why a record can never be one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf.struct_pb2 import Struct
from unit.router.fake_log import NOON, make_entry, make_record

from chat4all.message.v1 import message_events_pb2, message_pb2
from chat4all_router.events import NotACommand, read_command
from chat4all_runtime.events import IncomingRecord


def test_the_row_of_an_entry() -> None:
    """Every field of the store, times in milliseconds, references only when set."""
    entry = make_entry("m1", thread_id="t1")
    assert entry.row == {
        "_id": "m1",
        "tenant_id": "default",
        "conversation_id": "c1",
        "sequence_number": 0,
        "kind": "message",
        "from_user_id": "u1",
        "payload": {"type": "text", "text": "text of m1"},
        "digest": "d",
        "thread_id": "t1",
        "created_at": NOON,
    }
    assert (entry.place, entry.claims()) == (("message.sent", 0), ("c1", "u1", "d"))


def test_content_of_every_shape() -> None:
    """Fields in the order of the contract, names in `data` sorted, whole numbers as integers."""
    data = Struct()
    data.update({"z": 3, "a": [1.5, None, {"y": True, "b": "text"}], "big": 2.0**60})
    content = message_pb2.MessageContent(type="location", data=data, latitude=-3.5, longitude=0.0, name="here")
    payload = make_entry("m1", content=content).row["payload"]
    assert list(payload) == ["type", "latitude", "longitude", "name", "data"]
    assert payload["data"] == {"a": [1.5, None, {"b": "text", "y": True}], "big": 2.0**60, "z": 3}
    assert list(payload["data"]) == ["a", "big", "z"]
    assert isinstance(payload["data"]["z"], int)
    assert isinstance(payload["data"]["big"], float)


def _refused(record: IncomingRecord) -> str:
    with pytest.raises(NotACommand) as caught:
        read_command(record)
    assert caught.value.detail
    return caught.value.reason


def test_what_can_never_be_an_entry() -> None:
    """Each with a reason for the dead letter; none of them stops the batch."""
    good = make_record("m1")
    assert _refused(replace(good, value=b"\xff")) == "NOT_A_COMMAND"
    assert _refused(replace(good, headers={"ce_type": b"chat4all.message.v1.MessageStored"})) == "NOT_A_COMMAND"
    assert _refused(replace(good, value=b"x" * 300_000)) == "COMMAND_TOO_LARGE"
    assert _refused(replace(good, key=b"c2")) == "KEY_MISMATCH"
    assert _refused(make_record("")) == "MALFORMED_ID"
    assert _refused(make_record("a\tb")) == "MALFORMED_ID"
    assert _refused(make_record("m" * 65)) == "MALFORMED_ID"
    assert _refused(make_record("m1", sender="u\n")) == "MALFORMED_ID"
    assert _refused(make_record("m1", conversation_id="")) == "MALFORMED_ID"
    command = message_events_pb2.MessageCommand.FromString(good.value)
    command.ClearField("accept_time")
    assert _refused(replace(good, value=command.SerializeToString())) == "MALFORMED_TIME"
    command.accept_time.seconds = 300_000_000_000
    assert _refused(replace(good, value=command.SerializeToString())) == "MALFORMED_TIME"
    data = Struct()
    data.fields["a"].struct_value.fields["nul\0"].bool_value = True
    assert _refused(make_record("m1", content=message_pb2.MessageContent(type="contact", data=data))) == "CONTENT_NOT_STORABLE"
