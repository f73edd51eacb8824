"""Refused traffic beside accepted traffic: how much of it is offered, how much is answered, and what the accepted loses.

The flood is open-loop (flood.c): requests are due at a rate, whatever became of those before. Accepted traffic runs in two
ways: as fast as sixteen connections can, which shows throughput, and 200 a second, which shows latency. Generators and
upstream are on one CPU, the gateway is on the other. "generator" is the same flood sent to the upstream: what the machine
itself loses to it. Before the accepted traffic begins the flood is alone for a second: "flood_cpu" is the share of a
processor that the gateway spends on it then, a figure that other programs on the machine change little.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any, Protocol

from processes import cpu_s

HERE = Path(__file__).resolve().parent
CHAT = "/v1/chat/completions"
CONTENT = json.dumps({"model": "mock", "messages": [{"role": "user", "content": "Why is the sky blue?"}]})
CONNECTIONS, RPS = 64, 10_000
ACCEPTED = {"as fast as it can": 0.0, "200/s": 200.0}
FLOODS = {  # name: which keys, whether each request comes on a connection of its own
    "nothing": (None, False),
    "generator": ("keys.txt", False),
    "one bad key": ("bad.txt", False),
    "guessed keys": ("guessed.txt", False),
    "guessed keys, a connection each": ("guessed.txt", True),
    "one key over its limit": ("over.txt", False),
    "1,000 keys over their limits": ("spent.txt", False),
}


class Ground(Protocol):
    """The part of ``admission.Ground`` that is used here."""

    folder: Path
    upstream: int

    def gateway(self, name: str, file: str, keys: int, limits: str = "", spent: int = 1) -> tuple[Any, int, Path]: ...

    def load(
        self, port: int, keys: Path, connections: int, seconds: float, model: str = "mock", rps: float = 0
    ) -> dict[str, Any]: ...


def flood(ground: Ground, port: int, keys: Path, seconds: float, cpu: int, *, once: bool) -> subprocess.Popen[str]:
    """Start it."""
    command = ["taskset", "-c", str(cpu), str(ground.folder / "flood"), str(port), CHAT]
    command += [str(CONNECTIONS), str(seconds), str(RPS), CONTENT]
    environ = {**os.environ, "LOAD_KEYS": str(keys), **({"LOAD_ONCE": "1"} if once else {})}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)


def refused(ground: Ground, file: str, keys: int, rounds: int, cpu: int, seconds: float = 2.0) -> list[dict[str, Any]]:
    """Medians over rounds, by kind of accepted traffic and of flood; every round has all of them."""
    subprocess.run(["gcc", "-O2", "-o", str(ground.folder / "flood"), str(HERE / "flood.c")], check=True)
    process, port, good = ground.gateway("refusing", file, keys, limits="1/day none none", spent=keys)
    spent = good.with_name("spent.txt")
    listed = spent.read_text().split()
    good.with_name("over.txt").write_text(f"{listed[0]}\n")
    good.with_name("bad.txt").write_text(f"{good.read_text()[:20]}{0:032x}\n")
    guessed = (f"{line[:4]}{number:08x}_{number:032x}\n" for number, line in enumerate(listed * 20))
    good.with_name("guessed.txt").write_text("".join(guessed))
    for _ in range(10):
        seen = ground.load(port, spent, 16, 3.0)
        if seen["bad_status"] == seen["requests"]:
            break  # every one of them has used what it had
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for accepted, rate in ACCEPTED.items():
        for _ in range(rounds):
            for name, (which, once) in FLOODS.items():
                target = ground.upstream if name == "generator" else port
                other = None
                if which is not None:
                    other = flood(ground, target, good.with_name(which), seconds + 2.4, cpu, once=once)
                time.sleep(1.2)  # the flood has become what it will be
                before, began = cpu_s(process.pid), time.monotonic()
                time.sleep(1.0)  # so long the flood alone is measured
                alone = (cpu_s(process.pid) - before) / (time.monotonic() - began)
                row = ground.load(port, good, 16, seconds, "mock", rate)
                assert not row["bad_status"], row
                row["flood"] = {} if other is None else json.loads(other.communicate(timeout=120)[0])
                row["flood"]["cpu"] = alone
                rows.setdefault((accepted, name), []).append(row)
    return [_row(accepted, name, seen, rows[accepted, "nothing"]) for (accepted, name), seen in rows.items()]


def _row(accepted: str, name: str, seen: list[dict[str, Any]], calm: list[dict[str, Any]]) -> dict[str, Any]:
    def middle(*path: str) -> float:
        found = []
        for one in seen:
            value: Any = one
            for key in path:
                value = value.get(key, 0.0)
            found.append(float(value))
        return statistics.median(found)

    made: dict[str, Any] = {"accepted": accepted, "beside": name, "rps": middle("rps")}
    made["share"] = statistics.median(one["rps"] / quiet["rps"] for one, quiet in zip(seen, calm, strict=True))
    for quantile in ("p50", "p99"):
        made[f"{quantile}_ms"] = middle("latency", quantile) / 1000
        made[f"{quantile}_ratio"] = statistics.median(
            one["latency"][quantile] / quiet["latency"][quantile] for one, quiet in zip(seen, calm, strict=True)
        )
    made["flood_cpu"] = middle("flood", "cpu")
    return made | {f"flood_{what}_rps": middle("flood", what) for what in ("offered", "sent", "refused")}
