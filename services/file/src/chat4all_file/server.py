"""Wiring of the file service; read from top to bottom it is the whole process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import structlog
from pymongo.errors import PyMongoError

from chat4all.conversation.v1 import conversation_service_pb2_grpc
from chat4all.file.v1 import file_service_pb2, file_service_pb2_grpc
from chat4all_file.events import KafkaFileAnnouncer
from chat4all_file.memberships_grpc import GrpcMemberships
from chat4all_file.servicer import ACCESS, FileServicer
from chat4all_file.settings import Settings
from chat4all_file.store_mongodb import MongoFileRepository
from chat4all_file.store_s3 import S3ObjectStore
from chat4all_file.usecases import (
    AnnounceLeftovers,
    CheckAttachments,
    CompleteUpload,
    CreateUpload,
    DeleteFile,
    GetFile,
    ListUploadParts,
)
from chat4all_runtime import mongodb
from chat4all_runtime.clock import SystemClock
from chat4all_runtime.errors import DomainError
from chat4all_runtime.grpc_channel import ServiceChannel
from chat4all_runtime.grpc_server import Authenticator, GrpcServer
from chat4all_runtime.http_server import HttpServer
from chat4all_runtime.identity import JwksKeys, ServiceTokens, TokenVerifier
from chat4all_runtime.kafka_producer import EventProducer
from chat4all_runtime.lifecycle import Process, run

log = structlog.get_logger()

SERVICE = file_service_pb2.DESCRIPTOR.services_by_name["FileService"]


async def serve(settings: Settings, process: Process) -> None:
    """Serve files until told to stop."""
    clock = SystemClock()
    link_life = timedelta(seconds=settings.files.link_seconds)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(HttpServer(settings.http, process.health))
        client, database = mongodb.open_async(settings.mongo)
        stack.push_async_callback(client.close)
        files = MongoFileRepository(database)
        store = await stack.enter_async_context(S3ObjectStore(settings.s3))
        producer = await stack.enter_async_context(EventProducer(settings.kafka, process.fail))
        announcer = KafkaFileAnnouncer(producer, settings.s3.bucket)
        services = ServiceTokens(settings.internal, "file")
        conversation = await stack.enter_async_context(ServiceChannel(settings.conversation.target, services))
        members = GrpcMemberships(conversation_service_pb2_grpc.ConversationServiceStub(conversation.channel))
        await _prepare(files, store, AnnounceLeftovers(files, announcer))
        servicer = FileServicer(
            CreateUpload(files, store, members, clock, settings.files.upload_life),
            ListUploadParts(files, store, clock, link_life),
            CompleteUpload(files, store, announcer, clock),
            GetFile(files, store, members, clock, link_life),
            DeleteFile(files, store, clock),
            CheckAttachments(files),
        )
        authenticator = Authenticator(TokenVerifier(settings.tokens, JwksKeys(settings.tokens.jwks_url)), services)
        await stack.enter_async_context(
            GrpcServer(
                settings.grpc,
                area="file",
                service=SERVICE,
                access=ACCESS,
                authenticator=authenticator,
                register=lambda server: file_service_pb2_grpc.add_FileServiceServicer_to_server(servicer, server),
                process_health=process.health,
            )
        )
        process.health.serving()
        await process.wait_for_stop()


async def _prepare(files: MongoFileRepository, store: S3ObjectStore, leftovers: AnnounceLeftovers) -> None:
    """Wait for the engines, however long they take; the process is not ready until then."""
    wait = 0.2
    while True:
        try:
            await files.prepare()
            await store.prepare()
            count = await leftovers()
            if count:
                log.info("leftover_files_announced", count=count)
            return
        except (PyMongoError, DomainError) as error:
            log.warning("engines_not_ready", error=str(error), retry_seconds=wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 5.0)


def main() -> None:
    """Entry point of `chat4all-file`."""
    run("file", Settings, serve)
