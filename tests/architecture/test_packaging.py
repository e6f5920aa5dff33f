"""The folders, the packaging list and the commands agree, and every deployable says what it is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEEL = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
EDITABLE = set(PROJECT["tool"]["hatch"]["build"]["dev-mode-dirs"])
FOLDERS = sorted(path for pattern in ("*/src/chat4all_*", "*/*/src/chat4all_*") for path in ROOT.glob(pattern) if path.is_dir())
DEPLOYABLES = [folder for folder in FOLDERS if folder.name not in ("chat4all_runtime", "chat4all_native", "chat4all_cli")]


def test_no_folder_is_forgotten() -> None:
    """Each package is in the wheel, in the editable install and in the import rules."""
    found = {str(folder.relative_to(ROOT)) for folder in FOLDERS}
    assert {name for name in WHEEL if not name.startswith("proto/")} == found
    assert {name for name in EDITABLE if not name.startswith("proto/")} == {str(Path(name).parent) for name in found}
    assert set(PROJECT["tool"]["importlinter"]["root_packages"]) == {"chat4all", *(folder.name for folder in FOLDERS)}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_package_is_typed_and_explained(folder: Path) -> None:
    """py.typed for those who use it, a README beside it for those who run or change it."""
    assert (folder / "py.typed").exists()
    assert (folder.parent.parent / "README.md").exists()


@pytest.mark.parametrize("folder", DEPLOYABLES, ids=lambda folder: folder.name)
def test_a_deployable_has_a_command(folder: Path) -> None:
    """One command per process, and `python -m`."""
    modules = {target.split(".")[0] for target in PROJECT["project"]["scripts"].values()}
    assert folder.name in modules
    assert (folder / "__main__.py").exists()


@pytest.mark.parametrize(
    "name",
    ["proto", "services", "workers", "connectors", "websocket-gateway", "api-gateway", "infrastructure", "monitoring", "scripts", "runtime",
     "frontend", "tests", "bench", "docs"],
)  # fmt: skip
def test_the_top_level_is_whole(name: str) -> None:
    """The house has all its rooms."""
    assert (ROOT / name).is_dir()


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda lock: lock.name)
def test_a_lock_names_no_registry(lock: Path) -> None:
    """Exact versions with hashes, from whichever mirror a machine uses."""
    text = lock.read_text()
    assert "--hash=sha256:" in text
    assert "index-url" not in text
    assert " @ http" not in text
