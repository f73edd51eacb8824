"""Judges by name for ``podium judge calibrate``: the rules here, models through the gateway."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from podium.domain.judgment import RULES, STACK, Judged, Verdict
from podium.errors import InvalidRequest, PodiumError, ProviderUnreachable, Unauthenticated
from podium.services.calibrating import RowJudge, RulesJudge

if TYPE_CHECKING:
    from podium.client import Podium


@contextlib.asynccontextmanager
async def open_judges(names: Sequence[str]) -> AsyncIterator[tuple[RowJudge, ...]]:
    """Everybody who has to score rows, once each; the rules too when a stack is asked for. Without a model no gateway is
    opened. Raises what the gateway says of a model it does not know.
    """
    models = [name for name in dict.fromkeys(names) if name not in (RULES, STACK)]
    first: tuple[RowJudge, ...] = (RulesJudge(),) if {RULES, STACK} & set(names) else ()
    if not models:
        yield first
        return
    from podium.cli.session import gateway  # noqa: PLC0415 - only models need one

    async with gateway() as podium:
        yield (*first, *[await ServedJudge.find(podium, name) for name in models])


class ServedJudge:
    """One version behind the gateway. ``name`` is its ref."""

    def __init__(self, podium: Podium, name: str) -> None:
        self._podium = podium
        self.name = name

    @classmethod
    async def find(cls, podium: Podium, name: str) -> ServedJudge:
        """The version that ``name`` means. Raises ``NotFound``."""
        shown = await podium.model(name)
        return cls(podium, str(shown["ref"]))

    async def judge(self, item: Judged, criterion: str) -> Verdict:
        """Its verdict. One item that the gateway cannot take is ``invalid``; raises when there is no gateway any more."""
        given = {"id": item.id, "output": item.output, "prompt": item.prompt, "context": item.context}
        try:
            found = await self._podium.call(
                "POST", "/api/v1/judge", {"item": given, "criteria": [criterion], "judge": self.name}
            )
        except (ProviderUnreachable, Unauthenticated):
            raise
        except PodiumError as error:
            if isinstance(error, InvalidRequest) and error.param in ("criteria", "judge"):
                raise
            return Verdict(criterion=criterion, judge=self.name, score=None, invalid=error.message)
        for verdict in found["results"][0]["criteria"][0]["verdicts"]:
            if verdict["judge"] == self.name:
                return _verdict(criterion, verdict)
        why = found["problems"].get(criterion) or "the gateway did not ask it"
        return Verdict(criterion=criterion, judge=self.name, score=None, invalid=why)


def _verdict(criterion: str, said: Mapping[str, Any]) -> Verdict:
    kept = (
        "judge",
        "score",
        "sd",
        "method",
        "reason",
        "invalid",
        "reply",
        "latency_ms",
        "input_tokens",
        "output_tokens",
    )
    return Verdict(
        criterion=criterion,
        features=MappingProxyType(dict(said["features"])),
        cached=bool(said["cached"]),
        **{name: said[name] for name in kept},
    )
