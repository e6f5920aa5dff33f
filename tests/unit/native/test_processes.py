"""The list of Chat4All processes and what each is given."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from chat4all_native import ENGINES, PROCESSES, Stack
from chat4all_native.layout import checkout
from chat4all_native.parts import StopStage
from chat4all_native.ports import OFFSETS
from chat4all_native.processes import SPECS


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(
        tmp_path / "state",
        9000,
        settings={"CHAT4ALL_LOG__LEVEL": "DEBUG", "CHAT4ALL_GRPC__GRACE_SECONDS": "1"},
        overrides={"message": {"CHAT4ALL_LOG__LEVEL": "ERROR"}},
        cache_dir=tmp_path / "cache",
    )


def test_every_process_of_the_project_is_in_the_list() -> None:
    """A process with a command in pyproject.toml is started by `chat4all up` too."""
    scripts = tomllib.loads((checkout() / "pyproject.toml").read_text())["project"]["scripts"]
    assert {f"chat4all-{name}" for name in PROCESSES} == set(scripts) - {"chat4all"}
    assert {spec.module for spec in SPECS} == {target.split(".")[0] for name, target in scripts.items() if name != "chat4all"}


def test_listeners_are_not_shared_and_needs_exist() -> None:
    """No two processes want the same port; nothing waits for what is never started."""
    listeners = [name for spec in SPECS for name in (*spec.listeners, spec.grpc, spec.health) if name]
    assert len(listeners) == len(set(listeners))
    assert set(listeners) <= set(OFFSETS)
    assert all(need in (*ENGINES, *PROCESSES) for spec in SPECS for need in spec.needs)


def test_a_process_is_told_where_everything_is(stack: Stack) -> None:
    """Own listeners, engines, the other processes and the key set."""
    environment = stack.environment("auth")
    assert environment["CHAT4ALL_GRPC__PORT"] == "9003"
    assert environment["CHAT4ALL_HTTP__PORT"] == "9004"
    assert environment["CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS"] == "127.0.0.1:9020"
    assert environment["CHAT4ALL_MESSAGE__TARGET"] == "127.0.0.1:9007"
    assert environment["CHAT4ALL_TOKENS__JWKS_URL"] == "http://127.0.0.1:9004/.well-known/jwks.json"
    assert environment["CHAT4ALL_AUTH__KEYS_DIR"].endswith("/state/secrets/auth-keys")
    assert "CHAT4ALL_AUTH__KEYS_DIR" not in stack.environment("message")


def test_the_edge_is_told_its_ports(stack: Stack) -> None:
    """Envoy listens where the block says, its admin page included."""
    environment = stack.environment("edge")
    assert environment["CHAT4ALL_EDGE__PORT"] == "9000"
    assert environment["CHAT4ALL_EDGE__ADMIN_PORT"] == "9002"
    assert environment["CHAT4ALL_WEBSOCKET__TARGET"] == "127.0.0.1:9001"
    assert environment["CHAT4ALL_EDGE__CONFIG_DIR"].endswith("/state/run/edge")


def test_settings_for_one_process_win_over_those_for_all(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell's own variables come through, but never redirect a copy to other engines."""
    monkeypatch.setenv("CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS", "elsewhere:9092")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    message, router = stack.environment("message"), stack.environment("router")
    assert (message["CHAT4ALL_LOG__LEVEL"], router["CHAT4ALL_LOG__LEVEL"]) == ("ERROR", "DEBUG")
    assert message["CHAT4ALL_GRPC__GRACE_SECONDS"] == "1"
    assert router["CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS"] == "127.0.0.1:9020"
    assert router["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:4317"


def test_the_end_begins_at_the_edge_and_ends_with_kafka() -> None:
    """Nothing is stopped while something in front of it still takes work."""
    assert list(StopStage) == [StopStage.EDGE, StopStage.GATEWAY, StopStage.SERVICE, StopStage.ENGINE, StopStage.LOG]


def test_the_second_router_is_optional(stack: Stack) -> None:
    """It is there for tests that kill the first, and starts only by name."""
    assert "router-2" not in PROCESSES
    assert stack.environment("router-2")["CHAT4ALL_INSTANCE"] == "2"
    assert stack.environment("router-2")["CHAT4ALL_HTTP__PORT"] == "9016"
