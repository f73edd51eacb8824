"""Which accounts an operation counts for, and whether they all have room. In memory; touches no disk.

Owns the accounts. Whoever changes one notes it in ``dirty``; somebody else writes them down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import tzinfo

from podium.core.budget import Account, Refusal
from podium.domain.budget import EACH, OTHERS, AccountRow, Budget, Need, Scope, Subjects, Unit

MOST_SUBJECTS = 20_000
"""Accounts of one budget for each; those who come later share one."""

SWEEP_S = 60.0


class Ledger:
    """One per gateway. ``dirty``: accounts that changed, ``forgotten``: those that are gone, by (budget, subject)."""

    def __init__(self) -> None:
        self.budgets: dict[str, Budget] = {}
        self.dirty: set[tuple[str, str]] = set()
        self.forgotten: set[tuple[str, str]] = set()
        self._swept_at = 0.0
        self._zones: dict[str, tzinfo] = {}
        self._accounts: dict[str, dict[str, Account]] = {}
        self._used: list[tuple[int, dict[str, tuple[str, ...]], tuple[str, ...]]] = []
        """Of each scope that has budgets: its place in ``Subjects.all``, names of budgets by subject, those for each."""

    def same(self, budget: Budget) -> bool:
        """Whether a budget of that name counts the same already; then only its limit may differ."""
        before = self.budgets.get(budget.name)
        return before is not None and before.kind == budget.kind and before.subject == budget.subject

    def put(self, budget: Budget, zone: tzinfo, now: float, kept: Iterable[AccountRow] = ()) -> None:
        """Put a budget in force. Where only its limit is another, what was used stays used."""
        if not self.same(budget):
            self.drop(budget.name)
            self._accounts[budget.name] = {
                row.subject: Account(budget, row.subject, zone, now, row)
                for row in kept
                if row.kind == budget.kind and budget.subject in (EACH, row.subject)
            }
        for account in self._accounts[budget.name].values():
            account.limit(budget)
        self.budgets[budget.name] = budget
        self._zones[budget.name] = zone
        self._index()
        if budget.subject != EACH:
            self.account(budget.name, budget.subject, now)

    def drop(self, name: str) -> None:
        """A budget is in force no more. Operations under way go on."""
        self.budgets.pop(name, None)
        self._zones.pop(name, None)
        self.forgotten |= {(name, subject) for subject in self._accounts.pop(name, {})}
        self.dirty = {one for one in self.dirty if one[0] != name}
        self._index()

    def touching(self, subjects: Subjects, now: float) -> list[Account]:
        """The accounts an operation counts for, in the window of now."""
        found: list[Account] = []
        for place, named, each in self._used:
            subject = subjects.all[place]
            for name in named.get(subject, ()):
                found.append(self.account(name, subject, now))  # noqa: PERF401 - a comprehension for one costs more
            for name in each:
                found.append(self.account(name, subject, now))  # noqa: PERF401 - as above
        return found

    def account(self, name: str, subject: str, now: float) -> Account:
        """The account of a subject, made when it is not there, in the window of now."""
        accounts = self._accounts[name]
        account = accounts.get(subject)
        if account is None:
            if len(accounts) >= MOST_SUBJECTS and subject != OTHERS:
                return self.account(name, OTHERS, now)
            account = accounts[subject] = Account(self.budgets[name], subject, self._zones[name], now)
            self.forgotten.discard((name, subject))
        elif account.roll(now):
            self.dirty.add((name, subject))
        return account

    def current(self, account: Account) -> bool:
        """Whether it is still in force."""
        accounts = self._accounts.get(account.budget.name)
        return accounts is not None and accounts.get(account.subject) is account

    def accounts(self, name: str, now: float) -> Iterator[Account]:
        """Those of a budget, in the window of now."""
        for subject in tuple(self._accounts.get(name, ())):
            yield self.account(name, subject, now)

    def sweep(self, now: float) -> None:
        """Forget subjects that were not heard of for a window and more; a look at all of them, once in a while."""
        if abs(now - self._swept_at) < SWEEP_S:
            return
        self._swept_at = now
        for name, accounts in self._accounts.items():
            if self.budgets[name].subject == EACH:
                gone = [subject for subject, account in accounts.items() if account.forgettable(now)]
                for subject in gone:
                    del accounts[subject]
                    self.dirty.discard((name, subject))
                    self.forgotten.add((name, subject))

    def rows(self, which: Iterable[tuple[str, str]]) -> list[AccountRow]:
        """Accounts as they are kept; those that are gone are left out."""
        found = (self._accounts.get(name, {}).get(subject) for name, subject in which)
        return [account.row() for account in found if account is not None]

    def _index(self) -> None:
        used = []
        for place, scope in enumerate(Scope):
            named: dict[str, tuple[str, ...]] = {}
            each: tuple[str, ...] = ()
            for budget in self.budgets.values():
                if budget.scope is scope and budget.subject == EACH:
                    each = (*each, budget.name)
                elif budget.scope is scope:
                    named[budget.subject] = (*named.get(budget.subject, ()), budget.name)
            if named or each:
                used.append((place, named, each))
        self._used = used


def fitting(
    accounts: Iterable[Account], need_of: Callable[[Unit], Need], *, low: bool
) -> tuple[list[tuple[Account, int]], tuple[Account, Refusal, Need] | None]:
    """What to reserve in each account; or the one that has no room, why, and for what. Reserves nothing."""
    parts: list[tuple[Account, int]] = []
    for account in accounts:
        need = need_of(account.budget.unit)
        room = account.room(need, low=low)
        if isinstance(room, Refusal):
            return [], (account, room, need)
        parts.append((account, room))
    return parts, None
