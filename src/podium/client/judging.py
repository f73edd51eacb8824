"""``podium.judging``: have answers judged, and see what was judged of live traffic. HTTP only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podium.client.api import Podium

Json = dict[str, Any]
PER_CALL = 32


class Judging:
    """Judging by one gateway. Methods raise the ``PodiumError`` the gateway answered."""

    def __init__(self, podium: Podium) -> None:
        self._podium = podium

    async def judge(
        self,
        output: str,
        *,
        task: str = "general",
        criteria: Sequence[str] | None = None,
        judge: str | None = None,
        **item: Any,
    ) -> Json:
        """One answer: ``overall``, ``passed`` and ``criteria``. ``item``: prompt, expected, context, output_schema, finish."""
        body = {"item": {"output": output, "task": task, **item}, **_asked(criteria, judge)}
        return dict((await self._podium.call("POST", "/api/v1/judge", body))["results"][0])

    async def batch(
        self,
        items: Iterable[Mapping[str, Any]],
        *,
        criteria: Sequence[str] | None = None,
        judge: str | None = None,
        per_call: int = PER_CALL,
    ) -> AsyncIterator[Json]:
        """Many answers, in order, a few at a time; each as from ``judge``."""
        rest = iter(items)
        while some := [dict(one) for one in islice(rest, per_call)]:
            body = {"items": some, **_asked(criteria, judge)}
            for result in (await self._podium.call("POST", "/api/v1/judge", body))["results"]:
                yield result

    async def compare(
        self, a: str, b: str, *, criterion: str = "relevance", judges: Sequence[str] = ("auto",), **asked: Any
    ) -> Json:
        """Which of two answers is better: ``winner`` (a, b, tie; None without a vote), ``agreement``, what each judge said.
        ``asked``: prompt, context, expected, task.
        """
        body = {"a": a, "b": b, "criterion": criterion, "judges": list(judges), **asked}
        return await self._podium.call("POST", "/api/v1/judge/pair", body)

    async def ls(self, task: str | None = None, *, limit: int = 50, offset: int = 0, **query: Any) -> list[Json]:
        """Stored judgments of live traffic, newest first; ``query``: ref, criterion, judge, request_id, invalid."""
        query = {"task": task, "limit": limit, "offset": offset, **query}
        return list((await self._podium.call("GET", "/api/v1/judgments", query=query))["judgments"])

    async def stats(self, task: str | None = None, *, hours: float | None = None) -> Json:
        """``estimates``, ``costs`` and ``live``."""
        return await self._podium.call("GET", "/api/v1/judgments/stats", query={"task": task, "hours": hours})


def _asked(criteria: Sequence[str] | None, judge: str | None) -> Json:
    given = {"criteria": list(criteria) if criteria else None, "judge": judge}
    return {name: value for name, value in given.items() if value is not None}
