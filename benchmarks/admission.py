#!/usr/bin/env python3
"""What letting a request in costs: key, limits and budget, apart and together; and refused traffic beside accepted traffic.

    admission.py [--parts] [--whole] [--refused] [--keys 1000] [--rounds 5] [--json]

``--parts`` runs the code of the gateway in a loop (real store, real keys) and prints CPU per request. ``--whole`` runs four
real gateways, from one that is open to one with keys, limits and a budget for each key, and prints CPU per request of
each, one window after the other. ``--refused`` (refusing.py) floods a gateway with requests that it refuses, by keys and by
limits, beside accepted ones. Without any of the three all are run. Medians over rounds; Linux, gcc, two CPUs (see
data_plane.py).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from budgets import BODY, OUTCOME, VERSION, budget
from podium.core.limits import read_limits
from podium.domain.budget import EACH, Scope, Unit
from podium.domain.request import Endpoint
from podium.runtime.clock import SystemClock
from podium.server.browsers import Browsers
from podium.server.doorman import Doorman
from podium.server.rate_headers import openai_headers
from podium.services import wire
from podium.services.admission import Admission
from podium.services.budgeting import Budgeting
from podium.services.keys import Keys
from podium.services.limiting import Limiter
from podium.store import open_store
from podium.store.sqlite import SqliteStore
from processes import Process, cpu_s, free_port
from refusing import CHAT, refused

HERE = Path(__file__).resolve().parent
LOAD_CPU, GATEWAY_CPU = 0, 1
AMPLE = read_limits("1000M/min", "1000M/min", 10_000)
FILE_LIMITS = '[limits.user]\nrequests = "1000M/min"\ntokens = "1000M/min"\nconcurrency = 10000\n'
FILE_BUDGET = '[budgets.each]\nscope = "key"\nsubject = "*"\nunit = "tokens"\nlimit = 1e14\nperiod = "day"\n'


# ------------------------------------------------------------ the parts, in a loop


async def make_keys(folder: Path, count: int, limits: str = "") -> list[str]:
    """Secrets of that many keys, on record in ``folder``."""
    store = open_store(folder / "podium.db")
    keys = Keys(store, SystemClock())
    said = read_limits(*limits.split()) if limits else read_limits()
    made = await asyncio.gather(*(keys.create("bench", "user", by="bench", limits=said) for _ in range(count)))
    await store.close()
    return [secret for _, secret in made]


class Door:
    """A doorman with its keys, limits and budgets, on a store that is open."""

    def __init__(self, store: SqliteStore) -> None:
        clock, numbers = SystemClock(), itertools.count()
        self.keys = Keys(store, clock)
        self.doorman = Doorman(self.keys, Browsers(clock))
        self.doorman.limiter = Limiter(clock, {"user": AMPLE})
        self.budgeting = Budgeting(
            store=store, clock=clock, emit=lambda event: None, new_id=lambda: f"res_{next(numbers)}"
        )
        self.admission = Admission(self.budgeting)

    async def open(self, secrets: list[str]) -> None:
        """Ready for requests with these keys."""
        await self.keys.load()
        await self.budgeting.set(budget("each", Scope.KEY, EACH, Unit.TOKENS))
        self.headers = [{b"host": b"localhost", b"authorization": b"Bearer " + one.encode()} for one in secrets]
        self.principals = [self.keys.principal(one) for one in secrets]
        self.heads = [wire.parse(Endpoint.CHAT, BODY, request_id="r", caller=one.id) for one in self.principals]

    async def key(self, at: int) -> None:
        """Who is it."""
        self.doorman.admit(self.headers[at], b"", private=False)

    async def limits(self, at: int) -> None:
        """Requests, tokens and a place, and the headers that say so."""
        grant = self.doorman.grant(self.principals[at])
        assert grant is not None
        grant.enter()
        grant.take(80, 50, known=True)
        openai_headers(grant)
        grant.spent(110)
        grant.leave()

    async def budget(self, at: int) -> None:
        """One budget for each key."""
        held = await self.admission.admit(self.heads[at], "code", VERSION, "d")
        held.ended(OUTCOME, used=True)

    async def together(self, at: int) -> None:
        """As a request meets them."""
        principal = self.doorman.admit(self.headers[at], b"", private=False)
        grant = self.doorman.grant(principal)
        assert grant is not None
        grant.enter()
        grant.take(80, 50, known=True)
        held = await self.admission.admit(self.heads[at], "code", VERSION, "d")
        openai_headers(grant)
        held.ended(OUTCOME, used=True)
        grant.spent(110)
        grant.leave()

    async def loop(self, at: int) -> None:
        """What the loop itself takes."""


async def parts(folder: Path, count: int, rounds: int, requests: int = 5_000) -> dict[str, float]:
    """Microseconds of CPU per request: median and best round."""
    secrets = await make_keys(folder, count)
    store = open_store(folder / "podium.db")
    door = Door(store)
    await door.open(secrets)
    works = {
        "key": door.key,
        "limits, with headers": door.limits,
        "budget for each key": door.budget,
        "key, limits and budget": door.together,
        "(loop)": door.loop,
    }
    found: dict[str, list[float]] = {name: [] for name in works}
    places = [number % count for number in range(requests)]
    for _ in range(rounds):
        for name, work in works.items():
            gc.collect()
            began = time.process_time_ns()
            for at in places:
                await work(at)
            found[name].append((time.process_time_ns() - began) / requests / 1000)
    await store.close()
    made = {f"{name}, us": statistics.median(values) for name, values in found.items()}
    return made | {f"{name}, best, us": min(values) for name, values in found.items()}


# ------------------------------------------------------------ whole gateways


class Ground:
    """The mock upstream, the load generator, and the gateways that were started."""

    def __init__(self, folder: Path) -> None:
        for tool in ("mock", "load"):
            subprocess.run(["gcc", "-O2", "-o", str(folder / tool), str(HERE / f"{tool}.c")], check=True)
        self.folder = folder
        self.upstream = free_port()
        self.started = [Process("mock", f"{folder}/mock {self.upstream}", LOAD_CPU, folder)]
        self.started[0].wait_listening(self.upstream, 5)

    def gateway(self, name: str, file: str, keys: int, limits: str = "", spent: int = 1) -> tuple[Process, int, Path]:
        """One with that configuration and that many keys: its process, its port, the file of its keys.

        ``limits`` are those of ``spent`` keys more, listed in ``spent.txt`` beside it.
        """
        home = self.folder / name
        home.mkdir(mode=0o700)
        models = [f'[models.{one}]\nurl = "http://127.0.0.1:{self.upstream}/v1"\nremote = "{one}"' for one in MODELS]
        (home / "podium.toml").write_text("\n".join([*models, file]))
        listed = home / "keys.txt"
        listed.write_text("".join(f"{one}\n" for one in asyncio.run(make_keys(home, keys))) if keys else "none\n")
        if limits:
            made = asyncio.run(make_keys(home, spent, limits))
            (home / "spent.txt").write_text("".join(f"{one}\n" for one in made))
        port = free_port()
        command = f"{sys.executable} -m podium serve --port {port}"
        process = Process(name, command, GATEWAY_CPU, self.folder, {"PODIUM_HOME": str(home), "PYTHONPATH": SOURCE})
        self.started.append(process)
        process.wait_listening(port, 60)
        deadline = time.monotonic() + 30
        while (seen := self.load(port, listed, 1, 0.2))["bad_status"] or not seen["requests"]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} never answered 200; see {process.log}")
            time.sleep(0.2)  # between looks: a process that starts tells nobody when it answers
        return process, port, listed

    def begin(
        self, port: int, keys: Path, connections: int, seconds: float, model: str = "mock", rps: float = 0
    ) -> subprocess.Popen[str]:
        """Start the generator."""
        content = json.dumps({"model": model, "messages": [{"role": "user", "content": "Why is the sky blue?"}]})
        command = ["taskset", "-c", str(LOAD_CPU), str(self.folder / "load"), str(port), CHAT]
        command += [str(connections), str(seconds), content]
        environ = {**os.environ, "LOAD_KEYS": str(keys), **({"LOAD_RPS": str(rps)} if rps else {})}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)

    def load(
        self, port: int, keys: Path, connections: int, seconds: float, model: str = "mock", rps: float = 0
    ) -> dict:
        """Run it to its end."""
        return ended(self.begin(port, keys, connections, seconds, model, rps))

    def stop(self) -> None:
        """End what was started."""
        for process in reversed(self.started):
            process.stop()


MODELS = ("mock", "mock-d20")
SOURCE = str(HERE.parent / "src")


def ended(running: subprocess.Popen[str]) -> dict:
    """What it printed."""
    said, _ = running.communicate(timeout=120)
    result: dict = json.loads(said)
    return result


def whole(ground: Ground, keys: int, rounds: int) -> dict[str, float]:
    """Microseconds of CPU per request of gateways that let in ever more carefully."""
    kinds = {
        "open": ("", 0),
        "keys": ("", keys),
        "keys, limits": (FILE_LIMITS, keys),
        "keys, limits, budget": (FILE_LIMITS + FILE_BUDGET, keys),
    }
    running = {name: ground.gateway(f"g{number}", *kind) for number, (name, kind) in enumerate(kinds.items())}
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds + 1):
        for name, (process, port, listed) in running.items():
            before = cpu_s(process.pid)
            result = ground.load(port, listed, 16, 1.0)
            assert not result["bad_status"], (name, result)
            found[name].append((cpu_s(process.pid) - before) / result["requests"] * 1e6)
    for process, _, _ in running.values():
        process.stop()
    made = {f"{name}, us": statistics.median(values[1:]) for name, values in found.items()}  # the first warms up
    made |= {f"{name}, best, us": min(values[1:]) for name, values in found.items()}
    return made


def run(folder: Path, wanted: set[str], keys: int, rounds: int) -> dict[str, object]:
    """What is wanted, by name."""
    found: dict[str, object] = {}
    if "parts" in wanted:
        (folder / "parts").mkdir()
        found["parts"] = asyncio.run(parts(folder / "parts", keys, rounds))
    if wanted & {"whole", "refused"}:
        ground = Ground(folder)
        try:
            if "whole" in wanted:
                found["whole"] = whole(ground, keys, rounds)
            if "refused" in wanted:
                found["refused"] = refused(ground, FILE_LIMITS + FILE_BUDGET, keys, rounds, LOAD_CPU)
        finally:
            ground.stop()
    return found


def table(values: object) -> str:
    """As people read it."""
    lines: list[str] = []
    if isinstance(values, dict):
        lines = [f"  {name:40s} {value:9.2f}" for name, value in values.items()]
    elif isinstance(values, list):
        for row in values:
            lines.append("  ".join(f"{key} {one:.3g}" if isinstance(one, float) else one for key, one in row.items()))
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = ("parts", "whole", "refused")
    for name in (*kinds, "json"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--keys", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    wanted = {name for name in kinds if getattr(given, name)} or set(kinds)
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), wanted, given.keys, given.rounds)
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for title, values in found.items():
        sys.stdout.write(f"{title}\n{table(values)}\n")


if __name__ == "__main__":
    main()
