"""The file service on the real object store, MongoDB and Kafka: bytes arrive whole or not at all, and only members see them."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
import pytest_asyncio
from fakes.auth_peer import TokenIssuer
from fakes.peer_server import PeerServer

from chat4all.conversation.v1 import conversation_service_pb2, conversation_service_pb2_grpc
from chat4all.file.v1 import file_service_pb2 as pb
from chat4all.file.v1 import file_service_pb2_grpc
from chat4all_file.domain.model import PART_BYTES
from chat4all_file.server import serve
from chat4all_file.settings import Settings
from chat4all_runtime.grpc_errors import from_rpc_error
from chat4all_runtime.identity import ServiceTokens
from chat4all_runtime.ids import new_id
from chat4all_runtime.lifecycle import Process

PNG = b"\x89PNG\r\n\x1a\n"


class Members(conversation_service_pb2_grpc.ConversationServiceServicer):
    """Everybody is a member of every conversation but one."""

    def __init__(self) -> None:
        self.closed_conversation = new_id()

    def ListMembers(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Whether the caller may see it."""
        if request.conversation_id == self.closed_conversation:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such conversation")
        return conversation_service_pb2.ListMembersResponse()


@dataclass
class Scene:
    """A running service and a caller."""

    stub: Any
    settings: Settings
    issuer: TokenIssuer
    members: Members
    user_id: str

    def metadata(self, user_id: str = "") -> tuple[tuple[str, str], ...]:
        """As that user."""
        return (("authorization", f"Bearer {self.issuer.token(user_id or self.user_id)}"),)

    async def call(self, method: str, request: Any, user_id: str = "") -> Any:
        """One call."""
        return await getattr(self.stub, method)(request, metadata=self.metadata(user_id), timeout=20)

    async def refused(self, method: str, request: Any, user_id: str = "") -> str:
        """The reason of a call that must be refused."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(method, request, user_id)
        return from_rpc_error(caught.value, "file").reason

    async def create(self, data: bytes, content_type: str = "image/png", **more: Any) -> Any:
        """Open an upload for these bytes."""
        fields = {"file_name": "a.png", "content_type": content_type, "size_bytes": len(data), "conversation_id": new_id()}
        return await self.call("CreateUpload", pb.CreateUploadRequest(**(fields | more)))

    async def put(self, upload: Any, data: bytes) -> None:
        """Send every part that is asked for."""
        answer = await self.call("ListUploadParts", pb.ListUploadPartsRequest(file_id=upload.file_id))
        async with httpx.AsyncClient() as client:
            for part in answer.parts:
                start = (part.part_number - 1) * upload.part_size_bytes
                sent = await client.put(part.upload_url, content=data[start : start + part.size_bytes])
                assert sent.status_code == 200, sent.text


@pytest_asyncio.fixture
async def scene(engines: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """The service with a small real conversation server beside it."""
    members = Members()
    peer = PeerServer(lambda server: conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server(members, server))
    with TokenIssuer() as issuer, peer:
        grpc_port = _free_port()
        for name, value in (
            engines | {"CHAT4ALL_TOKENS__JWKS_URL": issuer.jwks_url, "CHAT4ALL_CONVERSATION__TARGET": peer.target}
        ).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("CHAT4ALL_GRPC__PORT", str(grpc_port))
        settings = Settings()
        process = Process("file", hard_stop_seconds=1_000_000)  # the timer would end the test run itself
        serving = asyncio.create_task(serve(settings, process))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            await asyncio.wait_for(channel.channel_ready(), 20)
            yield Scene(file_service_pb2_grpc.FileServiceStub(channel), settings, issuer, members, new_id())
        process.stop()
        await asyncio.wait_for(serving, 20)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def test_three_parts_arrive_whole(scene: Scene) -> None:
    """Parts in, one file out: same bytes, right hash, right type; completing twice is the same as once."""
    data = PNG + bytes(range(256)) * (PART_BYTES // 128)
    upload = await scene.create(data, sha256=hashlib.sha256(data).hexdigest())
    assert upload.part_count == 3
    await scene.put(upload, data)
    done = await scene.call("CompleteUpload", pb.CompleteUploadRequest(file_id=upload.file_id))
    assert (done.state, done.sha256, done.content_type) == (pb.FILE_STATE_READY, hashlib.sha256(data).hexdigest(), "image/png")
    assert await scene.call("CompleteUpload", pb.CompleteUploadRequest(file_id=upload.file_id)) == done
    link = await scene.call("GetDownloadLink", pb.GetDownloadLinkRequest(file_id=upload.file_id))
    async with httpx.AsyncClient() as client:
        answer = await client.get(link.url)
    assert answer.content == data
    assert "attachment" in answer.headers["content-disposition"]


async def test_an_upload_goes_on_after_an_interruption(scene: Scene) -> None:
    """What is there stays there; completing too early says what is missing."""
    data = PNG + b"x" * PART_BYTES
    upload = await scene.create(data)
    first = await scene.call("ListUploadParts", pb.ListUploadPartsRequest(file_id=upload.file_id, part_numbers=[2]))
    async with httpx.AsyncClient() as client:
        await client.put(first.parts[0].upload_url, content=data[PART_BYTES:])
    assert await scene.refused("CompleteUpload", pb.CompleteUploadRequest(file_id=upload.file_id)) == "PARTS_MISSING"
    left = await scene.call("ListUploadParts", pb.ListUploadPartsRequest(file_id=upload.file_id))
    assert ([part.part_number for part in left.parts], left.uploaded_count) == ([1], 1)
    await scene.put(upload, data)
    assert (await scene.call("CompleteUpload", pb.CompleteUploadRequest(file_id=upload.file_id))).state == pb.FILE_STATE_READY


async def test_a_link_takes_exactly_its_part(scene: Scene) -> None:
    """Another length is refused by the store: the length is signed."""
    upload = await scene.create(PNG + b"x" * 100)
    parts = await scene.call("ListUploadParts", pb.ListUploadPartsRequest(file_id=upload.file_id))
    async with httpx.AsyncClient() as client:
        answer = await client.put(parts.parts[0].upload_url, content=PNG + b"x" * 5000)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("data", "more", "reason"),
    [
        (b"MZ" + b"\0" * 500, {}, "CONTENT_TYPE_MISMATCH"),
        (PNG + b"x", {"sha256": "0" * 64}, "SHA256_MISMATCH"),
    ],
)
async def test_what_lies_is_removed(scene: Scene, data: bytes, more: dict[str, str], reason: str) -> None:
    """A program called a picture and a wrong hash end the upload; the file is not there."""
    upload = await scene.create(data, **more)
    await scene.put(upload, data)
    assert await scene.refused("CompleteUpload", pb.CompleteUploadRequest(file_id=upload.file_id)) == reason
    assert await scene.refused("GetFile", pb.GetFileRequest(file_id=upload.file_id)) == "FILE_NOT_FOUND"
    assert await scene.refused("CompleteUpload", pb.CompleteUploadRequest(file_id=upload.file_id)) == "UPLOAD_CLOSED"


async def test_the_same_request_gives_the_same_upload(scene: Scene) -> None:
    """A repeated create is one upload."""
    conversation_id = new_id()
    first = await scene.create(PNG, conversation_id=conversation_id, request_id="once")
    again = await scene.create(PNG, conversation_id=conversation_id, request_id="once")
    assert first.file_id == again.file_id


async def test_only_members_and_the_uploader(scene: Scene) -> None:
    """Strangers learn nothing: not of uploads under way, not of conversations they are not in."""
    upload = await scene.create(PNG)
    assert await scene.refused("GetFile", pb.GetFileRequest(file_id=upload.file_id), new_id()) == "FILE_NOT_FOUND"
    assert await scene.refused("ListUploadParts", pb.ListUploadPartsRequest(file_id=upload.file_id), new_id()) == "FILE_NOT_FOUND"
    request = pb.CreateUploadRequest(
        file_name="a", content_type="image/png", size_bytes=1, conversation_id=scene.members.closed_conversation
    )
    assert await scene.refused("CreateUpload", request) == "CONVERSATION_NOT_FOUND"


async def test_attachments_are_checked_for_services(scene: Scene) -> None:
    """Complete, of that sender, in that conversation; anything else has a reason."""
    conversation_id = new_id()
    upload = await scene.create(PNG, conversation_id=conversation_id)
    asked = [
        pb.Attachment(file_id=upload.file_id, sender_user_id=scene.user_id, conversation_id=conversation_id),
        pb.Attachment(file_id=upload.file_id, sender_user_id=new_id(), conversation_id=conversation_id),
        pb.Attachment(file_id=new_id(), sender_user_id=scene.user_id, conversation_id=conversation_id),
    ]
    token = (("x-service-token", ServiceTokens(scene.settings.internal, "tests").mint()),)

    async def reasons() -> list[str]:
        return list(
            (await scene.stub.CheckAttachments(pb.CheckAttachmentsRequest(attachments=asked), metadata=token, timeout=10)).reasons
        )

    assert await reasons() == ["FILE_NOT_READY", "FILE_NOT_FOUND", "FILE_NOT_FOUND"]
    await scene.put(upload, PNG)
    await scene.call("CompleteUpload", pb.CompleteUploadRequest(file_id=upload.file_id))
    assert await reasons() == ["", "FILE_NOT_FOUND", "FILE_NOT_FOUND"]
