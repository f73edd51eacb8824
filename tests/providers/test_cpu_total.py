"""CPU time of processes that come and go: never back, never twice."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from podium.providers.cpu_total import CpuTotal
from podium.providers.usage import ProcessTree


def test_a_child_that_ends_is_not_counted_again_when_its_parent_collects_it() -> None:
    total = CpuTotal()
    assert total.read({1: (5.0, 0.0), 2: (3.0, 0.0)}) == 8.0
    assert total.read({1: (6.0, 0.0)}) == 9.0  # it ended and nobody has collected it
    assert total.read({1: (6.0, 3.5)}) == pytest.approx(9.5)  # half a second of it nobody had seen
    assert total.read({1: (6.0, 5.0)}) == pytest.approx(11.0)  # another child nobody ever saw


def test_a_number_that_is_used_again_is_another_process() -> None:
    total = CpuTotal()
    total.read({1: (5.0, 0.0), 2: (3.0, 0.0)})
    assert total.read({1: (5.0, 0.0), 2: (1.0, 0.0)}) == 9.0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.requirement("COST-1")
def test_grandchildren_that_come_and_go_between_two_looks_are_counted() -> None:
    burn = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.15: pass"
    script = (
        "import subprocess, sys\n"
        f"for _ in range(3): subprocess.run([sys.executable, '-c', {burn!r}], check=True)\n"
        "print('done', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        tree = ProcessTree(child.pid)
        seen = [tree.usage()]
        assert child.stdout is not None
        deadline = time.monotonic() + 30
        child.stdout.readline()
        while time.monotonic() < deadline and len(seen) < 5:
            seen.append(tree.usage())
        total = [usage.cpu_s for usage in seen if usage is not None]
        assert total == sorted(total)
        assert 0.45 <= total[-1] < 3.0
        assert child.stdin is not None
        child.stdin.close()
        child.wait(timeout=30)
