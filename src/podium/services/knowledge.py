"""Keeps what is known of every task, and hands out what of it sharpens criteria.

Owns the knowledge by task and which of it is not durable yet. The means of versions it needs to measure trends are kept
beside it, in memory only, and begin anew with the process.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet

from podium.core import knowledge
from podium.core.knowledge import Centre
from podium.core.lessons import ENOUGH, Lessons, enhance_criteria, read_lessons
from podium.domain.decision import Feedback, Outcome
from podium.domain.knowledge import TaskKnowledge
from podium.domain.task import Criteria

CENTRES = 10_000
SHARPENING = ("usual_quality", "optimal_latency_ms", "preference")
"""The lessons that sharpen criteria."""
_OPEN = Criteria()


class KnowledgeBase:
    """One per gateway, used from its event loop only. ``publish`` gets all lessons that sharpen, by task, when any of
    them comes to say something else, and only while ``enhance`` is set.
    """

    def __init__(self, known: Mapping[str, TaskKnowledge] | None = None) -> None:
        self._known = dict(known or {})
        self._centres: OrderedDict[tuple[str, str], Centre] = OrderedDict()
        self._dirty: set[str] = set()
        self._moved: set[str] = set(self._known)
        """Tasks whose lessons may say something else than what was published."""
        self._published: dict[str, tuple[Criteria, Lessons]] = {}
        self.enhance = False
        self._enhanced = False

    def of(self, task: str) -> TaskKnowledge:
        """What is known of a task; all zero for one nobody met."""
        return self._known.get(task) or TaskKnowledge()

    # ------------------------------------------------------------ learning

    def outcomes(self, outcomes: Iterable[Outcome], with_tools: AbstractSet[str]) -> None:
        """Requests ended; ``with_tools`` are the ids of decisions whose request offered tools."""
        groups: defaultdict[str, list[tuple[Outcome, bool]]] = defaultdict(list)
        for outcome in outcomes:
            groups[outcome.task].append((outcome, outcome.decision_id in with_tools))
        for task, pairs in groups.items():
            before = self.of(task)
            after = knowledge.observe(before, pairs)
            if after is not before:
                self._keep(task, after)

    def feedback(self, answer: Outcome, said: Feedback, earlier: Feedback | None) -> None:
        """Somebody said something of an answer, in the place of ``earlier``."""
        key = (said.task, said.ref)
        centre = self._centres.get(key) or Centre()
        after, centre = knowledge.score(self.of(said.task), answer, said, earlier, centre)
        self._centres[key] = centre
        self._centres.move_to_end(key)
        if len(self._centres) > CENTRES:
            self._centres.popitem(last=False)
        self._keep(said.task, after)
        self._moved.add(said.task)

    def _keep(self, task: str, known: TaskKnowledge) -> None:
        self._known[task] = known
        self._dirty.add(task)

    # ------------------------------------------------------------ storing

    def take(self) -> dict[str, TaskKnowledge]:
        """What is not durable yet; give it to ``put_back`` when storing it failed."""
        dirty, self._dirty = self._dirty, set()
        return {task: self._known[task] for task in dirty}

    def put_back(self, tasks: Iterable[str]) -> None:
        """These could not be stored."""
        self._dirty.update(tasks)

    @property
    def unsaved(self) -> bool:
        """Whether ``take`` would give something."""
        return bool(self._dirty)

    # ------------------------------------------------------------ sharpening

    def publish(self, teach: Callable[[Mapping[str, Lessons]], None]) -> None:
        """Hand out what sharpens criteria, when it came to say something else since the last call."""
        if not self.enhance:
            if self._enhanced:
                self._published.clear()
                self._moved.update(self._known)
                teach({})
            self._enhanced = False
            return
        moved, self._moved = self._moved, set()
        changed = False
        for task in moved:
            if task not in self._published and self.of(task).score.n < ENOUGH:
                continue
            lessons = read_lessons(self.of(task), {})
            lessons = {name: lessons[name] for name in SHARPENING}
            sharp, _ = enhance_criteria(_OPEN, lessons)
            if self._published.get(task, (_OPEN,))[0] != sharp:
                self._published[task] = (sharp, lessons)
                changed = True
        if changed or not self._enhanced:
            teach({task: lessons for task, (_, lessons) in self._published.items()})
        self._enhanced = True
