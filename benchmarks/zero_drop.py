"""Nothing may be dropped: streams, swaps and evictions all the time, with more models than memory.

    python benchmarks/zero_drop.py --json                                   # 20,000 requests, 500 swaps, scripted
    python benchmarks/zero_drop.py --model FILE.gguf --requests 200 --swaps 20
    python benchmarks/zero_drop.py --url http://127.0.0.1:8080 --models a,b,c --fit 1 --start-command 'llama-swap …'

Clients stream again and again, half of them to a task, half to a model of their own choice among ``--models`` of
which only ``--fit`` are in memory together. Meanwhile every task is swapped from model to model without pause, and
models are unloaded by order. Every answer is checked word for word (``zero_drop_load.judge``). A server that is not
ours has no tasks: there all clients choose models, and what moves is what it loads and unloads itself. README.md
says how to run it against llama-swap and llama.cpp's router, and what ``added_wait`` and ``thrash`` mean.

Exit status 1 when anything failed, was cut, came from the wrong model, was shed, or was left behind in a queue.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from pathlib import Path

import uvloop

from zero_drop_fleet import (
    PROMPTS,
    Json,
    Server,
    Timing,
    command,
    prepare,
    read_expected,
    start_peer,
    start_podium,
    wait_ready,
    write_scripts,
)
from zero_drop_run import Run

SCRIPTED_MB = 100
REAL_PROMPTS = tuple(f"Write a short sentence about the number {number}." for number in range(16))


async def register(
    server: Server, folder: Path, names: list[str], options: argparse.Namespace, each_mb: float = 0.0
) -> None:
    """Our own server's models: scripts in the gateway, scripts as processes, or one GGUF with several settings."""
    for number, name in enumerate(names):
        if options.model is not None:
            settings = {"context": 512 + 64 * number, "slots": options.slots, "threads": 1, "seed": number}
            source = {"provider": "llamacpp", "location": str(options.model.resolve()), "settings": settings}
        elif options.processes:
            settings = {"remote": name, "concurrency": options.concurrency, "memory_mb": each_mb}
            source = {"provider": "command", "location": command(folder, name), "settings": settings}
        else:
            source = {"provider": "scripted", "location": str(folder / f"{name}.json")}
        body = {"name": name, "version": "1", "source": source, "activate": True}
        await server.order("POST", "/api/v1/models", body)


async def real_size_mb(folder: Path, options: argparse.Namespace) -> float:
    """What one instance is counted as: the larger of what it uses and, for a GGUF file, the file with its overhead."""
    server = start_podium(folder / "probe", 1_000_000)
    try:
        await wait_ready(server)
        await register(server, folder, ["m0"], options)
        await server.order("POST", "/api/v1/instances", {"ref": "m0@1"})
        (row,) = (await server.order("GET", "/api/v1/instances"))["instances"]
        estimate = options.model.stat().st_size / 1048576 + 110 if options.model is not None else 0.0
        return max(float(row["memory_mb"]), estimate)
    finally:
        server.stop()


async def measure(options: argparse.Namespace, folder: Path) -> Json:
    timing = Timing(load_ms=options.load_ms, concurrency=options.concurrency)
    if options.url:
        names = options.models.split(",")
        expected = read_expected(options.expect, names) if options.expect else None
        prompts = PROMPTS if expected else REAL_PROMPTS
        server = start_peer(options.url, options.start_command, folder)
        run = Run(server, names, options, expected, prompts, ours=False)
        try:
            return await run.go()
        finally:
            server.stop()
    plain = [f"m{number}" for number in range(int(options.models))]
    names = [f"{name}@1" for name in plain]
    write_scripts(folder, plain, timing, SCRIPTED_MB)
    measured = options.model is not None or options.processes
    each_mb = await real_size_mb(folder, options) if measured else SCRIPTED_MB
    expected = None if options.model else {f"{k}@1": v for k, v in read_expected(folder, plain).items()}
    server = start_podium(folder / "home", round(each_mb * (options.fit + 0.5)), options.pool)
    try:
        await wait_ready(server)
        await register(server, folder, plain, options, each_mb)
        prompts = PROMPTS if expected else REAL_PROMPTS
        return await Run(server, names, options, expected, prompts, ours=True).go()
    finally:
        server.stop()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_argument_group("size")
    size.add_argument("--requests", type=int, default=20_000)
    size.add_argument("--swaps", type=int, default=500, help="task swaps and evictions together")
    size.add_argument("--clients", type=int, default=64)
    size.add_argument("--models", default="6", help="how many; with --url their names, comma separated")
    size.add_argument("--fit", type=int, default=2, help="how many of them are in memory together")
    size.add_argument("--limit-s", type=float, default=900.0, help="end after this time, whatever was reached")
    load = parser.add_argument_group("load")
    load.add_argument("--seed", type=int, default=1)
    load.add_argument("--tasks", type=int, default=2)
    load.add_argument("--task-share", type=float, default=0.5, help="part of the requests that name a task")
    load.add_argument("--swap-pause-s", type=float, default=0.1, help="mean pause between two swaps of a task")
    load.add_argument("--unload-every-s", type=float, default=2.0, help="mean pause between orders to unload; 0: none")
    load.add_argument("--load-ms", type=float, default=40.0, help="what a scripted model takes to load")
    load.add_argument("--concurrency", type=int, default=32, help="requests a scripted model works on in parallel")
    load.add_argument("--timeout-s", type=float, default=120.0, help="a request that takes longer has failed")
    load.add_argument("--max-wait-s", type=float, default=5.0, help="longest wait the minimum of loads may use")
    load.add_argument("--max-tokens", type=int, help="only with real models; default 16 with --model")
    what = parser.add_argument_group("what runs")
    what.add_argument("--model", type=Path, help="a GGUF file; the models are this file with different settings")
    what.add_argument("--slots", type=int, default=2, help="with --model: requests one instance works on in parallel")
    what.add_argument("--processes", action="store_true", help="scripted models as child processes, as peers run them")
    what.add_argument("--pool", default="", help="further lines of the [pool] table of podium.toml")
    what.add_argument("--url", help="a server that runs elsewhere, or is started by --start-command")
    what.add_argument("--start-command", help="with --url: command line that starts it; ended after the run")
    what.add_argument("--expect", type=Path, help="with --url: folder of --prepare, to check words")
    what.add_argument("--loads-log", type=Path, help="with --url: file that grows by a line with every load")
    what.add_argument("--prepare", type=Path, help="write scripts and a llama-swap.yaml into this folder, and end")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.model is not None and options.max_tokens is None:
        options.max_tokens = 16
    if options.url and options.models.isdigit():
        parser.error("--url needs --models with the names of its models, comma separated")
    if options.url and options.start_command is None and options.limit_s <= 0:
        parser.error("--limit-s must be over 0")
    return options


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that our children end too
    if options.prepare is not None:
        names = [f"m{number}" for number in range(int(options.models))]
        prepare(options.prepare.resolve(), names, Timing(load_ms=options.load_ms, concurrency=options.concurrency))
        print(f"wrote {', '.join(names)} and llama-swap.yaml into {options.prepare}")
        return 0
    with (
        tempfile.TemporaryDirectory(prefix="podium-zero-drop-") as name,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(measure(options, Path(name)))
    if options.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            print(f"{key:20} {value}")
    bad = sum(found[key] or 0 for key in ("failed", "cut", "wrong_model", "shed", "left_behind"))
    return 1 if bad or not found["reached"] else 0


if __name__ == "__main__":
    sys.exit(main())
