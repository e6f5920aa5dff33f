"""REST by the contracts' annotations."""

from __future__ import annotations

import pytest
from integration.api_gateway.backends import Backends, not_found
from integration.api_gateway.conftest import Edge

ID = "0190f3a0-0000-7000-8000-000000000001"


def test_names_are_snake_case_and_defaults_are_printed(edge: Edge, backends: Backends) -> None:
    """JSON has the contract's names, RFC 3339 times, enum names, uint32 as numbers, int64 as strings."""
    token = backends.tokens.mint()
    body = {"message_id": ID, "content": {"type": "text", "text": "olá"}, "wait_for": "WAIT_FOR_STORED"}
    answer = edge.post("/v1/conversations/c1/messages", token, json=body).json()
    assert answer["state"] == "MESSAGE_STATE_STORED"
    message = answer["message"]
    assert message["message_id"] == ID
    assert message["conversation_id"] == "c1"
    assert message["sequence_number"] == 7
    assert message["content"] == {"type": "text", "text": "olá"}
    assert message["create_time"].endswith("Z")
    assert message["reply_to_message_id"] == ""
    upload = edge.post("/v1/files", token, json={"file_name": "a", "size_bytes": 2147483648}).json()
    assert upload == {"file_id": "f1", "part_size_bytes": "2147483648", "part_count": 1}


def test_query_fields_reach_the_service(edge: Edge, backends: Backends) -> None:
    """Query parameters fill the request, repeated ones included, by the contract's names."""
    token = backends.tokens.mint()
    assert edge.get("/v1/users?query=ana&page_size=3", token).json()["next_page_token"] == "ana|3"
    assert edge.get("/v1/conversations/c1/messages?after_sequence_number=41", token).json()["last_sequence_number"] == 41
    answer = edge.get("/v1/presence?user_ids=a&user_ids=b", token).json()
    assert [presence["user_id"] for presence in answer["presences"]] == ["a", "b"]


def test_body_and_path_join_in_a_patch(edge: Edge, backends: Backends) -> None:
    """The path names what is changed; the mask travels in the query; a body that names something else is refused."""
    token = backends.tokens.mint()
    path = "/v1/conversations/c7?update_mask=title"
    for body in [{"title": "t"}, {"title": "t", "conversation_id": "c7"}]:
        assert edge.request("PATCH", path, token, json=body).json()["conversation_id"] == "c7"
    _, request = backends.last("UpdateConversation")
    assert list(request.update_mask.paths) == ["title"]
    answer = edge.request("PATCH", path, token, json={"title": "t", "conversation_id": "other"})
    assert answer.status_code == 400
    assert "conversation_id" in answer.json()["message"]


def test_literal_path_wins_over_a_variable(edge: Edge, backends: Backends) -> None:
    """`/v1/users/me` is the caller, not a user with the id `me`."""
    token = backends.tokens.mint()
    assert edge.get("/v1/users/me", token).json()["user_id"] == "the caller"
    assert edge.get("/v1/users/you", token).json()["user_id"] == "you"


def test_custom_verbs_are_not_taken_for_ids(edge: Edge, backends: Backends) -> None:
    """`:complete` and `:batch` call their own methods."""
    token = backends.tokens.mint()
    assert edge.post("/v1/files/f9:complete", token, json={}).json()["file_id"] == "f9"
    assert edge.get("/v1/files/f9", token).json()["file_id"] == "f9"
    body = {"messages": [{"message_id": "a"}, {"message_id": "b"}]}
    answer = edge.post("/v1/conversations/c1/messages:batch", token, json=body).json()
    assert [result["message_id"] for result in answer["results"]] == ["a", "b"]
    assert [name for name, _, _ in backends.calls] == ["CompleteUpload", "GetFile", "SendMessageBatch"]


def test_a_services_refusal_keeps_its_details(edge: Edge, backends: Backends) -> None:
    """Reason, domain and metadata of a service's error reach the client, whatever characters are in the sentence."""
    backends.refusals["GetConversation"] = not_found()
    answer = edge.get("/v1/conversations/c9", backends.tokens.mint())
    assert answer.status_code == 404
    assert answer.headers["x-request-id"]
    body = answer.json()
    assert body["code"] == 5
    assert body["message"] == "There is no 100 % such conversation: ção."
    assert body["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "CONVERSATION_NOT_FOUND",
            "domain": "test.chat4all",
            "metadata": {"conversation_id": "c9"},
        }
    ]


@pytest.mark.parametrize("verb", ["GET", "DELETE"])
def test_path_variables_are_decoded(edge: Edge, backends: Backends, verb: str) -> None:
    """An escaped blank in an id arrives as a blank; an escaped slash never becomes another path."""
    token = backends.tokens.mint()
    assert edge.get("/v1/users/a%20b", token).json()["user_id"] == "a b"
    assert edge.request(verb, "/v1/users/x%2Fme", token).status_code == 400
