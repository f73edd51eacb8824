"""Alerts: what became worse than it was, and objectives whose error budget is used up too fast.

Owns what is watched, which alerts are open and that each is on record with its event before anybody is told. Decides
nothing by itself: core/regression and core/objectives do. Never costs the request that is observed more than microseconds,
and never raises into the recorder. Nothing is moved here: who wants to act on a regression reads ``regressed``.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace

import structlog

from podium.core import alert_words
from podium.core.history import NOT_ITS_DOING
from podium.core.objectives import DAY, HOUR, Objectives, Standing, Turn
from podium.core.regression import Change, Limits, Watched
from podium.domain.alert import Alert, Aspect, Cause
from podium.domain.decision import Decision, Feedback, Outcome
from podium.domain.evidence import Evidence
from podium.domain.swap import Event
from podium.errors import StoreError
from podium.ports import AlertStore, Clock, Page
from podium.services.budgets import EXCUSED, Budgets
from podium.services.learner import WEIGHTS

Key = tuple[str, str]
WATCHED_MOST = 20_000
"""Versions on tasks that are watched at once; those heard of longest ago are forgotten first."""
QUIET_S = 6 * HOUR
"""Without a request for so long an alert of a regression is closed: nobody can tell any more."""
NORMAL_S = 7 * DAY
"""After so long what was worse is what later behaviour is compared with."""
_log = structlog.get_logger("podium.alerts")


class Alerts:
    """One per gateway, used from its event loop only. ``evidence`` is what is on record of a task and version."""

    def __init__(
        self,
        *,
        store: AlertStore,
        clock: Clock,
        new_id: Callable[[str], str],
        publish: Callable[[Event], None],
        evidence: Callable[[str, str], Evidence | None],
        objectives: Mapping[str, Objectives],
        limits: Limits | None = None,
        watched_most: int = WATCHED_MOST,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._publish = publish
        self._evidence = evidence
        self._limits = limits or Limits()
        self._most = watched_most
        self._watched: OrderedDict[Key, Watched] = OrderedDict()
        self._open: dict[tuple[str, str | None, Aspect, str | None], Alert] = {}
        self._heard: dict[Key, float] = {}
        """When something was last heard of a version with an open alert."""
        self._unsaved: deque[tuple[Alert, Event]] = deque()
        self._error: str | None = None
        self.on_regression: Callable[[str], None] = lambda task: None
        """Called with the task when a version became worse; must be quick and must not raise."""
        self.budgets = Budgets(store=store, clock=clock, objectives=objectives)

    # ------------------------------------------------------------ from the recorder

    def observed(self, pairs: Sequence[tuple[Decision, Outcome]]) -> None:
        """Requests ended. Quick; never raises."""
        with self._harmless():
            touched: dict[Key, Watched] = {}
            budgets, now = self.budgets.live, self._clock.monotonic()
            for decision, outcome in pairs:
                error = outcome.error
                if error is None or error not in NOT_ITS_DOING:
                    key = (outcome.task, outcome.ref)
                    watched = touched.get(key)
                    if watched is None:
                        watched = touched[key] = self._watch(key)
                    if watched.outcome(outcome.success, outcome.latency_ms):
                        self._look(key, watched)
                budget = budgets.get(outcome.task) if budgets else None
                if budget is None:
                    continue
                if error is not None and error in EXCUSED:
                    self.budgets.excuse(outcome.decision_id)
                else:
                    again = decision.parent is not None and not self.budgets.excused(decision.parent)
                    budget.outcome(now, outcome.success, outcome.latency_ms, again=again)
            self._trim()

    def scored(self, given: Feedback, earlier: Feedback | None = None) -> None:
        """An answer was scored. A score in the place of an earlier one changes nothing here. Never raises."""
        with self._harmless():
            if given.score is None or earlier is not None:
                return
            key, weight = (given.task, given.ref), WEIGHTS.get(given.source, 1.0)
            watched = self._watch(key)
            if watched.score(given.score, weight):
                self._look(key, watched)
            self.budgets.scored(given.task, given.score, weight)
            self._trim()

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        """The recorder that called must go on whatever is wrong here."""
        try:
            yield
        except Exception:  # noqa: BLE001 - see above; it is logged with its traceback
            _log.exception("an observation could not be taken in")

    def _watch(self, key: Key) -> Watched:
        watched = self._watched.get(key)
        if watched is None:
            watched = self._watched[key] = Watched(self._limits, self._evidence(*key))
        else:
            self._watched.move_to_end(key)
            if watched.worse:
                self._heard[key] = self._clock.monotonic()
        return watched

    def _trim(self) -> None:
        while len(self._watched) > self._most:
            key, watched = self._watched.popitem(last=False)
            for aspect in tuple(watched.worse):
                self._close((*key, aspect, None), "too many other versions are watched")
            self._heard.pop(key, None)

    def _look(self, key: Key, watched: Watched) -> None:
        for change in watched.look():
            if change.worse:
                self._heard[key] = self._clock.monotonic()
                self._opened(key, watched, change)
                self.on_regression(key[0])
            else:
                self._close((*key, change.aspect, None), alert_words.recovered(change))

    def _opened(self, key: Key, watched: Watched, change: Change) -> None:
        task, ref = key
        self._begin(
            Alert(
                id=self._new_id("alert"),
                task=task,
                ref=ref,
                cause=Cause.REGRESSION,
                aspect=change.aspect,
                opened_at=self._clock.now(),
                says=alert_words.regressed(ref, task, change),
                before=change.before,
                now=change.now,
                limit=self._limits.of(change.aspect),
                samples=change.samples,
                kept=watched.kept(),
            )
        )

    # ------------------------------------------------------------ opening and closing

    def _begin(self, alert: Alert) -> None:
        if alert.key in self._open:
            return
        self._open[alert.key] = alert
        self._note(alert, "alert.opened")

    def _close(self, key: tuple[str, str | None, Aspect, str | None], ending: str) -> None:
        alert = self._open.pop(key, None)
        if alert is not None:
            closed_at = max(alert.opened_at, self._clock.now())
            self._note(replace(alert, closed_at=closed_at, ending=ending, kept={}), "alert.closed")

    def _note(self, alert: Alert, kind: str) -> None:
        told = {name: value for name, value in asdict(alert).items() if name not in {"id", "task", "kept"}}
        told = {name: value for name, value in told.items() if value is not None or name in {"ref", "before", "now"}}
        data = tuple({"alert": alert.id, **told}.items())
        self._unsaved.append((alert, Event(kind=kind, at=self._clock.now(), subject=alert.task, data=data)))

    async def _save(self) -> None:
        while self._unsaved:
            alert, event = self._unsaved[0]
            try:
                await self._store.save_alert(alert, event)
            except StoreError as error:
                self._error = error.message
                return
            self._error = None
            self._unsaved.popleft()
            self._publish(event)

    # ------------------------------------------------------------ time

    async def resume(self) -> None:
        """Take up the alerts that were open when the last run ended, and what objectives look back on."""
        await self.budgets.recall()
        for alert in await self._store.open_alerts():
            self._open[alert.key] = alert
            if alert.cause is Cause.OBJECTIVE:
                self._take_up_objective(alert)
            elif not self._take_up(alert):
                self._close(alert.key, "what it was compared with is not known any more")
        await self._save()

    def _take_up_objective(self, alert: Alert) -> None:
        if not self.budgets.resume(alert.task, alert.aspect, alert.speed or ""):
            self._close(alert.key, "there is no such objective any more")

    def _take_up(self, alert: Alert) -> bool:
        if alert.ref is None:
            return False
        key = (alert.task, alert.ref)
        change = Change(
            aspect=alert.aspect,
            worse=True,
            before=alert.before or 0.0,
            now=alert.now or 0.0,
            samples=alert.samples,
            nats=0.0,
        )
        watched = self._watch(key)
        try:
            watched.resume(change, alert.kept)
        except KeyError:
            return False
        self._heard[key] = self._clock.monotonic()
        return True

    async def tick(self) -> None:
        """Look at what time alone changes, and write down what is new; about once a second. Raises nothing."""
        with self._harmless():
            for task, turn in self.budgets.look():
                self._turned(task, turn)
            self._close_quiet()
        await self._save()

    def _turned(self, task: str, turn: Turn) -> None:
        burn, objectives = turn.burn, self.budgets.objectives[task]
        key = (task, None, turn.aspect, burn.speed)
        if key in self._open:
            self._close(key, f"it is over: for {alert_words.span(burn.long_s / 4)} the budget was not used too fast")
            return
        self._begin(
            Alert(
                id=self._new_id("alert"),
                task=task,
                cause=Cause.OBJECTIVE,
                aspect=turn.aspect,
                speed=burn.speed,
                opened_at=self._clock.now(),
                says=alert_words.burning(task, turn.aspect, burn, objectives),
                before=objectives.of(turn.aspect),
                now=1.0 - turn.share if turn.aspect is Aspect.QUALITY else turn.share,
                limit=burn.limit,
                samples=round(burn.events),
            )
        )

    def _close_quiet(self) -> None:
        now, wall = self._clock.monotonic(), self._clock.now()
        for alert in [one for one in self._open.values() if one.ref is not None]:
            key = (alert.task, alert.ref or "")
            watched = self._watched.get(key)
            if now - self._heard.setdefault(key, now) >= QUIET_S:
                ending, anew = f"nothing was heard of it for {alert_words.span(QUIET_S)}", False
            elif wall - alert.opened_at >= NORMAL_S:
                ending, anew = f"it was so for {alert_words.span(NORMAL_S)}: this is usual from now on", True
            else:
                continue
            if watched is not None:
                watched.dismiss(alert.aspect, anew=anew)
            self._close(alert.key, ending)
        alerting = {(alert.task, alert.ref) for alert in self._open.values()}
        self._heard = {key: at for key, at in self._heard.items() if key in alerting}

    async def configure(self, objectives: Mapping[str, Objectives]) -> None:
        """Put other objectives in force; unchanged ones go on."""
        changed = await self.budgets.configure(objectives)
        for alert in [one for one in self._open.values() if one.cause is Cause.OBJECTIVE and one.task in changed]:
            self._close(alert.key, "the objective was changed")
        await self._save()

    async def close(self) -> None:
        """Write down what is new; idempotent."""
        await self._save()

    # ------------------------------------------------------------ reading

    def open(self, task: str | None = None) -> tuple[Alert, ...]:
        """Alerts that are not over, oldest first."""
        found = [alert for alert in self._open.values() if task is None or alert.task == task]
        return tuple(sorted(found, key=lambda alert: alert.opened_at))

    def regressed(self, task: str, ref: str) -> tuple[Alert, ...]:
        """What is worse now of one version on one task than it was there before; empty: nothing."""
        found = (self._open.get((task, ref, aspect, None)) for aspect in Aspect)
        return tuple(alert for alert in found if alert is not None)

    def standings(self) -> Mapping[str, tuple[Standing, ...]]:
        """Every objective, by task."""
        return self.budgets.standings()

    async def listed(self, task: str | None, page: Page) -> tuple[Alert, ...]:
        """Alerts on record, also those that are over, newest first."""
        await self._save()
        return await self._store.alerts(task, page)

    def problems(self) -> tuple[str, ...]:
        """What is open, in words, and error budgets that are used up."""
        found = [alert.says for alert in self.open()]
        found += [
            alert_words.used_up(task, one)
            for task, standings in self.standings().items()
            for one in standings
            if one.left is not None and one.left <= 0.0
        ]
        if self._error is not None:
            found.append(f"alerts could not be written down: {self._error}")
        return tuple(found)
