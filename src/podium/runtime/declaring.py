"""What the configuration declares: models, bindings, strategies. Registers them and says what is wrong with them."""

from __future__ import annotations

from podium.config import Config
from podium.errors import ConfigError, PodiumError
from podium.services.onboarding import Registration
from podium.services.plane import Services
from podium.services.policy import Policy


def check_strategies(policy: Policy, config: Config) -> None:
    """Raise ``ConfigError`` for a strategy that nobody knows: requests could not be answered by it."""
    named = {"selection": config.selection.strategy}
    named |= {f"tasks.{name}": entry.strategy for name, entry in config.tasks.items() if entry.strategy is not None}
    for where, strategy in named.items():
        try:
            policy.check_strategy(strategy, config.selection.weights)
        except PodiumError as error:
            raise ConfigError(f"{where}.strategy: {error.message}") from None


def declared_names(config: Config) -> tuple[str, ...]:
    """What the configuration makes: models, with their version where it says one, and tasks as ``task:NAME``."""
    models = [
        name if "@" in name or not one.version else f"{name}@{one.version}" for name, one in config.models.items()
    ]
    return (*models, *(f"task:{name}" for name in config.tasks))


async def apply_models(
    services: Services, config: Config, names: tuple[str, ...], *, changed: bool = False
) -> dict[str, str]:
    """Register the declared models; one that fails does not keep the others from serving. Returns what is wrong, by
    ``model NAME`` or ``task NAME``.
    """
    problems: dict[str, str] = {}
    for entry_name in names:
        entry = config.models[entry_name]
        name, _, version = entry_name.partition("@")
        order = Registration(
            name=name,
            version=entry.version or version or None,
            source=entry.source(),
            category=entry.category,
            tags=entry.tags,
            parent=entry.parent,
            specialisation=entry.specialisation,
            provenance=entry.provenance(),
            activate=entry.activate,
        )
        try:
            made, _, problem = await services.onboarding.add(order, "config")
            await services.directives.declare(entry_name, made, entry.directive(), changed=changed)
        except PodiumError as error:
            problem = error
        if problem is not None:
            problems[f"model {entry_name}"] = problem.message
    for task, spec in config.tasks.items():
        if spec.binding and services.swapper.binding(task) is None:
            try:
                done = await services.swapper.swap(task, spec.binding, by="config", reason="declared binding")
                if done.error:
                    problems[f"task {task}"] = done.error
            except PodiumError as error:
                problems[f"task {task}"] = error.message
    return problems
