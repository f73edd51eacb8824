#!/usr/bin/env python3
"""Whether the time of a refusal tells that the id of a guessed key exists: processor time of both kinds, side by side.

    key_refusals.py [--rounds 400] [--json]

One keeper of keys with a thousand of them; each round refuses twenty keys of either kind, in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from pathlib import Path

from podium.errors import Unauthenticated
from podium.runtime.clock import SystemClock
from podium.services.keys import PREFIX, Keys
from podium.store import open_store

KEYS, EACH = 1_000, 20


def took(keys: Keys, key: str) -> float:
    """Processor time of one refusal, in microseconds."""
    began = time.thread_time_ns()
    for _ in range(EACH):
        with contextlib.suppress(Unauthenticated):
            keys.principal(key)
    return (time.thread_time_ns() - began) / EACH / 1_000


async def measured(folder: Path, rounds: int) -> dict[str, float]:
    store = open_store(folder / "podium.db")
    keys = Keys(store, SystemClock())
    made = [(await keys.create(f"k{number}", "user", by="me"))[0] for number in range(KEYS)]
    near = [f"{PREFIX}{made[number % KEYS].id}_{'a' * 43}" for number in range(rounds)]
    far = f"{PREFIX}zzzzzzzz_{'a' * 43}"
    pairs = [(took(keys, key), took(keys, far)) for key in near]
    await store.close()
    gaps = [one - other for one, other in pairs]
    low, middle, high = statistics.quantiles(gaps)
    return {
        "id_exists_us": min(one for one, _ in pairs),
        "id_does_not_us": min(other for _, other in pairs),
        "difference_us": middle,
        "difference_low_us": low,
        "difference_high_us": high,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measured(Path(folder), options.rounds))
    if options.json:
        print(json.dumps(found))
        return
    print(f"id exists {found['id_exists_us']:.2f} us, does not {found['id_does_not_us']:.2f} us at least; difference")
    print(f"in the same round {found['difference_us']:+.2f} us (quartiles {found['difference_low_us']:+.2f} to "
          f"{found['difference_high_us']:+.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
