"""``podium judge pairs FILE``: which of two answers judges prefer, how far they agree, and how often people agree with them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from podium.cli import output
from podium.cli.evaluation import progress_of
from podium.cli.session import AsJson, gateway
from podium.errors import PodiumError, ProviderUnreachable, Unauthenticated

Json = dict[str, Any]
LEAST_LABELS = 20
"""Labelled pairs below which no weights of a panel are counted."""
AT_ONCE = 4


def pairs(
    file: Annotated[Path, typer.Argument(help="JSON lines: context, output_1, output_2, and human (1 or 2) if known.")],
    judge: Annotated[list[str] | None, typer.Option(help="NAME@VERSION or auto; repeatable, then a panel.")] = None,
    criterion: Annotated[str | None, typer.Option(help="Rubric, for all rows; each row's own, else relevance.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many pairs only.")] = None,
    as_json: AsJson = False,
) -> None:
    """Have judges say which of two answers is better, asked in both orders; several judges are a panel."""
    from podium.datasets.pairs import read_pairs  # noqa: PLC0415 - keeps `podium --help` fast

    rows = read_pairs(file, criterion)[:limit]
    started = time.monotonic()
    said = asyncio.run(_asked(rows, judge or ["auto"], quiet=as_json))
    found = summary(said, [row.human for row in rows])
    found |= {"pairs": len(rows), "seconds": time.monotonic() - started}
    if as_json:
        results = [{"id": row.id, "human": row.human, **one} for row, one in zip(rows, said, strict=True)]
        output.emit_json({"file": str(file), **found, "results": results})
        return
    output.table(COLUMNS, [[one[name] for name in _SHOWN] for one in found["judges"]])
    output.say()
    output.facts({name: found[name] for name in ("pairs", "agreement", "alpha")})
    if found["problem"]:
        output.note(found["problem"])


COLUMNS = ("judge", "first better", "second better", "tie", "no vote", "right", "95 %")
_SHOWN = ("judge", "a", "b", "tie", "none", "right", "interval")


async def _asked(rows: Sequence[Any], judges: Sequence[str], *, quiet: bool) -> list[Json]:
    results: list[Json | None] = [None] * len(rows)
    with progress_of(f"judging {len(rows)} pairs", quiet=quiet) as heard:
        async with gateway() as podium:
            places = asyncio.Semaphore(AT_ONCE)

            async def one(number: int, row: Any) -> None:
                body = {"a": row.first, "b": row.second, "prompt": row.prompt, "context": row.context}
                async with places:
                    try:
                        results[number] = await podium.call(
                            "POST", "/api/v1/judge/pair", {**body, "criterion": row.criterion, "judges": list(judges)}
                        )
                    except (ProviderUnreachable, Unauthenticated):
                        raise
                    except PodiumError as error:
                        if error.status == 404:  # no such rubric or judge: true of all rows
                            raise
                        results[number] = {"winner": None, "probability": None, "agreement": None, "judges": [],
                                           "problem": error.message}  # fmt: skip
                heard(sum(result is not None for result in results) / len(rows))

            await asyncio.gather(*(one(number, row) for number, row in enumerate(rows)))
    return [one for one in results if one is not None]


def summary(said: Sequence[Json], labels: Sequence[int | None]) -> Json:
    """Votes of each judge, of all alike (``vote``), and, where people labelled enough pairs, of a panel weighed on other pairs
    than it is counted on (``panel``). ``right`` counts a tie as half; no vote is a tie.
    """
    from podium.core.panels import alpha, held_out  # noqa: PLC0415 - keeps `podium --help` fast

    votes = [{one["judge"]: _VOTES[one["winner"]] for one in row["judges"] if one["winner"]} for row in said]
    names = list(dict.fromkeys(one["judge"] for row in said for one in row["judges"]))
    found = [_counted(name, [row.get(name) for row in votes], labels) for name in names]
    problem = None
    if len(names) > 1:
        found.append(_counted("vote of all", [_VOTES.get(row["winner"] or "") for row in said], labels))
        known = [at for at, label in enumerate(labels) if label is not None]
        if len(known) < LEAST_LABELS:
            problem = f"{len(known)} pairs have a label: {LEAST_LABELS} are the least for a panel with weights"
        else:
            chances = held_out([votes[at] for at in known], [float(labels[at] == 1) for at in known])
            weighed: list[float | None] = [None] * len(votes)
            for at, chance in zip(known, chances, strict=True):
                weighed[at] = 0.0 if abs(chance - 0.5) < 1e-9 else 1.0 if chance > 0.5 else -1.0
            found.append(_counted("panel", weighed, labels))
    agreements = [row["agreement"] for row in said if row["agreement"] is not None and len(row["judges"]) > 1]
    return {
        "judges": found,
        "agreement": sum(agreements) / len(agreements) if agreements else None,
        "alpha": alpha(votes),
        "problem": problem,
    }


_VOTES = {"a": 1.0, "b": -1.0, "tie": 0.0}


def _counted(name: str, votes: Sequence[float | None], labels: Sequence[int | None]) -> Json:
    from podium.core.grading import wilson  # noqa: PLC0415 - keeps `podium --help` fast

    hits = [
        (1 + (vote or 0.0) * (1 if label == 1 else -1)) / 2
        for vote, label in zip(votes, labels, strict=True)
        if label is not None
    ]
    right = sum(hits) / len(hits) if hits else None
    low, high = (None, None) if right is None else wilson(right, len(hits))
    return {
        "judge": name,
        **{key: sum(vote == value for vote in votes) for key, value in _VOTES.items()},
        "none": sum(vote is None for vote in votes),
        "right": right,
        "low": low,
        "high": high,
        "interval": None if low is None else f"{low:.2f}-{high:.2f}",
    }
