"""One ``[rules.NAME]``: when a fact crosses a line, a task is moved to another version."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from podium.core.rules import METRICS, PERIODS, Rule

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEntry:
    """A declarative swap. `podium rules check` shows what it reads, whether it would fire now, and what it would order."""

    task: Annotated[str, Meta(description="The task to move; task metrics are read for it")]
    metric: Annotated[str, Meta(description="What is looked at; the metrics are listed in docs/autoswap.md")]
    above: Annotated[float | None, Meta(description="It fires when the metric rises above this")] = None
    below: Annotated[float | None, Meta(description="It fires when the metric falls below this")] = None
    clear: Annotated[
        float | None,
        Meta(description="It may fire again once the metric went back to this; unset: 5 % past the line"),
    ] = None
    to: Annotated[
        str | None, Meta(description="Model or name@version that shall serve; unset: the best other version")
    ] = None
    mode: Annotated[
        Literal["gradual", "immediate"], Meta(description="Share by share with evidence, or all at once")
    ] = "gradual"
    device: Annotated[str | None, Meta(description="Which device, or kind of accelerator, the metric is about")] = None
    period: Annotated[str, Meta(description="For energy and cost: what is added up, hour or day")] = "day"
    for_s: Annotated[float, Meta(ge=0, description="How long the condition must hold")] = 0.0
    cooldown_s: Annotated[
        float, Meta(ge=0, description="Shortest time between two firings, and after any automatic swap of the task")
    ] = 300.0
    min_samples: Annotated[int, Meta(ge=1, description="Outcomes, or scores, a task metric needs")] = 10
    enabled: Annotated[bool, Meta(description="Whether it is looked at")] = True

    def rule(self, name: str) -> Rule:
        """The rule as it is evaluated."""
        return Rule(
            name=name,
            task=self.task,
            metric=self.metric,
            to=self.to,
            above=self.above,
            below=self.below,
            clear=self.clear,
            device=self.device,
            period=self.period,
            for_s=self.for_s,
            cooldown_s=self.cooldown_s,
            min_samples=self.min_samples,
            immediate=self.mode == "immediate",
            enabled=self.enabled,
        )

    def problems(self, name: str) -> Iterator[tuple[str, str]]:
        """(key, message) of what cannot be meant; the key is empty for the rule as a whole."""
        if not _NAME.match(name):
            yield "", "a rule is named with up to 64 letters, digits and . _ -"
        if self.metric not in METRICS:
            yield "metric", f"there is no metric {self.metric!r}; {nearest(self.metric, METRICS)}"
            return
        if (self.above is None) == (self.below is None):
            yield "", "give exactly one of 'above' and 'below'"
            return
        facts, line = METRICS[self.metric], self.above if self.above is not None else self.below
        if line is not None and facts.unit in {"share", "score"} and not 0 <= line <= 1:
            key = "above" if self.above is not None else "below"
            yield key, f"{self.metric} is between 0 and 1, {line:g} is not"
        if self.clear is not None and self.above is not None and self.clear > self.above:
            yield "clear", f"must not be above {self.above:g}, where the rule fires"
        if self.clear is not None and self.below is not None and self.clear < self.below:
            yield "clear", f"must not be below {self.below:g}, where the rule fires"
        if self.device is not None and not facts.devices:
            yield "device", f"{self.metric} is not about a device; leave it out"
        if self.to is not None and not self.to.strip():
            yield "to", "name a model or a version, or leave it out for the best other version"
        if self.period not in PERIODS:
            yield "period", f"{self.period!r} is no period; {nearest(self.period, PERIODS)}"


def nearest(word: str, valid: Mapping[str, object]) -> str:
    """What to write instead, as the end of a sentence."""
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(valid))}"
