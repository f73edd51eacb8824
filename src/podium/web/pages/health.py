"""What is wrong, what it means and what to do: findings, parts that do not work, the record, and this machine."""

from __future__ import annotations

from podium.server.control import alerts, insight, instances
from podium.web.page import Data, Look, Page


async def data(look: Look) -> Data:
    """The doctor's findings, open alerts, instances in trouble and how the record keeps up."""
    services = look.services
    found = await insight.doctor(services)
    pool = await instances.list_instances(services)
    bad = [row for row in pool["instances"] if row["healthy"] is False or row["error"]]
    open_alerts = (await alerts.list_alerts(services, task=None, state="open", limit=50, offset=0))["alerts"]
    findings = found["learning"]["findings"]
    worst = "bad" if found["problems"] or bad else "warn" if open_alerts or findings else "good"
    return {
        "doctor": found,
        "findings": findings,
        "alerts": open_alerts,
        "troubled": bad,
        "providers": dict(services.provider_problems()),
        "webhooks": [view for view in await services.webhooks.views() if view.hook.problem or view.last_error],
        "worst": worst,
        "since": services.started_at,
        "rows": {name: count for name, count in sorted(found["rows"].items()) if count},
    }


PAGE = Page(
    path="/health",
    title="Health",
    template="health.html",
    data=data,
    tab="health",
    live=("health",),
    every_s=5.0,
)
