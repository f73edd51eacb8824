"""Values that store and recorder tests share."""

from __future__ import annotations

from types import MappingProxyType

from podium.domain.cost import Cost
from podium.domain.decision import Candidate, Choice, Decision, Expected, Outcome
from podium.domain.model import Category, Facts, ModelVersion, Source

TERMS = ("quality", "latency", "memory", "reliability", "recency")


def version(name: str = "smol", number: str = "1", digest: str = "a" * 64, **other: object) -> ModelVersion:
    values: dict[str, object] = {
        "source": Source(provider="llamacpp", location="/models/x.gguf", settings=MappingProxyType({"slots": 2})),
        "facts": Facts(digest=f"sha256:{digest}", parameters=135, capabilities=frozenset({"chat", "tools"})),
        "category": Category.FAST,
        "tags": frozenset({"small", "local"}),
        "created_at": 10.0,
    }
    return ModelVersion(name=name, version=number, **{**values, **other})  # type: ignore[arg-type] # test data


def choice(candidates: int = 3, task: str = "code") -> Choice:
    options = tuple(
        Candidate(
            ref=f"qwen2.5-coder@{n}",
            score=0.1234567890123 + n / 7,
            terms=tuple((term, (n + 1) / (place + 3.1)) for place, term in enumerate(TERMS)),
            samples=n,
            flags=("best effort: quality",) if n % 3 == 0 else (),
        )
        for n in range(candidates - 1)
    )
    dropped = Candidate(ref="gone@1", dropped="context 2048 is below the 4096 needed")
    return Choice(
        task=task,
        strategy="balanced",
        chosen="qwen2.5-coder@0",
        propensity=1.0,
        fallbacks=("qwen2.5-coder@1",),
        reason="highest score",
        confidence=0.7,
        candidates=(*options, dropped),
        expected=Expected(latency_ms=12.5, samples=3),
    )


def attempt(
    number: int = 0, picked: Choice | None = None, *, request: str | None = None, at: float = 100.0, **other: object
) -> tuple[Decision, Outcome]:
    taken = picked or choice()
    request_id = request or f"req-{number}"
    decision = Decision(
        id=f"dec-{number}", request_id=request_id, at=at, choice=taken, served=taken.chosen, propensity=1.0
    )
    values: dict[str, object] = {
        "decision_id": decision.id,
        "request_id": request_id,
        "task": taken.task,
        "ref": taken.chosen,
        "at": at + 1,
        "success": True,
        "error": None,
        "streamed": False,
        "latency_ms": 100.0,
        "ttft_ms": 20.0,
        "cost": Cost(wall_ms=100.0, cpu_ms=5.0, peak_memory_mb=90.0, tokens_per_s=30.0, missing=(("energy", "no"),)),
    }
    return decision, Outcome(**{**values, **other})  # type: ignore[arg-type] # test data
