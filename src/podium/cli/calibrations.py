"""``podium judge calibrations`` and ``forget``: what `calibrate --save` stored in this home, and taking it back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli import output
from podium.cli.session import AsJson, ConfigFile
from podium.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from podium.domain.judgment import Calibration

COLUMNS = ("judge", "criterion", "mapping", "labels", "AUC", "95 %", "kappa", "ECE after", "saved", "teaches")


def calibrations(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the calibrations in force: how far each judge was found to agree with people, and whether it teaches."""
    found = asyncio.run(_stored(config))
    if as_json:
        output.emit_json({"calibrations": [plain(one) for one in found]})
        return
    output.table(
        COLUMNS, [_row(one) for one in found], empty="none is saved; podium judge calibrate FILE --save makes one"
    )


def forget(
    judge: Annotated[str, typer.Argument(help="rules, stack or NAME@VERSION.")],
    criterion: Annotated[list[str] | None, typer.Option(help="Only on this criterion; repeatable. All.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Forget saved calibrations of a judge; a running server follows within seconds."""
    gone = asyncio.run(_forget(judge, criterion, config))
    if as_json:
        output.emit_json({"judge": judge, "forgotten": gone})
        return
    output.say(f"forgotten: {judge} on {', '.join(gone)}")


def plain(one: Calibration) -> dict[str, object]:
    """A JSON object; what there is no number for is null."""
    names = ("judge", "criterion", "kind", "n", "positives", "auc", "auc_low", "auc_high", "kappa", "ece_before",
             "ece_after", "sensitivity", "specificity", "cut", "at", "forced", "informative")  # fmt: skip
    return {name: getattr(one, name) for name in names} | {"teaches": one.informative or one.forced}


def _row(one: Calibration) -> list[object]:
    between = None if one.auc_low is None or one.auc_high is None else f"{one.auc_low:.2f}-{one.auc_high:.2f}"
    teaches = "yes" if one.informative else "yes, by order" if one.forced else "no"
    return [
        one.judge,
        one.criterion,
        one.kind,
        one.n,
        one.auc,
        between,
        one.kappa,
        one.ece_after,
        output.age(one.at),
        teaches,
    ]


async def _stored(config: Path | None) -> tuple[Calibration, ...]:
    from podium.config import load  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.store.opening import open_store  # noqa: PLC0415 - same

    store = open_store(load(config).database)
    try:
        return await store.calibrations()
    finally:
        await store.close()


async def _forget(judge: str, criteria: list[str] | None, config: Path | None) -> list[str]:
    from podium.config import load  # noqa: PLC0415 - keeps `podium --help` fast
    from podium.store.opening import open_store  # noqa: PLC0415 - same

    store = open_store(load(config).database)
    try:
        known = [one.criterion for one in await store.calibrations() if one.judge == judge]
        absent = [one for one in criteria or () if one not in known]
        if absent or not known:
            where = f" on {', '.join(absent)}" if absent else ""
            raise NotFound(f"no calibration of {judge}{where} is saved; podium judge calibrations lists those that are")
        gone = [one for one in known if not criteria or one in criteria]
        for one in gone:
            await store.remove_calibration(judge, one)
    finally:
        await store.close()
    return gone
