"""What an attempt needs of its caller's limits and of budgets: reserved before it is made, put right when it has ended."""

from __future__ import annotations

from typing import Protocol

from podium.domain.budget import Unit
from podium.domain.decision import Outcome
from podium.domain.model import ModelVersion
from podium.domain.request import Allowance, RequestHead
from podium.services.budgeting import NOTHING, Budgeting
from podium.services.budgeting.estimates import input_tokens, used_of


class Held(Protocol):
    """What an attempt holds."""

    def ended(self, outcome: Outcome, *, used: bool) -> None:
        """It ended; ``used`` is false where it never got to a model, or was turned away."""
        ...


class _Allowed:
    """Tokens of the caller's limit beside what is held of budgets."""

    __slots__ = ("_allowance", "_held")

    def __init__(self, allowance: Allowance, held: Held) -> None:
        self._allowance = allowance
        self._held = held

    def ended(self, outcome: Outcome, *, used: bool) -> None:
        self._held.ended(outcome, used=used)
        self._allowance.spent(used_of(outcome.cost, Unit.TOKENS) if used else 0)


class Admission:
    """One per gateway."""

    def __init__(self, budgeting: Budgeting) -> None:
        self._budgeting = budgeting

    async def admit(self, head: RequestHead, task: str, version: ModelVersion, operation_id: str) -> Held:
        """Reserve what an attempt may use. Raises ``RateLimited``, ``OverBudget``, ``StoreError``."""
        budgeting, allowance = self._budgeting, head.allowance
        if allowance is not None:
            need = budgeting.estimates.output(head, task, version.ref)
            allowance.take(input_tokens(head.size), need.amount, known=need.known)
        held = await budgeting.admit(head, task, version, operation_id) if budgeting.limited else NOTHING
        return held if allowance is None else _Allowed(allowance, held)
