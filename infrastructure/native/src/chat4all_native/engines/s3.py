"""The object store: SeaweedFS with its S3 gateway in one process, for file bytes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chat4all_native.errors import StartFailed
from chat4all_native.parts import Engine
from chat4all_native.ports import HOST
from chat4all_native.process import Launch
from chat4all_native.programs import Program, choose, script
from chat4all_native.waiting import Deadline, wait_until

BUCKET = "chat4all"
REGION = "us-east-1"
_PROBE = ".chat4all/probe"
_UNIX_SOCKET_MAX = 100  # bytes; the system's limit is 107


class S3(Engine):
    """`weed server` from its wheel, every listener given and on loopback, its report to its makers switched off."""

    name = "s3"
    title = "SeaweedFS"
    listeners = ("s3", "s3-grpc", "s3-master", "s3-master-grpc", "s3-volume", "s3-volume-grpc", "s3-filer", "s3-filer-grpc")
    # Its orderly end always waits 15 s for a stream that one half of the process holds to the other (seen with 4.48). Requests are
    # done long before; what they wrote is with the system and is read back after a kill as after a stop.
    stop_seconds = 2.0
    force_is_normal = True

    _program: Program

    def find(self) -> str:
        """See `Part.find`."""
        self._program = choose(
            self.name,
            on_path=(),
            wheel=script("weed"),
            argument="version",
            pattern=r"version \S+ (\d+\.\d+)",
            good=lambda version: True,
            wanted='run `pip install -e ".[engines]"`',
        )
        return self._program.describe(self.title)

    def prepare(self) -> Launch:
        """Write who may do what, and the flags."""
        volumes = self.data / "volumes"
        self.data.mkdir(mode=0o700, exist_ok=True)
        volumes.mkdir(exist_ok=True)
        secrets = self.layout.secrets()
        identity = {
            "name": "chat4all",
            "credentials": [{"accessKey": secrets.s3_access_key, "secretKey": secrets.s3_secret_key}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        config = self.data / "identities.json"
        with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump({"identities": [identity]}, file)
        flags = {
            "dir": volumes,
            "ip": HOST,
            "ip.bind": HOST,
            "master.port": self.ports.port("s3-master"),
            "master.port.grpc": self.ports.port("s3-master-grpc"),
            "master.telemetry": "false",
            "master.electionTimeout": "1s",
            "master.volumeSizeLimitMB": 256,
            "volume.port": self.ports.port("s3-volume"),
            "volume.port.grpc": self.ports.port("s3-volume-grpc"),
            "volume.max": 100,
            "volume.index": "leveldb",  # less memory than the default
            "volume.preStopSeconds": 0,
            "filer": "true",
            "filer.port": self.ports.port("s3-filer"),
            "filer.port.grpc": self.ports.port("s3-filer-grpc"),
            "filer.localSocket": self._socket("filer"),
            "s3": "true",
            "s3.port": self.ports.port("s3"),
            "s3.port.grpc": self.ports.port("s3-grpc"),
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.iam": "false",
            "s3.config": config,
            "s3.localSocket": self._socket("s3"),
        }
        command = [str(self._program.path), "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in flags.items())]
        # One new volume at a time instead of seven: a development store is small.
        return Launch(command, self.environment(WEED_MASTER_VOLUME_GROWTH_COPY_1="1"), self.data)

    def _socket(self, part: str) -> str:
        own = str(self.data / f"{part}.sock")
        # Too long for a socket: then where weed would put it by itself, whose name has the port in it.
        return own if len(own.encode()) <= _UNIX_SOCKET_MAX else f"/tmp/seaweedfs-{part}-{self.ports.port('s3')}.sock"  # noqa: S108

    def clean(self) -> None:
        """Its Unix sockets; for gRPC it has no flag and takes /tmp."""
        for listener in ("s3-grpc", "s3-filer-grpc", "s3-master-grpc", "s3-volume-grpc"):
            for path in Path("/tmp").glob(f"seaweedfs-*-grpc-{self.ports.port(listener)}.sock"):  # noqa: S108
                path.unlink(missing_ok=True)

    def _ask(self, *, bucket: bool) -> str | None:
        with self._client(read_seconds=2.0) as client:
            try:
                names = [found["Name"] for found in client.list_buckets()["Buckets"]]
            except (BotoCoreError, ClientError, OSError, ValueError) as error:
                return f"it does not answer: {error}"
        return None if not bucket or BUCKET in names else f"the bucket {BUCKET} is not there yet"

    @contextlib.contextmanager
    def _client(self, read_seconds: float) -> Iterator[Any]:
        secrets = self.layout.secrets()
        config = Config(
            s3={"addressing_style": "path"},
            connect_timeout=1.0,
            read_timeout=read_seconds,
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{self.ports.address('s3')}",
            region_name=REGION,
            aws_access_key_id=secrets.s3_access_key,
            aws_secret_access_key=secrets.s3_secret_key,
            config=config,
        )
        try:
            yield client
        finally:
            client.close()

    def answers(self) -> str | None:
        """It lists its buckets for our key."""
        return self._ask(bucket=False)

    def ready(self) -> str | None:
        """Our bucket is there."""
        return self._ask(bucket=True)

    def settle(self, deadline: Deadline) -> str:
        """Make the bucket and store one object: only then the part that keeps the bytes has joined too."""
        done = ""
        with self._client(read_seconds=5.0) as client:

            def stored() -> str | None:
                nonlocal done
                try:
                    if BUCKET not in [found["Name"] for found in client.list_buckets()["Buckets"]]:
                        client.create_bucket(Bucket=BUCKET)
                        done = f"bucket {BUCKET} created"
                    client.put_object(Bucket=BUCKET, Key=_PROBE, Body=b"ok")
                except (BotoCoreError, ClientError, OSError) as error:
                    return f"it does not store an object: {error}"
                return None

            if reason := wait_until(stored, deadline, interval_seconds=0.2):
                raise StartFailed(self.name, f"{reason}; look into {self.layout.log(self.name)}")
        return done
