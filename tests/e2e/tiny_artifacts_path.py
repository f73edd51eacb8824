"""Where the artifacts' environment is, and the models it makes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def interpreter() -> Path:
    """Fails, and does not skip: these tests were asked for."""
    found = Path(os.environ.get("PODIUM_ARTIFACTS_PYTHON", ROOT / ".artifacts" / "bin" / "python"))
    if not found.is_file():
        pytest.fail(f"{found} is not there; run `make artifacts` (5 GB), which `make test-slow` does")
    return found


def make(python: Path, folder: Path) -> Path:
    """Run ``tiny_artifacts.py``; the folder with the models."""
    done = subprocess.run(
        [python, Path(__file__).with_name("tiny_artifacts.py"), folder],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder
