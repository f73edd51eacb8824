"""Who judges: a version chosen for the task ``judgment`` by the same policy as for any other task.

``judgment.CRITERION`` is used instead where somebody configured or bound a task of that name. Nothing judges itself while
another version can: neither the judged version, nor one of the same model, nor a copy of it under another name. A version
whose replies are no verdicts is passed over, unless somebody bound the task to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from podium.domain.decision import Choice
from podium.domain.judgment import TASK
from podium.domain.model import Capability, ModelVersion
from podium.errors import NoCandidate, NotFound
from podium.services.policy import Policy
from podium.services.registry import Registry
from podium.services.tasks import Tasks

BOUND = "bound"
"""The strategy of a choice that a binding made."""
NEEDS = frozenset({Capability.CHAT.value})


class JudgePicker:
    """``may_judge_itself``: whether the judged version may when nothing else can; asked anew each time."""

    def __init__(
        self, policy: Policy, registry: Registry, tasks: Tasks, *, may_judge_itself: Callable[[], bool] = lambda: True
    ) -> None:
        self._policy = policy
        self._registry = registry
        self._tasks = tasks
        self._may_judge_itself = may_judge_itself

    def task_for(self, criterion: str) -> str:
        """The task by which a judge of this criterion is chosen."""
        own = f"{TASK}.{criterion}"
        return own if self._tasks.known(own) else TASK

    def pick_judge(
        self,
        criterion: str,
        judged_ref: str | None,
        named: ModelVersion | None = None,
        mute: frozenset[str] = frozenset(),
    ) -> ModelVersion | None:
        """The judge of answers of ``judged_ref`` (``None``: of answers that no version here gave).

        ``named``: somebody's choice, which stands unless it would judge itself. ``mute``: those whose replies are no verdicts,
        chosen only when nothing else can. The judge is the judged version itself only when nothing else can, and ``None`` when
        nothing can or that is not allowed.
        """
        task = self.task_for(criterion)
        choice = None if named else self._choice(task)
        chosen = named or self._version(choice)
        if chosen is None:
            return None
        stands = choice is None or choice.strategy == BOUND or chosen.ref not in mute
        kin = frozenset[str]() if judged_ref is None else self._kin(judged_ref)
        if stands and chosen.ref not in kin:
            return chosen
        itself = frozenset[str]() if judged_ref is None else frozenset({judged_ref})
        for without in dict.fromkeys((kin | mute, itself | mute, kin, itself)):
            other = self._version(self._best(task, without))
            if other is not None:
                return other
        return chosen if judged_ref is None or self._may_judge_itself() else None

    def _choice(self, task: str) -> Choice | None:
        try:
            return self._policy.choose(task, needs=NEEDS, size=0, explicit=None, criteria=None)
        except NoCandidate:
            return None

    def _best(self, task: str, without: frozenset[str]) -> Choice | None:
        try:
            return self._policy.best(task, needs=NEEDS, without=without)
        except NoCandidate:
            return None

    def _version(self, choice: Choice | None) -> ModelVersion | None:
        try:
            return None if choice is None else self._registry.get(choice.chosen)
        except NotFound:
            return None

    def _kin(self, ref: str) -> frozenset[str]:
        """The version, the others of its model, and copies of its artifact."""
        try:
            judged = self._registry.get(ref)
        except NotFound:
            return frozenset({ref})
        others: Iterable[ModelVersion] = self._registry.versions()
        return frozenset(
            other.ref for other in others if other.name == judged.name or other.facts.digest == judged.facts.digest
        )
