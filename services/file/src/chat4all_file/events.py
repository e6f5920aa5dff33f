"""File ⇄ contract: the resource that callers see and the event that Kafka carries."""

from __future__ import annotations

from chat4all.file.v1 import file_events_pb2, file_service_pb2
from chat4all_file.domain.model import FileStatus, StoredFile
from chat4all_runtime.events import EventCodec
from chat4all_runtime.kafka_producer import EventProducer

TOPIC = "file.uploaded"

_STATES = {
    FileStatus.UPLOADING: file_service_pb2.FILE_STATE_UPLOADING,
    FileStatus.READY: file_service_pb2.FILE_STATE_READY,
    FileStatus.DELETED: file_service_pb2.FILE_STATE_DELETED,
}


def to_resource(file: StoredFile) -> file_service_pb2.File:
    """The file as a client sees it."""
    resource = file_service_pb2.File(
        file_id=file.file_id,
        conversation_id=file.conversation_id,
        uploaded_by=file.uploaded_by,
        file_name=file.file_name,
        content_type=file.content_type,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        state=_STATES[file.status],
        tenant_id=file.tenant_id,
    )
    resource.create_time.FromDatetime(file.create_time)
    if file.complete_time is not None:
        resource.complete_time.FromDatetime(file.complete_time)
    return resource


class KafkaFileAnnouncer:
    """Produces `file.uploaded`, key and event id the file's."""

    def __init__(self, producer: EventProducer, bucket: str) -> None:
        self._producer = producer
        self._bucket = bucket
        self._codec = EventCodec("/services/file")

    async def uploaded(self, file: StoredFile) -> None:
        """Return when Kafka has acknowledged it."""
        event = file_events_pb2.FileUploaded(file=to_resource(file), bucket=self._bucket, object_key=file.object_key)
        await self._producer.send(self._codec.encode(TOPIC, file.file_id, event, file.tenant_id, event_id=file.file_id))
