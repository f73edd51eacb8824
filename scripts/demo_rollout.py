"""The demo's second act: a worse version gets a canary and is rolled back, a better one is promoted, under load.

Callers keep asking for words to be repeated, check each answer and send what they found as feedback. Nothing else tells
Podium which version is better.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

CALLERS = 4
LIMIT_S = 300.0
"""A rollout takes a quarter of a minute to a minute where nothing else computes."""
TEXT = (
    "apple river candle orange window garden silver monkey table guitar purple lemon tiger bottle planet carpet pepper "
    "rabbit ladder button hammer pillow rocket forest castle bridge island mirror pencil basket camera dragon engine "
    "falcon ginger helmet jacket kettle magnet needle ocean parrot quartz ribbon saddle tunnel velvet walnut yellow "
    "zebra anchor butter cactus desert eagle fabric goblet harbor insect jungle ketchup lantern marble napkin oyster "
    "palace quiver radish salmon temple umbrella violin wizard"
)
WORDS = TEXT.split()
PLAN = {"start_share": 0.25, "step_share": 0.25, "step_s": 5, "min_samples": 5, "silence_s": 240, "validate": False}
"""Short ramps; in earnest a step lasts an hour."""
Must = Callable[..., dict]


@dataclass
class Traffic:
    """Callers of one task, one request after another each, until they are stopped."""

    port: int
    task: str
    served: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    dropped: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._call, args=(seed,)) for seed in range(CALLERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, seed: int) -> None:
        rng = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self._stop.is_set():
            try:
                self._ask(connection, rng.choice(WORDS))
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self.dropped.append(repr(error))
                connection.close()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, word: str) -> None:
        messages = [{"role": "user", "content": f"Repeat this word and nothing else: {word}"}]
        body = {"model": f"task:{self.task}", "messages": messages, "max_tokens": 8, "temperature": 0}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        reply = connection.getresponse()
        said = json.loads(reply.read())
        if reply.status != 200:
            self.dropped.append(str(said))
            return
        right = word in said["choices"][0]["message"]["content"].lower()
        ref = reply.headers["x-podium-model"]
        self.served[ref] += 1
        self.right[ref] += right
        given = {"request_id": reply.headers["x-request-id"], "score": float(right), "source": "check"}
        connection.request("POST", "/api/v1/feedback", json.dumps(given), {"content-type": "application/json"})
        connection.getresponse().read()

    def told(self) -> str:
        """How often each version answered, and how often it was right."""
        return ", ".join(f"{ref} {self.right[ref]} of {count} right" for ref, count in sorted(self.served.items()))


def roll_out(port: int, must: Must, task: str, before: str, after: str, say: Callable[[str], None]) -> tuple[dict, int]:
    """Replace ``before`` by ``after`` step by step under load; (the rollout as it ended, requests dropped)."""
    must(port, "POST", f"/api/v1/tasks/{task}/swap", {"to": before, "reason": "demo"})
    with Traffic(port, task) as traffic:
        order = {"to": after, "mode": "gradual", "reason": "demo", "plan": PLAN}
        rollout = must(port, "POST", f"/api/v1/tasks/{task}/swap", order)
        where, told = f"/api/v1/rollouts/{rollout['id']}", ""
        deadline = time.monotonic() + LIMIT_S
        while rollout["open"] and time.monotonic() < deadline:
            time.sleep(0.25)
            rollout = must(port, "GET", where)["rollout"]
            now = f"{rollout['state']} at {rollout['share']:.0%}"
            if rollout["share"] and now != told and traffic.told():
                say(f"    {now}: {traffic.told()}")
                told = now
    say(f"    {rollout['state']}: {rollout['ending'] or 'it did not end in time'}")
    say(f"    in all: {traffic.told()}; dropped: {len(traffic.dropped)}")
    for why in traffic.dropped[:3]:
        say(f"    {why}")
    return rollout, len(traffic.dropped)
