"""The ``[budgets.NAME]`` sections: what may be used up in a while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from podium.core.budget import amount, check
from podium.domain.budget import Budget, Period, Scope, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetEntry:
    """One budget."""

    scope: Annotated[Scope, Meta(description="Of whom it is: a key, a task or a provider")]
    subject: Annotated[str, Meta(description='Which one; "*" gives each of them the budget for itself')]
    unit: Annotated[Unit, Meta(description="What is counted")]
    limit: Annotated[float, Meta(description="How much of it; 0 refuses everything")]
    period: Annotated[Period, Meta(description="In which time; `total` never begins anew")] = Period.MONTH
    timezone: Annotated[str, Meta(description="IANA time zone in which days, weeks and months begin")] = "UTC"

    def budget(self, name: str) -> Budget:
        """As the domain knows it. Raises ``InvalidRequest`` for one that makes no sense."""
        made = Budget(
            name=name,
            scope=self.scope,
            subject=self.subject,
            unit=self.unit,
            limit=amount(self.limit, self.unit),
            period=self.period,
            timezone=self.timezone,
            declared=True,
            by="config",
        )
        check(made)
        if self.timezone != "UTC":
            from podium.services.openings import zone  # noqa: PLC0415 - keeps `podium --help` fast

            zone(self.timezone)
        return made


def declared_budgets(entries: Mapping[str, BudgetEntry]) -> tuple[Budget, ...]:
    """All of them; the reader has checked each."""
    return tuple(entry.budget(name) for name, entry in entries.items())
