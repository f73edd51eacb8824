"""Quality: what became worse, how far each judge can be trusted, what judged answers say of all, and samples of them."""

from __future__ import annotations

from podium.domain.judgment import CRITERIA, OVERALL, Calibration
from podium.ports import JudgmentFilter
from podium.ports import Page as Window
from podium.server.control import judgments
from podium.web.page import Data, Look, Page

SAMPLES = 25
PAST_ALERTS = 10
MOST_ESTIMATES = 300
SHOWN = (
    "criterion", "judge", "n", "positives", "auc", "auc_low", "auc_high", "kappa", "ece_before", "ece_after",
    "sensitivity", "specificity", "at",
)  # fmt: skip


async def data(look: Look) -> Data:
    """The page, or (``part=estimates``) the means, which are added up over all judgments."""
    services = look.services
    if look.query.get("part") == "estimates":
        stats = await judgments.judgment_stats(services, look.query.get("task") or None, None)
        return {"estimates": stats["estimates"][:MOST_ESTIMATES], "costs": stats["costs"]}
    wanted = {name: look.query.get(name) or None for name in ("task", "ref", "criterion", "judge")}
    only = {"invalid": True, "valid": False}.get(look.query.get("only", ""))
    found = await services.judging.listed(JudgmentFilter(**wanted, invalid=only), Window(limit=SAMPLES))
    alerts = await services.alerts.listed(None, Window(limit=PAST_ALERTS + len(services.alerts.open())))
    calibrations = sorted(services.judging.calibrations.all(), key=_order)
    return {
        "alerts": [one for one in alerts if one.open],
        "past_alerts": [one for one in alerts if not one.open][:PAST_ALERTS],
        "calibrations": [_calibration(one) for one in calibrations],
        "samples": found,
        "wanted": {**wanted, "only": look.query.get("only", "")},
        "filtered": any(wanted.values()) or only is not None,
        "tasks": _choices(wanted["task"], *(spec.name for spec in services.tasks.specs())),
        "criteria": _choices(wanted["criterion"], OVERALL, *CRITERIA, *(one.criterion for one in calibrations)),
        "live": judgments.live(services.judging, services.clock.monotonic()),
    }


def _choices(chosen: str | None, *known: str) -> list[str]:
    """What can be chosen, and what was."""
    return sorted({*known, *((chosen,) if chosen else ())})


def _order(one: Calibration) -> tuple[int, str, str]:
    place = CRITERIA.index(one.criterion) if one.criterion in CRITERIA else len(CRITERIA)
    return place, one.criterion, one.judge


def _calibration(one: Calibration) -> Data:
    """How a judge did against people, and what follows."""
    if one.informative:
        kind, says = "good", "its scores teach"
    elif one.forced:
        kind, says = "warn", "no better than chance, teaches all the same"
    else:
        kind, says = "bad", "no better than chance: teaches nothing"
    return {**{name: getattr(one, name) for name in SHOWN}, "kind": kind, "says": says}


PAGE = Page(
    path="/quality",
    title="Quality",
    template="quality.html",
    data=data,
    tab="quality",
    live=("alerts", "pipeline", "samples"),
    every_s=5.0,
)
