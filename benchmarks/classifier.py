"""How long recognising a task takes, by length of the prompt, and what learning costs.

    python benchmarks/classifier.py

Prints microseconds of processor time (other programs do not count): median and 99th percentile of rules alone, of hashing, of judging, of all of it as a request to
`auto` sees it (JSON body included), and of what a request that names its task pays for being learned from.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np

from podium import seeds
from podium.core.classifier import MAX_CLASSES, Example, train
from podium.core.classify import classify
from podium.core.difficulty import difficulty
from podium.core.examples import MAX_PROMPTS
from podium.core.ngrams import features
from podium.domain.request import Endpoint, RequestHead
from podium.services import wire
from podium.services.classifier import TaskClassifier

ROUNDS = 2_000
SENTENCE = "The council met on Monday, and after a long debate the vote on the new bridge was put off until May 2024. "
PROMPTS = {
    "short (28)": "What is 23 percent of 1,150?",
    "4 kB": ("Summarize the following article.\n" + SENTENCE * 40)[:4_000],
    "1 MB": ("Summarize the following article.\n" + SENTENCE * 10_000)[:1_000_000],
}


class Clock:
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class Nowhere:
    async def save_learned(self, name: str, content: bytes, at: float) -> None:
        pass


def measured(work: Callable[[], object], rounds: int = ROUNDS) -> str:
    for _ in range(rounds // 20):
        work()
    times = np.empty(rounds)
    for at in range(rounds):
        begin = time.thread_time_ns()
        work()
        times[at] = time.thread_time_ns() - begin
    return f"{np.median(times) / 1e3:8.1f} {np.quantile(times, 0.99) / 1e3:8.1f}"


def head(text: str, task: str | None = None) -> RequestHead:
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]}).encode()
    return wire.parse(Endpoint.CHAT, body, request_id="r", task=task)


def main() -> None:
    shipped = [Example(task, features(text)) for task, text in seeds.seed_prompts()]
    begin = time.process_time()
    snapshot = train(shipped, seeds.seeds_digest() + "+")
    print(f"training on {len(shipped)} seeds: {(time.process_time() - begin) * 1e3:.0f} ms of processor time")
    rng = np.random.default_rng(1)
    vocabulary = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 7)) for _ in range(3_000)]
    names = [f"own-{at}" for at in range(MAX_CLASSES - 9)] + list(snapshot.tasks)
    own = [
        Example(name, features(" ".join(rng.choice(vocabulary, 60))), own=True)
        for name in names
        for _ in range(MAX_PROMPTS)
    ]
    begin = time.process_time()
    largest = train([*shipped, *own], "largest")
    print(
        f"training on the most there can be ({len(shipped) + len(own)} examples, {len(largest.tasks)} tasks): "
        f"{(time.process_time() - begin) * 1e3:.0f} ms"
    )
    print(f"stored: {len(snapshot.pack()):,} bytes shipped, {len(largest.pack()):,} at most\n")
    print(f"{'':36}  {'p50 us':>7}  {'p99 us':>7}")
    for label, text in PROMPTS.items():
        vector = features(text)
        service = TaskClassifier(Nowhere(), Clock(), seeds, {"task-classifier": largest.pack()})
        asked = head(text)
        rows = {
            "rules": lambda text=text: classify(text, Endpoint.CHAT, frozenset(), ()),
            "hashing": lambda text=text: features(text),
            "judging, 9 tasks": lambda vector=vector: snapshot.judge(vector),
            f"judging, {MAX_CLASSES} tasks": lambda vector=vector: largest.judge(vector),
            "difficulty": lambda text=text: difficulty(text),
            "a whole auto request": lambda service=service, asked=asked: service.classify(asked, ()),
        }
        for name, work in rows.items():
            print(f"{label:12} {name:24} {measured(work, ROUNDS if len(text) < 10_000 else 200)}")
    labelled = head(PROMPTS["4 kB"], task="summarisation")
    for learn in (True, False):
        service = TaskClassifier(Nowhere(), Clock(), seeds, {}, learn=learn)
        said = "learning" if learn else "learn_tasks = false"
        print(f"{'named task':12} {said:24} {measured(lambda service=service: service.observe(labelled, 'x'))}")


if __name__ == "__main__":
    main()
