"""Suites, runs and their results; what runs code and what marks answers. Protocols and small values; no implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from podium.domain.benchmark import Generated, Grade, ItemResult, Run, Suite
from podium.domain.model import ModelVersion
from podium.ports.store import Page


class BenchmarkStore(Protocol):
    """Benchmark runs and graded answers. Kept apart from outcomes and evidence of live traffic."""

    async def save_benchmark_run(self, run: Run) -> None:
        """Insert or update by id."""
        ...

    async def benchmark_runs(self, page: Page) -> tuple[Run, ...]:
        """Newest first."""
        ...

    async def find_benchmark_run(self, run_id: str) -> Run | None: ...

    async def save_benchmark_results(self, results: Sequence[ItemResult]) -> None:
        """Insert; the same (digest, item, ref) is replaced."""
        ...

    async def forget_benchmark_results(self, digest: str, refs: Sequence[str]) -> int: ...

    async def benchmark_results(self, digest: str, refs: Sequence[str]) -> tuple[ItemResult, ...]: ...

    async def current_benchmark_results(self, task: str | None) -> tuple[ItemResult, ...]:
        """Those of the digest that the newest run of each suite used."""
        ...

    async def benchmark_scores(self) -> Mapping[tuple[str, str], tuple[int, float]]:
        """(answers graded, mean score) by (task, ref), of current results."""
        ...


class Answers(Protocol):
    """Asks one version, directly and at low priority, whatever selection would have chosen."""

    async def prepare(self, version: ModelVersion) -> int:
        """Load it; returns how many requests it works on in parallel. Raises ``PodiumError``."""
        ...

    async def generate(
        self, version: ModelVersion, messages: Sequence[Mapping[str, str]], *, max_tokens: int, request_id: str
    ) -> Generated:
        """One answer, greedy and with a fixed seed. Raises ``ProviderError``, ``Overloaded``."""
        ...


class Sandbox(Protocol):
    """Runs code nobody vouches for. Blocking: call it in a thread."""

    def run_tests(self, code: str, tests: str) -> Grade:
        """1 when ``tests`` run to their end after ``code``, else 0 with the reason."""
        ...

    def search(self, pattern: str, text: str) -> bool | None:
        """Whether the pattern is found; ``None`` when that took too long."""
        ...

    def confinement(self) -> Mapping[str, str]:
        """What confines network, processes, files, disk and resources on this machine."""
        ...

    def close(self) -> None:
        """End every job."""
        ...


class Suites(Protocol):
    """Where suites come from."""

    def names(self) -> tuple[str, ...]:
        """Sorted."""
        ...

    def get(self, name: str) -> Suite:
        """Raises ``NotFound``; ``InvalidRequest`` when its files are wrong."""
        ...

    def inline(self, name: str, head: Mapping[str, object], items: Sequence[Mapping[str, object]]) -> Suite:
        """A suite whose content came with the request. Raises ``InvalidRequest``."""
        ...


class Judge(Protocol):
    """Grades what no rule can. Nothing implements it yet."""

    async def grade(self, prompt: str, answer: str, rubric: str) -> Grade:
        """``score`` is ``None`` when the judge could not decide."""
        ...
