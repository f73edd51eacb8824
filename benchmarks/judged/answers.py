"""Phase one: answers of real models to the shipped suites, with the grade each earned; kept in a file, one line each.

Goes on where it stopped. The models take turns item by item and suites alternate, so that an early stop leaves every model
the same items. The versions of the small model are real ones: the file as it is, the same with a system prompt, the same
sampled warm, and the same with noise on its weights.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from pathlib import Path
from types import MappingProxyType

from podium import Podium
from podium.config import Config
from podium.domain.benchmark import Item, Suite
from podium.domain.model import Source
from podium.runtime import Gateway
from podium.sandbox import Sandbox
from podium.services.grading import grade
from podium.services.onboarding import Registration
from podium.suites import SuiteLibrary

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from demo_model import worsen

NOISE = 0.15
TERSE = "You answer as briefly as possible: only what was asked for, no explanation."
SUITES = ("classification", "extraction", "question-answering", "coding")
BRIEF = 96
"""Tokens of an answer at most; a small model that has not finished a small function by then does not."""


@dataclass(frozen=True)
class Answer:
    """What one model said to one item, and the grade the suite gives it."""

    suite: str
    task: str
    item: str
    model: str
    prompt: str
    output: str
    finish: str | None
    truth: float
    latency_ms: float


def read(path: Path) -> list[Answer]:
    """All answers of a file; a line that a kill cut off is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(Answer(**json.loads(line)))
        except (json.JSONDecodeError, TypeError):
            print(f"{path}: one line is cut off and left out", file=sys.stderr)
    return found


def whole(answers: Iterable[Answer]) -> list[list[Answer]]:
    """By item, the answers of all models in one order; items that not every model has answered are left out."""
    by: dict[tuple[str, str], dict[str, Answer]] = {}
    for one in answers:
        by.setdefault((one.suite, one.item), {})[one.model] = one
    models = sorted({name for row in by.values() for name in row})
    return [[row[name] for name in models] for _, row in sorted(by.items()) if len(row) == len(models)]


def turns(suites: Iterable[Suite]) -> Iterator[tuple[Suite, Item]]:
    """One item of each suite after another."""
    rows = zip_longest(*([(suite, item) for item in suite.items] for suite in suites))
    return (pair for pair in chain.from_iterable(rows) if pair is not None)


def sources(folder: Path, small: Path, others: dict[str, Path]) -> dict[str, Source]:
    """What is registered, by ``name@version``."""
    noised = folder / "noised.gguf"
    worsen(small, noised, NOISE)

    def source(path: Path, **settings: object) -> Source:
        more = {"slots": 1, "context": 1024, "threads": 1, **settings}
        return Source(provider="llamacpp", location=str(path), settings=MappingProxyType(more))

    return {
        "small@1": source(small, temperature=0.0),
        "small@terse": source(small, temperature=0.0, system_prompt=TERSE),
        "small@warm": source(small, temperature=0.9),
        "small@noised": source(noised, temperature=0.0),
        **{f"{name}@1": source(path, temperature=0.0) for name, path in others.items()},
    }


async def register(gateway: Gateway, wanted: dict[str, Source]) -> None:
    for ref, source in wanted.items():
        name, version = ref.split("@")
        order = Registration(name=name, version=version, source=source, activate=True)
        _, _, problem = await gateway.services.onboarding.add(order, "benchmark")
        if problem is not None:
            sys.exit(f"{ref}: {problem.message}")


async def ask(podium: Podium, sandbox: Sandbox, suite: Suite, item: Item, model: str) -> Answer:
    messages = [{"role": "user", "content": item.prompt}]
    began = time.perf_counter()
    result = await podium.execute(
        messages, model=model, task=suite.task, max_tokens=min(item.max_tokens, BRIEF), seed=1
    )
    took = (time.perf_counter() - began) * 1000
    graded = await asyncio.to_thread(grade, item.grader, result.text, sandbox)
    if graded.score is None:
        sys.exit(f"{suite.name}/{item.id} cannot be graded: {graded.why}")
    return Answer(
        suite=suite.name,
        task=suite.task,
        item=item.id,
        model=model,
        prompt=item.prompt,
        output=result.text,
        finish=result.raw["choices"][0].get("finish_reason"),
        truth=graded.score,
        latency_ms=round(took, 1),
    )


async def collect(out: Path, small: Path, others: dict[str, Path], items: int) -> None:
    """Ask for what the file lacks, ``items`` of each suite at most."""
    known = {(one.suite, one.item, one.model) for one in read(out)}
    library, sandbox = SuiteLibrary(), Sandbox()
    suites = [library.get(name) for name in SUITES]
    wanted = [pair for pair in turns(suites) if pair[0].items.index(pair[1]) < items]
    began, done = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="podium-judged-") as name, out.open("a", encoding="utf-8") as file:
        folder = Path(name)
        async with Gateway.open(Config(home=folder / "home")) as gateway:
            models = sources(folder, small, others)
            await register(gateway, models)
            await gateway.serve_unix(folder / "s")
            async with Podium.connect(f"unix:{folder / 's'}") as podium:
                for number, (suite, item) in enumerate(wanted, 1):
                    for model in models:
                        if (suite.name, item.id, model) in known:
                            continue
                        answer = await ask(podium, sandbox, suite, item, model)
                        file.write(json.dumps(asdict(answer), ensure_ascii=False) + "\n")
                        file.flush()
                        done += 1
                    print(f"{number}/{len(wanted)}: {done / (time.monotonic() - began):.2f} answers/s", flush=True)
    sandbox.close()
