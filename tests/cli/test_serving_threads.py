"""Serving keeps the algebra of the learner on one thread, and tells the processes of models nothing of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os
from podium.cli.serving import _load_numpy_for_one_thread
_load_numpy_for_one_thread()
import numpy as np
np.linalg.inv(np.eye(300))
print(len(os.listdir("/proc/self/task")), os.environ.get("OPENBLAS_NUM_THREADS"))
"""


def run(**environment: str) -> list[str]:
    env = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**env, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_numpy_has_one_thread_unless_the_environment_says_otherwise():
    assert run() == ["1", "None"]
    assert run(OPENBLAS_NUM_THREADS="2")[1] == "2"
