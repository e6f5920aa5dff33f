"""The Chat4All processes, as data: what each is called, where it listens and what must be ready before it is started.

A new service is one more row here (and its offsets in `ports.py`).
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from chat4all_native.environment import connections
from chat4all_native.layout import Layout
from chat4all_native.loopback import call
from chat4all_native.parts import Part, StopStage
from chat4all_native.ports import PortBlock
from chat4all_native.process import Launch


@dataclass(frozen=True)
class ProcessSpec:
    """One row.

    Args:
        module: started as `python -m <module>`.
        health: listener that answers `health_path`.
        grpc: listener of its gRPC server, if it has one.
        more: further settings; `{state}` is the state folder, `{port:<listener>}` the number of a port.
        optional: not started unless asked for by name.
    """

    name: str
    module: str
    health: str
    needs: tuple[str, ...]
    grpc: str | None = None
    listeners: tuple[str, ...] = ()
    health_path: str = "/health/ready"
    more: Mapping[str, str] = field(default_factory=dict)
    stop_stage: StopStage = StopStage.SERVICE
    optional: bool = False


SPECS = (
    ProcessSpec(
        "auth",
        "chat4all_auth",
        "auth-http",
        ("postgres", "redis"),
        grpc="auth-grpc",
        more={"CHAT4ALL_AUTH__KEYS_DIR": "{state}/secrets/auth-keys"},
    ),
    ProcessSpec(
        "conversation",
        "chat4all_conversation",
        "conversation-http",
        ("postgres", "kafka", "redis", "etcd"),
        grpc="conversation-grpc",
    ),
    ProcessSpec("message", "chat4all_message", "message-http", ("kafka", "mongodb", "redis"), grpc="message-grpc"),
    ProcessSpec("presence", "chat4all_presence", "presence-http", ("redis", "kafka"), grpc="presence-grpc"),
    ProcessSpec("file", "chat4all_file", "file-http", ("s3", "mongodb", "postgres", "kafka", "etcd"), grpc="file-grpc"),
    ProcessSpec("router", "chat4all_router", "router-http", ("kafka", "mongodb", "redis")),
    ProcessSpec("history", "chat4all_history", "history-http", ("kafka", "mongodb")),
    ProcessSpec(
        "websocket-gateway",
        "chat4all_websocket_gateway",
        "websocket-gateway-http",
        ("redis",),
        listeners=("websocket",),
        more={"CHAT4ALL_WEBSOCKET__PORT": "{port:websocket}"},
        stop_stage=StopStage.GATEWAY,
    ),
    ProcessSpec(
        "edge",
        "chat4all_api_gateway",
        "edge-admin",
        (),
        listeners=("edge",),
        health_path="/ready",
        more={
            "CHAT4ALL_EDGE__PORT": "{port:edge}",
            "CHAT4ALL_EDGE__ADMIN_PORT": "{port:edge-admin}",
            "CHAT4ALL_EDGE__CONFIG_DIR": "{state}/run/edge",
        },
        stop_stage=StopStage.EDGE,
    ),
    # A second router shows what happens when the first one dies; tests and demonstrations ask for it by name.
    ProcessSpec(
        "router-2",
        "chat4all_router",
        "router-2-http",
        ("kafka", "mongodb", "redis"),
        more={"CHAT4ALL_INSTANCE": "2"},
        optional=True,
    ),
)


class ChatProcess(Part):
    """A row brought to life.

    Args:
        settings: further environment variables; they win over everything else.
    """

    kind: Literal["engine", "process"] = "process"
    start_seconds = 60.0
    stop_seconds = 30.0  # longer than the hard stop the processes keep themselves (25 s)

    def __init__(self, spec: ProcessSpec, layout: Layout, ports: PortBlock, settings: Mapping[str, str]) -> None:
        self.spec = spec
        self.name = spec.name
        self.needs = spec.needs
        self.stop_stage = spec.stop_stage
        self.listeners = tuple(name for name in (*spec.listeners, spec.grpc, spec.health) if name)
        self._layout = layout
        self._ports = ports
        self._settings = settings

    def environment(self) -> dict[str, str]:
        """Everything this process is given; variables of the caller's shell come through where we do not set them."""
        own = {"CHAT4ALL_HTTP__PORT": str(self._ports.port(self.spec.health))} if self.spec.health_path != "/ready" else {}
        if self.spec.grpc:
            own["CHAT4ALL_GRPC__PORT"] = str(self._ports.port(self.spec.grpc))
        own |= {name: self._fill(value) for name, value in self.spec.more.items()}
        return {**os.environ, **connections(self._layout, self._ports), **own, **self._settings}

    def _fill(self, value: str) -> str:
        for listener in self.listeners:
            value = value.replace(f"{{port:{listener}}}", str(self._ports.port(listener)))
        return value.replace("{state}", str(self._layout.state))

    def prepare(self) -> Launch:
        """Nothing but the environment and the folders named in it."""
        environment = self.environment()
        for name in self.spec.more:
            if name.endswith("_DIR"):
                os.makedirs(environment[name], mode=0o700, exist_ok=True)
        return Launch([sys.executable, "-m", self.spec.module], environment, self._layout.state)

    def ready(self) -> str | None:
        """GET its health page; names what it says is missing."""
        try:
            call(self._ports.address(self.spec.health), self.spec.health_path)
        except urllib.error.HTTPError as error:
            with error:
                return _reasons(error.read(10_000))
        except OSError as error:
            return f"its health page does not answer: {getattr(error, 'reason', error)}"
        return None


def _reasons(body: bytes) -> str:
    try:
        reasons = json.loads(body)["reasons"]
        return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"it says it is not ready: {body.decode(errors='replace').strip()[:200]}"


def make_processes(layout: Layout, ports: PortBlock, settings: Mapping[str, Mapping[str, str]]) -> list[ChatProcess]:
    """One object per row; `settings` adds environment variables by process name."""
    return [ChatProcess(spec, layout, ports, settings.get(spec.name, {})) for spec in SPECS]
