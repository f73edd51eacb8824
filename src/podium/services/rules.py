"""Looks at the facts that declarative rules ask about, and orders what a rule says when its condition comes true.

Owns what each rule remembers. Once a second every rule is looked at; a dry run looks the same way and changes nothing.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from podium.core.autoswap import AutoSwapRules
from podium.core.rules import Fact, Rule, RuleState, Verdict, evaluate, fired
from podium.domain.model import Lifecycle
from podium.errors import ConfigError, NotFound, PodiumError
from podium.ports import Clock
from podium.services.registry import Registry
from podium.services.rule_facts import RuleFacts
from podium.services.steering import RULE, Steering
from podium.services.tasks import Tasks

_log = structlog.get_logger("podium.rules")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a rule would order now. ``later``: not now, but as soon as that is over; ``never``: as things are, not at all."""

    to: str | None
    mode: str
    later: str | None = None
    never: str | None = None
    done: str | None = None
    """There is nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One rule as a dry run shows it."""

    rule: Rule
    fact: Fact
    verdict: Verdict
    intent: Intent
    armed: bool

    @property
    def would_order(self) -> bool:
        """Whether it would order a swap now."""
        intent = self.intent
        return self.verdict.fires and intent.later is None and intent.never is None and intent.done is None


class RuleBook:
    """One per gateway. ``asked`` gives the rules of auto-swap and the quality asked for, by task."""

    def __init__(
        self,
        *,
        steering: Steering,
        facts: RuleFacts,
        registry: Registry,
        tasks: Tasks,
        clock: Clock,
        asked: Callable[[str], tuple[AutoSwapRules, float | None]],
        rules: Iterable[Rule] = (),
    ) -> None:
        self._steering = steering
        self.facts = facts
        self._registry = registry
        self._tasks = tasks
        self._clock = clock
        self._asked = asked
        self._rules: dict[str, Rule] = {}
        self._states: dict[str, RuleState] = {}
        self._acting: dict[str, asyncio.Task[None]] = {}
        self._looking = asyncio.Lock()
        """A dry run is not overtaken by the real thing."""
        self.replace(rules)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Those in force."""
        return tuple(self._rules.values())

    def replace(self, rules: Iterable[Rule]) -> None:
        """Put other rules in force; what an unchanged rule remembers is kept."""
        new = {rule.name: rule for rule in rules}
        same = {name for name, rule in new.items() if self._rules.get(name) == rule}
        self._states = {name: self._states[name] if name in same else RuleState() for name in new}
        self._rules = new
        self.facts.expect(new.values())

    # ------------------------------------------------------------ looking

    async def look(self) -> tuple[Looked, ...]:
        """A dry run: every rule with what it reads, whether it would fire now, and what it would order."""
        async with self._looking:
            return tuple([await self._look(rule) for rule in tuple(self._rules.values())])

    async def _look(self, rule: Rule) -> Looked:
        fact = await self.facts.read(rule)
        state = self._states.get(rule.name, RuleState())
        _, verdict = evaluate(rule, fact, state, self._clock.monotonic())
        return Looked(rule=rule, fact=fact, verdict=verdict, intent=await self._intend(rule), armed=state.armed)

    async def tick(self) -> None:
        """Look at every rule and begin to do what those say that fire. Raises nothing of a single rule."""
        async with self._looking:
            await self._look_and_act()

    async def _look_and_act(self) -> None:
        for name, rule in tuple(self._rules.items()):
            if name in self._acting or not rule.enabled:
                continue
            try:
                fact = await self.facts.read(rule)
                if self._rules.get(name) != rule:
                    continue
                now = self._clock.monotonic()
                state, verdict = evaluate(rule, fact, self._states[name], now)
                self._states[name] = state
                if verdict.fires:
                    self._begin(rule, fact, verdict)
            except Exception:  # noqa: BLE001 - one broken rule must not keep the others from being looked at
                _log.exception("a rule could not be looked at", rule=name)

    # ------------------------------------------------------------ acting

    async def _intend(self, rule: Rule) -> Intent:
        mode = "immediate" if rule.immediate else "gradual"
        serving = self._steering.serving(rule.task)
        to: str | None = None
        if rule.to is not None:
            try:
                version = self._registry.resolve(rule.to)
            except NotFound as error:
                return Intent(to=rule.to, mode=mode, never=error.message)
            to = version.ref
            if version.status is Lifecycle.RETIRED:
                return Intent(to=to, mode=mode, never=f"{to} is retired")
            if serving is not None and serving.ref == to:
                return Intent(to=to, mode=mode, done=f"{to} serves {rule.task} already")
        open_one = self._steering.open(rule.task)
        if open_one is not None:
            return Intent(to=to, mode=mode, later=f"rollout {open_one.id} to {open_one.candidate} is under way")
        left = self._steering.pause_left(rule.task, rule.cooldown_s)
        if left > 0:
            return Intent(to=to, mode=mode, later=f"{rule.task} was moved lately; {left:.0f} s of the pause are left")
        if to is None:
            asked, wanted = self._asked(rule.task)
            found = await self._steering.alternatives(rule.task, asked, wanted)
            if not found.refs:
                return Intent(to=None, mode=mode, never=f"no version could take over: {found.why_none}")
            to = found.refs[0]
        return Intent(to=to, mode=mode)

    def _begin(self, rule: Rule, fact: Fact, verdict: Verdict) -> None:
        acting = asyncio.create_task(self._guarded(rule, fact, verdict), name=f"podium-rule-{rule.name}")
        self._acting[rule.name] = acting
        acting.add_done_callback(lambda _: self._acting.pop(rule.name, None))

    async def _guarded(self, rule: Rule, fact: Fact, verdict: Verdict) -> None:
        try:
            await self._act(rule, fact, verdict)
        except Exception as error:  # noqa: BLE001 - nobody waits for this work, so that nobody else would say it
            _log.exception("a rule failed", rule=rule.name)
            words = error.message if isinstance(error, PodiumError) else f"{type(error).__name__}: {error}"
            self._over(rule)
            self._steering.say("rule.failed", rule.task, rule=rule.name, to=rule.to, error=words, reason=verdict.why)

    async def _act(self, rule: Rule, fact: Fact, verdict: Verdict) -> None:
        intent = await self._intend(rule)
        if intent.later is not None:
            return  # it stays armed: the next look tries again while the condition holds
        self._over(rule)
        if intent.done is not None:
            return
        reason = f"rule {rule.name}: {verdict.why}"
        if intent.never is not None or intent.to is None:
            self._failed(rule, intent.to, intent.never or "nothing to move to", reason)
            return
        self._steering.say(
            "rule.fired",
            rule.task,
            rule=rule.name,
            metric=rule.metric,
            value=fact.value,
            limit=rule.line,
            to=intent.to,
            mode=intent.mode,
            reason=reason,
        )
        moved = await self._steering.move(
            rule.task, intent.to, immediate=rule.immediate, by=f"{RULE}{rule.name}", reason=reason
        )
        if not moved.ok:
            self._failed(rule, intent.to, moved.error or "it did not take over", reason)

    def _over(self, rule: Rule) -> None:
        if rule.name in self._states:
            self._states[rule.name] = fired(self._states[rule.name], self._clock.monotonic())

    def _failed(self, rule: Rule, to: str | None, error: str, reason: str) -> None:
        self._steering.say("rule.failed", rule.task, rule=rule.name, to=to, error=error, reason=reason)

    async def settled(self) -> None:
        """Return when nothing is being ordered."""
        while self._acting:
            await asyncio.wait(tuple(self._acting.values()))

    async def close(self) -> None:
        """Stop ordering; idempotent."""
        acting = tuple(self._acting.values())
        for task in acting:
            task.cancel()
        await asyncio.gather(*acting, return_exceptions=True)


def check_names(rules: Iterable[Rule], tasks: Sequence[str], versions: Sequence[str], models: Sequence[str]) -> None:
    """Raise ``ConfigError`` for a rule that names a task, model or version that is not there, with the nearest name.

    ``versions`` are refs, ``models`` names of models and aliases: a version of a model that is only declared so far
    cannot be checked.
    """
    problems = []
    for rule in rules:
        if rule.task not in tasks:
            problems.append(
                f"rules.{rule.name}.task: there is no task {rule.task!r}; {_near(rule.task, tasks, 'tasks')}"
            )
        if rule.to is None:
            continue
        name, at, _ = rule.to.removeprefix("@").partition("@")
        known = rule.to in versions if at else name in models
        if not known and not (at and name in models and not any(ref.startswith(f"{name}@") for ref in versions)):
            near = _near(rule.to, versions if at else models, "versions" if at else "models")
            problems.append(f"rules.{rule.name}.to: there is no {'version' if at else 'model'} {rule.to!r}; {near}")
    if problems:
        raise ConfigError("\n".join(problems), details={"problems": problems})


def _near(word: str, valid: Sequence[str], what: str) -> str:
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return (
        f"did you mean {close[0]!r}?" if close else f"`podium {'tasks' if what == 'tasks' else 'models'} ls` lists them"
    )
