"""Keeps versions that somebody is paid for off the selection path until there is a key for them and a budget.

Owns the rule and its words. Reserves nothing: that is ``budgeting``'s, once a version may be called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from podium.domain.budget import EACH, Budget, Price, Scope, Unit
from podium.domain.model import ModelVersion
from podium.errors import PodiumError, PolicyError
from podium.ports import Hosting, Provider

_BINDING = frozenset({Unit.TOKENS, Unit.COMPUTE})
"""Units that hold a hosted model whatever it costs. Energy holds none: nobody knows it."""


class HostedGate:
    """One per gateway. ``budgets`` are those in force, ``price`` tells what a version costs; both are set once they are
    there, and until then nothing hosted may be called.
    """

    def __init__(self, providers: Callable[[str], Provider], *, offline: bool = False) -> None:
        self._providers = providers
        self._offline = offline
        self.budgets: Callable[[], Iterable[Budget]] = tuple
        self.price: Callable[[ModelVersion], Price | None] = lambda version: None

    def hosted(self, version: ModelVersion) -> bool:
        """Whether somebody is paid for its answers."""
        provider = self._provider(version)
        return provider is not None and provider.hosted(version)

    def refusal(self, version: ModelVersion) -> str | None:
        """Why a version may not be called; ``None`` when it may, or nobody is paid for it."""
        provider = self._provider(version)
        if provider is None or not provider.hosted(version):
            return None
        name = version.source.provider
        if self._offline:
            return "hosted: `[network] offline` is on"
        why = provider.locked(version)
        if why is not None:
            return f"hosted: {why}"
        found = [one for one in self.budgets() if one.scope is Scope.PROVIDER and one.subject in (EACH, name)]
        if not found:
            return (
                f"hosted: no budget for provider {name}; add [budgets.{name}] to the configuration, or "
                f"`podium budgets set {name} --provider {name} --unit tokens --limit N`"
            )
        if any(one.unit in _BINDING for one in found):
            return None
        if not any(one.unit is Unit.MONEY for one in found):
            return (
                f"hosted: the budget for provider {name} counts what a hosted model does not show; count usd or tokens"
            )
        if self.price(version) is None:
            return (
                f"hosted: its price is not known, so no budget in usd can hold it; add it to [prices], or a budget in "
                f"tokens for provider {name}"
            )
        return None

    def check(self, version: ModelVersion) -> None:
        """Raises ``PolicyError`` for a version that may not be called."""
        why = self.refusal(version)
        if why is not None:
            raise PolicyError(f"{version.ref} is {why}", code="hosted_not_enabled")

    def _provider(self, version: ModelVersion) -> Hosting | None:
        try:
            found = self._providers(version.source.provider)
        except PodiumError:
            return None
        return found if isinstance(found, Hosting) else None
