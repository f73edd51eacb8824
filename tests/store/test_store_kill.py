"""kill -9 at random moments: what was acknowledged is there afterwards."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from podium.store import open_store

CHILD = """
import asyncio, pathlib, sys
sys.path.insert(0, sys.argv[2])
from ledger_samples import attempt, version
from podium.ports import Batch
from podium.store import open_store

async def main():
    store = open_store(pathlib.Path(sys.argv[1]))
    run = sys.argv[3]
    number = 0
    while True:
        numbers = range(number, number + 8)
        await asyncio.gather(
            *(store.write_batch(Batch(decisions=(attempt(f"{run}-{n}"),))) for n in numbers),
            store.add_version(version(number=f"{run}-{number}"), "child"),
        )
        print(f"{run}-{number}", *(f"{run}-{n}" for n in numbers), flush=True)
        number += 8

asyncio.run(main())
"""


@pytest.mark.requirement("LRN-4")
@pytest.mark.no_cover
def test_whatever_was_acknowledged_survives_twenty_kills(tmp_path: Path) -> None:
    path, rng = tmp_path / "podium.db", random.Random(7)
    asyncio.run(open_store(path).close())
    decisions, versions = set(), set()
    for run in range(20):
        command = [sys.executable, "-c", CHILD, str(path), str(Path(__file__).parents[1]), str(run)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline()]
            deadline = time.monotonic() + rng.uniform(0.0, 0.15)
            while time.monotonic() < deadline:
                lines.append(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.read().splitlines(keepends=True)
        whole = [line.split() for line in lines if line.endswith("\n")]
        versions |= {f"smol@{words[0]}" for words in whole}
        decisions |= {f"dec-{word}" for words in whole for word in words[1:]}
    kept, found = asyncio.run(_read(path, decisions))
    assert len(decisions) > 200
    assert versions <= kept
    assert all(found)


async def _read(path: Path, decisions: set[str]) -> tuple[set[str], list[object]]:
    store = open_store(path)
    assert store.warnings == ()
    kept = {version.ref for version in (await store.load()).versions}
    found = await asyncio.gather(*(store.find_decisions(f"req-{item.removeprefix('dec-')}") for item in decisions))
    await store.close()
    return kept, list(found)
