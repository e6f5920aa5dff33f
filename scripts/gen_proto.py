"""Generate the Python code of the contracts in `proto/` into `proto/gen/python/`, and the descriptor set the edge transcodes by.

Needs the `dev` extra (pinned grpcio-tools and mypy-protobuf). `--check` writes to a temporary folder, compares with what
is committed and exits 1 on a difference. Called by `make proto` and `make check`.
"""

from __future__ import annotations

import argparse
import filecmp
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
GENERATED = PROTO / "gen" / "python"
# A package file, so that the edge finds it without the development tools.
DESCRIPTOR = ROOT / "api-gateway" / "src" / "chat4all_api_gateway" / "chat4all.binpb"
# Not imported by every contract, but errors carry them: without them Envoy answers an error with details by an empty body.
ERROR_CONTRACTS = ["google/rpc/error_details.proto", "google/rpc/status.proto"]


def contracts() -> list[str]:
    """Every contract, relative to `proto/`, in a fixed order."""
    return sorted(str(path.relative_to(PROTO)) for path in (PROTO / "chat4all").rglob("*.proto"))


def describe(target: Path) -> None:
    """Write the descriptor set of every contract and all it imports, without comments.

    Raises:
        subprocess.CalledProcessError: a contract does not compile; protoc has printed why.
    """
    command = [
        sys.executable, "-m", "grpc_tools.protoc",
        f"-I{PROTO}", f"-I{sysconfig.get_paths()['purelib']}",
        "--include_imports", f"--descriptor_set_out={target}",
        *contracts(), *ERROR_CONTRACTS,
    ]  # fmt: skip
    subprocess.run(command, check=True)


def generate(target: Path) -> None:
    """Run protoc over every contract and make each folder a typed package.

    Raises:
        subprocess.CalledProcessError: a contract does not compile; protoc has printed why.
    """
    target.mkdir(parents=True, exist_ok=True)
    plugin = Path(sys.executable).parent / "protoc-gen-mypy_grpc"
    command = [
        sys.executable, "-m", "grpc_tools.protoc",
        f"-I{PROTO}", f"-I{sysconfig.get_paths()['purelib']}",
        f"--plugin=protoc-gen-mypy_grpc={plugin}",
        f"--python_out={target}", f"--pyi_out={target}", f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}",
        *contracts(),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    package = target / "chat4all"
    (package / "py.typed").write_text("")
    for folder in [package, *(path for path in package.rglob("*") if path.is_dir() and path.name != "__pycache__")]:
        (folder / "__init__.py").write_text("")
    for stub in package.rglob("*_pb2_grpc.py*"):
        if "Servicer" not in stub.read_text():
            stub.unlink()  # a file without a service has nothing to serve


def tree(folder: Path) -> set[str]:
    """Relative names of the generated files in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def main() -> int:
    """Generate, or compare with `--check`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when the committed code is out of date")
    if not parser.parse_args().check:
        generate(GENERATED)
        describe(DESCRIPTOR)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        names = tree(Path(folder)) | tree(GENERATED)
        _, different, missing = filecmp.cmpfiles(folder, GENERATED, sorted(names), shallow=False)
    with tempfile.TemporaryDirectory() as folder:
        describe(Path(folder) / DESCRIPTOR.name)
        if not DESCRIPTOR.exists() or (Path(folder) / DESCRIPTOR.name).read_bytes() != DESCRIPTOR.read_bytes():
            different.append(str(DESCRIPTOR.relative_to(ROOT)))
    if different or missing:
        print("generated code is out of date, run `make proto`:", *different, *missing, sep="\n  ")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
