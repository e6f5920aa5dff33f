"""Everything that can be said about the code without running it. Needs the `dev` extra. Called by `make check`.

Formatting and lint (ruff), types (mypy --strict), import rules (import-linter), contracts (buf lint, buf breaking against the
last commit of main, generated code up to date), the edge's configuration (envoy --mode validate).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def packages() -> list[str]:
    """The import names of our own packages, from the packaging list."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = document["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return [Path(folder).name for folder in folders if not folder.startswith("proto/")]


def run(name: str, command: list[str], folder: Path = ROOT) -> bool:
    """Run one check and tell how it went."""
    started = time.monotonic()
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    good = result.returncode == 0
    print(f"{'ok  ' if good else 'FAIL'} {name} ({time.monotonic() - started:.1f} s)", flush=True)
    if not good:
        print(result.stdout[-6000:] + result.stderr[-6000:], flush=True)
    return good


def workspace(folder: Path, source: Path) -> None:
    """A buf workspace: our contracts and the Google ones they import, which come with a Python package."""
    shutil.copytree(source / "chat4all", folder / "proto" / "chat4all")
    google = Path(sysconfig.get_paths()["purelib"]) / "google"
    for name in ("api/annotations", "api/http", "rpc/status"):
        target = folder / "google" / "google" / f"{name}.proto"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(google / f"{name}.proto", target)
    shutil.copy(source / "buf.yaml", folder / "buf.yaml")


def check_contracts() -> bool:
    """Lint the contracts, and compare them with the last commit: within v1 only additions are allowed."""
    with tempfile.TemporaryDirectory() as now, tempfile.TemporaryDirectory() as before:
        workspace(Path(now), ROOT / "proto")
        good = run("buf lint", [str(BIN / "buf"), "lint", "proto"], Path(now))
        archive = subprocess.run(["git", "archive", "HEAD", "proto"], cwd=ROOT, capture_output=True)
        if archive.returncode != 0:
            print("skip buf breaking: there is no earlier commit to compare with")
            return good
        subprocess.run(["tar", "x", "-C", before], input=archive.stdout, check=True)
        workspace(Path(before) / "workspace", Path(before) / "proto")
        return run("buf breaking", [str(BIN / "buf"), "breaking", "--against", f"{before}/workspace"], Path(now)) and good


def main() -> int:
    """Run every check, all of them even when one fails."""
    python = sys.executable
    checks = [
        run("ruff format", [str(BIN / "ruff"), "format", "--check", "."]),
        run("ruff check", [str(BIN / "ruff"), "check", "."]),
        run("mypy", [str(BIN / "mypy"), *(part for name in packages() for part in ("-p", name))]),
        run("import-linter", [str(BIN / "lint-imports")]),
        run("generated code", [python, "scripts/gen_proto.py", "--check"]),
        check_contracts(),
        run("edge configuration", [python, "-m", "chat4all_api_gateway", "--validate"]),
    ]
    return 0 if all(checks) else 1


if __name__ == "__main__":
    sys.exit(main())
