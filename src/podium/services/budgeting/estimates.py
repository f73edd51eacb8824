"""What an operation may use, before it is known: the caller's own limit, else the 95th percentile of its task.

Owns the newest figures of each task and version. Reads no body beyond the head.
"""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

import msgspec

from podium.domain.budget import Need, Price, Unit, Used
from podium.domain.cost import Cost, SpentRow
from podium.domain.decision import Outcome
from podium.domain.model import ModelVersion
from podium.domain.request import Endpoint, RequestHead

BYTES_PER_TOKEN = 3
"""Of a request's body: a prompt is taken to have a token in every three bytes, which is rather too many."""
GUESS_OUTPUT, GUESS_COMPUTE_MS, GUESS_ENERGY_MJ = 1024, 10_000, 1_000_000
"""While nothing is known of a task."""
NEWEST = 64
"""Operations that a percentile is of."""
FEWEST = 5
"""Operations of a version on a task before they say more than those of the whole task."""
MOST_TASKS = 4_000


_TOKENS = Unit.TOKENS
"""A member of an enum costs a look-up."""


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


_answer = msgspec.json.Decoder(_Answer)


class _Newest:
    """Three figures of the newest operations, and their 95th percentiles."""

    __slots__ = ("_seen", "_sorted")

    def __init__(self) -> None:
        self._seen: dict[str, deque[int]] = {}
        self._sorted: dict[str, int] = {}

    def add(self, figure: str, value: int) -> None:
        self._seen.setdefault(figure, deque(maxlen=NEWEST)).append(value)
        self._sorted.pop(figure, None)

    def count(self, figure: str) -> int:
        return len(self._seen.get(figure, ()))

    def p95(self, figure: str) -> int:
        found = self._sorted.get(figure)
        if found is None:
            values = sorted(self._seen[figure])
            found = self._sorted[figure] = values[math.ceil(0.95 * len(values)) - 1]
        return found


