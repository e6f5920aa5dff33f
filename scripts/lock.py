"""Pin every dependency with hashes into `requirements/`, without a registry address.

Needs `uv` on the PATH (`pip install uv`). Called by `make lock` after a change of dependencies in pyproject.toml.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {"base": [], "engines": ["engines"], "dev": ["engines", "dev"]}


def main() -> int:
    """Write the three locks: what processes need, plus the engines, plus the tools."""
    for name, extras in LOCKS.items():
        command = ["uv", "pip", "compile", "--quiet", "pyproject.toml", "--python-version", "3.11", "--generate-hashes"]
        command += ["--no-emit-index-url", "--no-header", "-o", f"requirements/{name}.txt"]
        for extra in extras:
            command += ["--extra", extra]
        subprocess.run(command, cwd=ROOT, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
