"""Budgets as a service: reserves before a call, settles after it, keeps what was used, says when little is left.

Owns the ledger and its way into the store. Sums are written behind, at most a flush interval after they changed; a
reservation of money is on disk before the call is made, and one that nobody settled counts as spent in full at the next
start, for the provider may have been paid. Must not do disk I/O for a request that costs no money.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import tzinfo

from podium.core.budget import EXHAUSTED, Account, Refusal, check
from podium.core.budget_windows import HOUR_S, window_at
from podium.domain.budget import (
    EACH,
    AccountRow,
    Budget,
    HeldRow,
    Need,
    Period,
    Scope,
    Standing,
    Subjects,
    Unit,
    Used,
)
from podium.domain.cost import Cause, SpentRow
from podium.domain.decision import Outcome
from podium.domain.model import ModelVersion
from podium.domain.request import RequestHead
from podium.domain.swap import Event
from podium.errors import Conflict, NotFound, StoreError
from podium.ports import BudgetStore, Clock
from podium.services.budgeting.estimates import Estimates, spent_of, used_of, used_of_answer
from podium.services.budgeting.ledger import Ledger, fitting
from podium.services.budgeting.words import event, refused
from podium.services.openings import kept_zone, zone

ASKED = frozenset({Cause.REQUEST, Cause.RETRY, Cause.CANARY})
"""What counts for the task of a client's request."""
_MONEY = Unit.MONEY
LOW = 2
"""The priority that is deferred."""
RETRY_FIRST_S, RETRY_MOST_S = 0.1, 5.0


class Reservation:
    """What one operation holds. Settle or release it once; what comes after that is ignored."""

    __slots__ = ("_budgeting", "_parts", "ids")

    def __init__(
        self, budgeting: Budgeting | None, parts: list[tuple[Account, int]] | None = None, ids: tuple[str, ...] = ()
    ) -> None:
        self._budgeting = budgeting
        self._parts = parts or []
        self.ids = ids
        """Of what is kept in the store."""

    def settle(self, used: Used) -> None:
        """It ended and used that; of what is not known the reservation counts, but never as energy."""
        parts, self._parts = self._parts, []
        if parts and self._budgeting is not None:
            self._budgeting.settled(parts, self.ids, used.of)

    def release(self) -> None:
        """It used nothing."""
        parts, self._parts = self._parts, []
        if parts and self._budgeting is not None:
            self._budgeting.released(parts, self.ids)

    def ended(self, outcome: Outcome, *, used: bool) -> None:
        """An attempt ended; ``used`` is false where it never got to a model, or was turned away."""
        if not used:
            self.release()
        elif self._budgeting is not None and self._parts:
            parts, self._parts = self._parts, []
            cost = outcome.cost
            self._budgeting.settled(parts, self.ids, lambda unit: used_of(cost, unit))


NOTHING = Reservation(None)
"""Of an operation that no budget is for."""


