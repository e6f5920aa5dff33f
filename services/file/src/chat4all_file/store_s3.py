"""Bytes in an S3 store, through boto3 in a bounded pool of threads.

boto3 signs the length of a part into its link, so the store refuses any other length; minio-py signs only the host.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chat4all_file.settings import S3Settings
from chat4all_runtime.errors import unavailable

_CHUNK_BYTES = 1024 * 1024
_NOT_THERE = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}

T = TypeVar("T")


class S3ObjectStore:
    """The object store. Methods raise UNAVAILABLE `OBJECT_STORE_UNAVAILABLE` when it is away."""

    def __init__(self, settings: S3Settings) -> None:
        self._bucket = settings.bucket
        self._pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="s3")
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=settings.endpoint,
            region_name=settings.region,
            aws_access_key_id=settings.access_key.get_secret_value(),
            aws_secret_access_key=settings.secret_key.get_secret_value(),
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=settings.timeout_seconds,
                read_timeout=settings.timeout_seconds,
                retries={"total_max_attempts": 3, "mode": "standard"},
                max_pool_connections=settings.concurrency,
                # Checksums of their own are an AWS extension that other stores answer differently; we check SHA-256 ourselves.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    async def __aenter__(self) -> S3ObjectStore:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except (BotoCoreError, ClientError, OSError) as error:
            raise unavailable("object_store") from error

    async def prepare(self) -> None:
        """Create the bucket where it is missing."""

        def work() -> None:
            try:
                self._client.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                if _code(error) not in _NOT_THERE | {"NoSuchBucket"}:
                    raise
                self._client.create_bucket(Bucket=self._bucket)

        await self._do(work)

    async def open_upload(self, key: str, content_type: str) -> str:
        """Begin a multipart upload."""
        answer = await self._do(
            lambda: self._client.create_multipart_upload(Bucket=self._bucket, Key=key, ContentType=content_type)
        )
        return str(answer["UploadId"])

    async def parts(self, key: str, upload_id: str) -> dict[int, tuple[int, str]] | None:
        """Part number → size and etag; None when the upload is no longer open."""

        def work() -> dict[int, tuple[int, str]] | None:
            found: dict[int, tuple[int, str]] = {}
            try:
                for page in self._client.get_paginator("list_parts").paginate(Bucket=self._bucket, Key=key, UploadId=upload_id):
                    for part in page.get("Parts", []):
                        found[part["PartNumber"]] = (part["Size"], part["ETag"])
            except ClientError as error:
                if _code(error) in _NOT_THERE:
                    return None
                raise
            return found

        return await self._do(work)

    async def complete(self, key: str, upload_id: str, etags: dict[int, str]) -> None:
        """Join the parts."""
        parts = [{"PartNumber": number, "ETag": etags[number]} for number in sorted(etags)]
        await self._do(
            lambda: self._client.complete_multipart_upload(
                Bucket=self._bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
            )
        )

    async def size(self, key: str) -> int | None:
        """Size of the object, None when there is none."""

        def work() -> int | None:
            try:
                return int(self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"])
            except ClientError as error:
                if _code(error) in _NOT_THERE:
                    return None
                raise

        return await self._do(work)

    async def digest(self, key: str, head_bytes: int) -> tuple[str, bytes]:
        """SHA-256 of the bytes in the store and the first of them."""

        def work() -> tuple[str, bytes]:
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            hasher = hashlib.sha256()
            head = b""
            for chunk in body.iter_chunks(_CHUNK_BYTES):
                hasher.update(chunk)
                if len(head) < head_bytes:
                    head += chunk[: head_bytes - len(head)]
            return hasher.hexdigest(), head

        return await self._do(work)

    async def delete(self, key: str) -> None:
        """Remove it."""
        await self._do(lambda: self._client.delete_object(Bucket=self._bucket, Key=key))

    def upload_url(self, key: str, upload_id: str, part_number: int, size_bytes: int, life: timedelta) -> str:
        """A link that takes exactly this part with exactly this length; signing is local, no request is made."""
        parameters = {
            "Bucket": self._bucket,
            "Key": key,
            "UploadId": upload_id,
            "PartNumber": part_number,
            "ContentLength": size_bytes,
        }
        return str(self._client.generate_presigned_url("upload_part", parameters, int(life.total_seconds()), "PUT"))

    def download_url(self, key: str, file_name: str, content_type: str, life: timedelta) -> str:
        """A link that gives the bytes as a download under their name."""
        parameters = {
            "Bucket": self._bucket,
            "Key": key,
            "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(file_name, safe='')}",
            "ResponseContentType": content_type,
        }
        return str(self._client.generate_presigned_url("get_object", parameters, int(life.total_seconds()), "GET"))


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
