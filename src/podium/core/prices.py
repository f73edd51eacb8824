"""What hosted models ask for tokens, and what an operation is billed. Pure.

Prices of the file's ``[prices]`` come first, then the list that comes with Podium, by host and model. Standard rates only:
batch, priority, cache writes, tools, pictures and sound are not in it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

_DATED = re.compile(r"-(\d{4})-?(\d{2})-?(\d{2})$|-latest$|-\d{4}$")


@dataclass(frozen=True, slots=True)
class Above:
    """What all tokens of a request cost whose prompt has more than ``tokens``, in US dollars per million."""

    tokens: int
    input: float
    output: float
    cached: float | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """US dollars per million tokens. ``cached`` is of the prompt, read before. ``above``: fewest tokens first."""

    input: float
    output: float
    cached: float | None = None
    above: tuple[Above, ...] = ()

    def of(self, input_tokens: int) -> Quote | Above:
        """What holds for a prompt of so many tokens."""
        return next((each for each in reversed(self.above) if input_tokens > each.tokens), self)


@dataclass(frozen=True, slots=True)
class Rate:
    """A quote and when it holds: from the day ``since`` (``2026-03-13``), within ``hours`` of the day, both UTC."""

    input: float
    output: float
    cached: float | None = None
    above: tuple[Above, ...] = ()
    since: str | None = None
    hours: tuple[str, str] | None = None

    def holds(self, when: datetime) -> bool:
        """Whether it holds at a moment in UTC. Hours may go over midnight."""
        if self.since is not None and when.date().isoformat() < self.since:
            return False
        if self.hours is None:
            return True
        start, end = self.hours
        clock = when.strftime("%H:%M")
        return start <= clock < end if start <= end else clock >= start or clock < end


Condition = str | tuple[str, ...]
"""``=`` is, ``^`` begins with, ``$`` ends with, ``*`` contains, ``~`` regular expression; of a tuple all hold together."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One model of a service. ``match``: one of these has to hold of its name. The last rate that holds counts."""

    id: str
    match: tuple[Condition, ...]
    rates: tuple[Rate, ...]

    def named(self, name: str) -> bool:
        """Whether a lower-case name is this model's."""
        return any(
            all(_holds(part, name) for part in each) if isinstance(each, tuple) else _holds(each, name)
            for each in self.match
        )

    def quote(self, at: float) -> Quote:
        """What is asked at a Unix time."""
        when = datetime.fromtimestamp(at, UTC)
        rate = next((each for each in reversed(self.rates) if each.holds(when)), self.rates[0])
        return Quote(rate.input, rate.output, rate.cached, rate.above)


@dataclass(frozen=True, slots=True)
class PriceList:
    """A published list: where it is from, and the models of each host, first match first."""

    source: str = "none"
    unit: str = "USD per million tokens"
    hosts: Mapping[str, tuple[Listed, ...]] = field(default_factory=dict)

    def find(self, host: str, model: str) -> Listed | None:
        """A model by its name, with any date that stands behind it written otherwise or left away."""
        name = model.lower()
        models = self.hosts.get(host.lower(), ())
        dated = _DATED.search(name)
        names = [name]
        if dated is not None:
            names += [f"{name[: dated.start()]}-{'-'.join(dated.groups())}"] if dated.group(1) else []
            names.append(name[: dated.start()])
        return next((each for called in names for each in models if each.named(called)), None)


class PriceTable:
    """``own`` prices, by the model's name at its provider or its ref here, before those that are listed."""

    def __init__(self, own: Mapping[str, Quote], listed: PriceList) -> None:
        self._own = own
        self._listed = listed
        self._found: dict[tuple[str, str], Listed | None] = {}
        self.version = _version(own, listed.source)
        """Names the whole table: the list's source, and a digest of the own prices, if there are any."""

    def content(self) -> str:
        """The whole table as JSON, dollars per million tokens."""
        return json.dumps({"version": self.version, "own": _plain(self._own), **asdict(self._listed)})

    def find(self, host: str, model: str, *aliases: str, at: float) -> Quote | None:
        """The price of ``model`` at ``host`` at a Unix time; ``aliases`` are other names for which own prices may be given."""
        for name in (model, *aliases):
            if name in self._own:
                return self._own[name]
        if host not in self._listed.hosts:
            return None
        if (host, model) not in self._found:
            self._found[host, model] = self._listed.find(host, model)
        listed = self._found[host, model]
        return None if listed is None else listed.quote(at)


def bill(quote: Quote, input_tokens: int, cached_tokens: int, output_tokens: int) -> int:
    """Millionths of a dollar, rounded to the nearest, a half up."""
    rate = quote.of(input_tokens)
    cached = min(cached_tokens, input_tokens)
    asked = (input_tokens - cached) * rate.input + output_tokens * rate.output
    asked += cached * (rate.input if rate.cached is None else rate.cached)
    return int(asked + 0.5)


def _holds(condition: str, name: str) -> bool:
    sign, text = condition[0], condition[1:]
    match sign:
        case "=":
            return name == text
        case "^":
            return name.startswith(text)
        case "$":
            return name.endswith(text)
        case "*":
            return text in name
        case _:
            return re.search(text, name) is not None


def _plain(own: Mapping[str, Quote]) -> dict[str, dict[str, float | None]]:
    return {name: {"input": each.input, "output": each.output, "cached": each.cached} for name, each in own.items()}


def _version(own: Mapping[str, Quote], source: str) -> str:
    if not own:
        return source
    text = json.dumps(_plain(own), sort_keys=True)
    return f"{source}+{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"