class Budgeting:
    """One per gateway, used from its event loop only. ``limited`` is false while there is no budget at all."""

    def __init__(
        self,
        *,
        store: BudgetStore,
        clock: Clock,
        emit: Callable[[Event], None],
        new_id: Callable[[], str],
        estimates: Estimates | None = None,
        provider: Callable[[str], str | None] = lambda ref: None,
        flush_interval_s: float = 0.2,
    ) -> None:
        self._store = store
        self._clock = clock
        self._emit = emit
        self._new_id = new_id
        self._provider = provider
        self._interval_s = flush_interval_s
        self.estimates = estimates or Estimates()
        self.ledger = Ledger()
        self.limited = False
        self.error: str | None = None
        """Why sums could not be written; ``None`` when they are."""
        self.changed: Callable[[], None] = lambda: None
        """Called when there are other budgets than before."""
        self._done_ids: list[str] = []
        self._told: set[tuple[str, str, float]] = set()
        """(budget, subject, window) whose refusal was said."""
        self.account: Callable[[str], str] = lambda key: key
        """Whom the use of a key is counted for, which is not itself after a rotation."""
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()

    # ------------------------------------------------------------ the request path

    async def admit(self, head: RequestHead, task: str, version: ModelVersion, operation_id: str) -> Reservation:
        """Reserve what an attempt may use; ``NOTHING`` when no budget is for it. Raises ``OverBudget``, ``StoreError``."""
        subjects = Subjects(head.caller, task, version.source.provider)
        accounts = self.ledger.touching(subjects, self._clock.now())
        if not accounts:
            return NOTHING
        need = self.estimates.need
        made, lasting = self._hold(accounts, lambda unit: need(unit, head, task, version), low=head.priority >= LOW)
        return await self._keep(operation_id, made, lasting) if lasting else made

    async def behind(self, operation_id: str, who: str, task: str, version: ModelVersion) -> Reservation:
        """As ``admit``, for work in the background, which has low priority: ``who`` does it, for ``task``."""
        subjects = Subjects(who, task, version.source.provider)
        if not self.ledger.touching(subjects, self._clock.now()):
            return NOTHING
        needs = {unit: self.estimates.behind(unit, task, version) for unit in Unit}
        return await self.reserve(operation_id, subjects, needs, low=True)

    def answered(
        self,
        held: Reservation,
        task: str,
        version: ModelVersion,
        content: bytes | None,
        took_ms: float,
        cpu_ms: float | None,
    ) -> None:
        """Work in the background ended with that answer."""
        if held is NOTHING:
            return
        used = used_of_answer(content, took_ms, cpu_ms)
        if content is not None:
            self.estimates.learned(task, version.ref, used)
        held.settle(used)

    async def reserve(
        self, operation_id: str, subjects: Subjects, needs: Mapping[Unit, Need], *, low: bool = False
    ) -> Reservation:
        """As ``admit``, for work that is no client's request. A unit that ``needs`` leaves out is a guess of nothing.

        Raises ``OverBudget``, and ``StoreError`` when money cannot be reserved durably.
        """
        accounts = self.ledger.touching(subjects, self._clock.now())
        made, lasting = self._hold(accounts, lambda unit: needs.get(unit, Need(1, known=False)), low=low)
        return await self._keep(operation_id, made, lasting) if lasting else made

    def _hold(
        self, accounts: list[Account], need_of: Callable[[Unit], Need], *, low: bool
    ) -> tuple[Reservation, list[tuple[Account, int]]]:
        """Reserve in all of them. Second, what must be on disk before the call."""
        parts, refusal = fitting(accounts, need_of, low=low)
        if refusal is not None:
            raise self._refuse(*refusal)
        lasting = []
        for part in parts:
            part[0].reserved += part[1]
            if part[1] and part[0].budget.unit is _MONEY:
                lasting.append(part)
        return Reservation(self, parts), lasting

    async def _keep(self, operation_id: str, made: Reservation, lasting: list[tuple[Account, int]]) -> Reservation:
        now = self._clock.now()
        rows = [
            HeldRow(
                id=self._new_id(),
                budget=account.budget.name,
                subject=account.subject,
                amount=amount,
                operation_id=operation_id,
                at=now,
            )
            for account, amount in lasting
        ]
        made.ids = tuple(row.id for row in rows)
        try:
            await self._store.hold_budgets(rows)
        except BaseException:
            made.release()  # the row may be on disk all the same; it is taken away behind
            raise
        return made

    def settled(
        self, parts: list[tuple[Account, int]], ids: tuple[str, ...], used: Callable[[Unit], int | None]
    ) -> None:
        """Called by a reservation; ``used`` tells the amount of a unit."""
        now = self._clock.now()
        for account, reserved in parts:
            budget = account.budget
            if account.roll(now) or self.ledger.current(account):
                self.ledger.dirty.add((budget.name, account.subject))
            if account.settle(reserved, used(budget.unit)) and self.ledger.current(account):
                kind = "budget.exhausted" if account.told == EXHAUSTED else "budget.warned"
                self._emit(event(kind, account, now))
        self._done_ids.extend(ids)
        self._wake.set()

    def released(self, parts: list[tuple[Account, int]], ids: tuple[str, ...]) -> None:
        """Called by a reservation."""
        for account, reserved in parts:
            account.reserved -= reserved
        if ids:
            self._done_ids.extend(ids)
            self._wake.set()

    def _refuse(self, account: Account, why: Refusal, need: Need) -> BaseException:
        now = self._clock.now()
        name = account.budget.name
        place = (name, account.subject, account.window.start)
        if why is not Refusal.BUSY and place not in self._told:
            if len(self._told) > 1_000:
                self._told.clear()
            self._told.add(place)
            self._emit(event("budget.refused", account, now, why=why.value))
        return refused(account, why, need, kept_zone(account.budget.timezone), now)

    # ------------------------------------------------------------ budgets

    def has(self, scope: Scope, subject: str, unit: Unit) -> bool:
        """Whether there is a budget of that unit for a subject, by name or for each."""
        return any(
            one.scope is scope and one.unit is unit and one.subject in (EACH, subject)
            for one in self.ledger.budgets.values()
        )

    async def set(self, budget: Budget) -> Budget:
        """Put a budget in force and keep it. Raises ``InvalidRequest``, ``Conflict`` for a declared one, ``StoreError``."""
        check(budget)
        self._changeable(budget.name)
        where = zone(budget.timezone)
        budget = self._of_account(replace(budget, declared=False, at=self._clock.now()))
        await self._store.save_budget(budget)
        await self._begin(budget, where)
        self.changed()
        return budget

    async def remove(self, name: str) -> None:
        """Take a budget back, with what was used of it. Raises ``NotFound``, ``Conflict``, ``StoreError``."""
        if name not in self.ledger.budgets:
            raise NotFound(f"there is no budget {name[:64]!r}; see `podium budgets ls`", code="budget_not_found")
        self._changeable(name)
        await self._store.remove_budget(name)
        self.ledger.drop(name)
        self.limited = bool(self.ledger.budgets)
        self.changed()

    async def declare(self, budgets: Iterable[Budget], kept: Iterable[AccountRow] = ()) -> None:
        """Those of the configuration, all of them; others that were declared before are gone."""
        declared = {budget.name: self._of_account(replace(budget, declared=True)) for budget in budgets}
        for name, before in tuple(self.ledger.budgets.items()):
            if before.declared and name not in declared:
                self.ledger.drop(name)
        rows = tuple(kept)
        for budget in declared.values():
            await self._begin(budget, zone(budget.timezone), rows)
        self.limited = bool(self.ledger.budgets)
        self._wake.set()
        self.changed()

    def standings(self, name: str) -> tuple[Budget, tuple[Standing, ...]]:
        """A budget and its accounts, those with the least left first. Raises ``NotFound``."""
        budget = self.ledger.budgets.get(name)
        if budget is None:
            raise NotFound(f"there is no budget {name[:64]!r}; see `podium budgets ls`", code="budget_not_found")
        found = [account.standing() for account in self.ledger.accounts(name, self._clock.now())]
        return budget, tuple(sorted(found, key=lambda one: (-one.used - one.reserved, one.subject)))

    def _of_account(self, budget: Budget) -> Budget:
        return replace(budget, subject=self.account(budget.subject)) if budget.scope is Scope.KEY else budget

    def _changeable(self, name: str) -> None:
        known = self.ledger.budgets.get(name)
        if known is not None and known.declared:
            raise Conflict(f"budget {name} is in the configuration; change [budgets.{name}] there and reload")

    async def _begin(self, budget: Budget, where: tzinfo, kept: Iterable[AccountRow] = ()) -> None:
        """Put a budget in force. Of a new one, what is on record of its present window is used already."""
        rows = [row for row in kept if row.budget == budget.name]
        past = {} if rows or self.ledger.same(budget) else await self._past(budget, where)
        now = self._clock.now()
        self.ledger.put(budget, where, now, rows)
        for subject, used in past.items():
            account = self.ledger.account(budget.name, subject, now)
            account.settle(0, used)
            self.ledger.dirty.add((budget.name, account.subject))
        self.limited = True
        self._wake.set()

    async def _past(self, budget: Budget, where: tzinfo) -> Mapping[str, int]:
        """What was used by subject, from the first full hour of the window on; of keys nothing is on record."""
        if budget.scope is Scope.KEY or budget.period is Period.TOTAL:
            return {}
        start = window_at(budget.period, where, self._clock.now()).start
        of: dict[str, list[SpentRow]] = {}
        for key, row in (await self._store.spending(since=math.ceil(start / HOUR_S))).items():
            if budget.scope is Scope.PROVIDER:
                subject = self._provider(key.ref)
            else:
                subject = key.task if key.cause in ASKED else None
            if subject is not None and budget.subject in (EACH, subject):
                of.setdefault(subject, []).append(row)
        return {subject: spent_of(rows, budget.unit) for subject, rows in of.items()}

    # ------------------------------------------------------------ the record

    async def resume(self, declared: Iterable[Budget]) -> None:
        """Go on where the last run ended. Raises ``StoreError``."""
        kept, held = await self._store.budget_accounts(), await self._store.held_budgets()
        of_file = tuple(declared)
        for budget in await self._store.budgets():
            if budget.name not in {one.name for one in of_file}:
                await self._begin(budget, kept_zone(budget.timezone), kept)
        await self.declare(of_file, kept)
        known = set(self.ledger.budgets)
        self.ledger.forgotten |= {(row.budget, row.subject) for row in kept if row.budget not in known}
        now = self._clock.now()
        for row in held:
            if row.budget in known:
                account = self.ledger.account(row.budget, row.subject, now)
                account.reserved += row.amount
                account.settle(row.amount, row.amount)
                self.ledger.dirty.add((row.budget, account.subject))
                self._emit(event("budget.recovered", account, now, operation=row.operation_id))
            self._done_ids.append(row.id)
        await self.flush()

    async def run(self) -> None:
        """Until cancelled: write what changed."""
        pause_s = RETRY_FIRST_S
        while True:
            await self._wake.wait()
            await asyncio.sleep(self._interval_s)
            self._wake.clear()
            try:
                await self.flush()
                pause_s = RETRY_FIRST_S
            except StoreError:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_MOST_S)
                self._wake.set()

    async def flush(self) -> None:
        """Return when everything settled before the call is durable. Raises ``StoreError``; then it is written later."""
        async with self._writing:
            self.ledger.sweep(self._clock.now())
            dirty, self.ledger.dirty = self.ledger.dirty, set()
            gone, self.ledger.forgotten = self.ledger.forgotten, set()
            done, self._done_ids = self._done_ids, []
            if not (dirty or gone or done):
                return
            written = False
            try:
                await self._store.settle_budgets(self.ledger.rows(dirty), done, sorted(gone))
                written, self.error = True, None
            except StoreError as error:
                self.error = error.message
                raise
            finally:
                if not written:
                    self.ledger.dirty |= dirty
                    self.ledger.forgotten |= gone
                    self._done_ids[:0] = done

    async def close(self, deadline_s: float = 5.0) -> None:
        """Write what is left."""
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self.flush()
