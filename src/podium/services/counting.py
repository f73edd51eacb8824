"""Counts the tokens of a prompt with the tokenizer of the version that would answer, if a copy of it is warm.

Nothing is loaded, generated or recorded for it. Without a tokenizer to ask there is no number here: callers estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

from podium.domain.model import ModelVersion
from podium.domain.request import RequestHead
from podium.domain.task import DEFAULT_TASK, Criteria
from podium.errors import NotFound, ProviderError
from podium.ports.provider import CountsTokens
from podium.services import wire
from podium.services.classifier import TaskClassifier
from podium.services.policy import Policy
from podium.services.pool import Pool
from podium.services.registry import Registry
from podium.services.tasks import Tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """``tokens`` is ``None`` when nobody could be asked; ``why`` says so then."""

    ref: str
    tokens: int | None
    why: str = ""


class TokenCounter:
    """Asks warm copies."""

    def __init__(
        self, registry: Registry, policy: Policy, tasks: Tasks, classifier: TaskClassifier, pool: Pool
    ) -> None:
        self._registry = registry
        self._policy = policy
        self._tasks = tasks
        self._classifier = classifier
        self._pool = pool

    async def count(self, head: RequestHead, criteria: Criteria | None) -> Counted:
        """Raises what choosing a version raises: ``NotFound``, ``NoCandidate``."""
        version = self._choose(head, criteria)
        lease = self._pool.lease_now(version)
        if lease is None:
            return Counted(ref=version.ref, tokens=None, why="no copy of it is loaded and free")
        try:
            if not isinstance(lease.instance, CountsTokens):
                return Counted(ref=version.ref, tokens=None, why="its provider has no tokenizer to ask")
            found = await lease.instance.count_tokens(wire.compose(head, lease.instance.model))
        except ProviderError as error:
            return Counted(ref=version.ref, tokens=None, why=error.message)
        finally:
            lease.release()
        return Counted(ref=version.ref, tokens=found, why="" if found is not None else "its server counts no tokens")

    def _choose(self, head: RequestHead, criteria: Criteria | None) -> ModelVersion:
        """As for an answer, but nothing is explored and nothing learned."""
        task, explicit = head.task or DEFAULT_TASK, None
        if head.model == "auto":
            task = head.task or self._classifier.classify(head, self._tasks.specs()).task
        elif head.model.startswith("task:"):
            task = head.model[5:]
            if not self._tasks.known(task):
                raise NotFound(self._tasks.unknown(task), param="model", code="model_not_found")
        else:
            explicit = self._registry.resolve(head.model).ref
        if not self._tasks.known(task):
            task = DEFAULT_TASK
        choice = self._policy.choose(task, needs=head.needs, size=head.size, explicit=explicit, criteria=criteria)
        return self._registry.get(choice.chosen)
