"""The demonstration as a user runs it, on the real model, from its first step to its last."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(400)
@pytest.mark.requirement("SWP-4", "SWP-2")
def test_the_demonstration_rolls_the_worse_version_back_and_promotes_the_better_one():
    environ = {name: value for name, value in os.environ.items() if name not in {"KEEP", "PORT"}}
    run = subprocess.run(
        [sys.executable, "scripts/demo.py"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=390,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert "rolled_back: smollm2@noisy is worse" in run.stdout
    assert "promoted: " in run.stdout
    assert "nothing was dropped" in run.stdout
    assert not [line for line in run.stdout.splitlines() if line.endswith("%: ")], "a step is told with its answers"