class Estimates:
    """``price`` tells what a version costs, ``None`` for one that nobody bills."""

    def __init__(self, price: Callable[[ModelVersion], Price | None] = lambda version: None) -> None:
        self.price = price
        self._of: OrderedDict[tuple[str, str], _Newest] = OrderedDict()

    def outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Learn from attempts that were answered."""
        for outcome in outcomes:
            if not outcome.success:
                continue
            cost = outcome.cost
            figures = (
                ("output", cost.output_tokens),
                ("compute", used_of(cost, Unit.COMPUTE)),
                ("energy", used_of(cost, Unit.ENERGY)),
            )
            self._learn(outcome.task, outcome.ref, figures)

    def _learn(self, task: str, ref: str, figures: Iterable[tuple[str, int | None]]) -> None:
        known = [(figure, value) for figure, value in figures if value is not None]
        for key in ((task, ref), (task, "")):
            newest = self._of.get(key)
            if newest is None:
                newest = self._of[key] = _Newest()
                if len(self._of) > MOST_TASKS:
                    self._of.popitem(last=False)
            for figure, value in known:
                newest.add(figure, value)

    def need(self, unit: Unit, head: RequestHead, task: str, version: ModelVersion) -> Need:
        """What a request to a version may use of a unit."""
        if unit is _TOKENS:
            amount, known = self.output(head, task, version.ref)
            return Need(input_tokens(head.size) + amount, known)
        if unit is Unit.COMPUTE:
            return self._usual("compute", task, version.ref, GUESS_COMPUTE_MS)
        if unit is Unit.ENERGY:
            return self._usual("energy", task, version.ref, GUESS_ENERGY_MJ)
        # money: known, even where tokens are guessed, for money that may not be there is not spent
        return Need(self._cost(version, input_tokens(head.size), self.output(head, task, version.ref).amount))

    def behind(self, unit: Unit, task: str, version: ModelVersion) -> Need:
        """What work in the background may use of a unit."""
        match unit:
            case Unit.COMPUTE:
                return self._usual("compute", task, version.ref, GUESS_COMPUTE_MS)
            case Unit.ENERGY:
                return self._usual("energy", task, version.ref, GUESS_ENERGY_MJ)
            case Unit.TOKENS:
                return self._usual("tokens", task, version.ref, GUESS_OUTPUT)
            case Unit.MONEY:
                tokens = self._usual("tokens", task, version.ref, GUESS_OUTPUT).amount
                return Need(max(self._cost(version, tokens, 0), self._cost(version, 0, tokens)))

    def learned(self, task: str, ref: str, used: Used) -> None:
        """Work in the background used that."""
        self._learn(task, ref, (("tokens", used.tokens), ("compute", used.compute_ms), ("energy", used.energy_mj)))

    def _cost(self, version: ModelVersion, read: int, written: int) -> int:
        price = self.price(version)
        return 0 if price is None else price.of(read, written)

    def output(self, head: RequestHead, task: str, ref: str) -> Need:
        """Tokens that an answer may have."""
        if head.endpoint is Endpoint.EMBEDDING:
            return Need(0)
        if head.max_tokens is not None:
            return Need(head.max_tokens * _choices(head) if "n" in head.fields else head.max_tokens)
        return self._usual("output", task, ref, GUESS_OUTPUT)

    def _usual(self, figure: str, task: str, ref: str, guess: int) -> Need:
        own = self._of.get((task, ref))
        if own is not None and own.count(figure) >= FEWEST:
            return Need(own.p95(figure))
        of_task = self._of.get((task, ""))
        if of_task is not None and of_task.count(figure):
            return Need(of_task.p95(figure))
        return Need(guess, known=False)


def used_of_answer(content: bytes | None, took_ms: float, cpu_ms: float | None) -> Used:
    """What a whole answer says it used; ``None``: there is no answer."""
    tokens: int | None = None
    if content is not None:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            usage = _answer.decode(content).usage
            if usage is not None and usage.completion_tokens is not None:
                tokens = usage.completion_tokens + (usage.prompt_tokens or 0)
    return Used(tokens=tokens, compute_ms=math.ceil(took_ms if cpu_ms is None else cpu_ms))


def spent_of(rows: Iterable[SpentRow], unit: Unit) -> int:
    """What sums on record say in the amounts of budgets."""
    total = 0.0
    for row in rows:
        match unit:
            case Unit.TOKENS:
                total += row.input_tokens + row.output_tokens
            case Unit.COMPUTE:
                total += row.cpu_ms + row.gpu_ms if row.cpu_samples or row.gpu_samples else row.wall_ms
            case Unit.ENERGY:
                total += row.energy_mwh * 3600.0
            case Unit.MONEY:
                total += row.price_microusd
    return math.ceil(total)


def input_tokens(size: int) -> int:
    """Tokens that a body of so many bytes is taken to have."""
    return -(-size // BYTES_PER_TOKEN)


def used_of(cost: Cost, unit: Unit) -> int | None:
    """What a cost says in the amount of a unit; ``None``: nobody could tell. Compute is processor and GPU time, or else
    the time the answer took.
    """
    if unit is _TOKENS:
        return None if cost.output_tokens is None else cost.output_tokens + (cost.input_tokens or 0)
    if unit is Unit.MONEY:
        return cost.price_microusd
    if unit is Unit.ENERGY:
        return None if cost.energy_mwh is None else math.ceil(cost.energy_mwh * 3600.0)
    if cost.cpu_ms is None and cost.gpu_ms is None:
        return math.ceil(cost.wall_ms)
    return math.ceil((cost.cpu_ms or 0.0) + (cost.gpu_ms or 0.0))


def _choices(head: RequestHead) -> int:
    """How many answers are asked for."""
    raw = head.fields.get("n")
    text = bytes(raw).strip() if raw is not None else b"1"
    return max(1, int(text)) if text.isdigit() and len(text) < 7 else 1
