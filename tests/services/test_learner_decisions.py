"""A decision stays quick while the learner learns, with everything a gateway has under way beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.requirement("SEL-7")
def test_ninety_nine_of_a_hundred_decisions_take_at_most_100_us_with_100_versions_and_100_tasks() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "decision.py"
    arguments = [sys.executable, str(script), "--json", "--seconds", "1.5"]
    tried = []
    for _ in range(4):  # processor time, and the best of four: what else the machine does is not meant
        done = subprocess.run(
            arguments,
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        result = json.loads(done.stdout)
        assert result["learned_decision_us"]["n"] >= 1_000
        assert result["state"]["bytes_per_pair"] <= 1_024
        tried.append((result["decision_us"]["p99"], result["learned_decision_cpu_us"]["p99"]))
        if max(tried[-1]) <= 100.0:
            return
    pytest.fail(f"99 % quantiles of the presets and the learned strategy, microseconds: {tried}")
