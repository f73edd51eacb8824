"""Why requests went where they went: a search over the newest, and one of them candidate by candidate."""

from __future__ import annotations

import re
from collections.abc import Sequence

from podium.errors import NotFound
from podium.server import views
from podium.server.control import insight
from podium.web.page import Data, Look, Page

ROWS = 50
NEAR = 12
_REQUEST = re.compile(r"req_[0-9A-Za-z_-]{4,64}")


async def listing(look: Look) -> Data:
    """The newest decisions that fit; a request id finds its request alone."""
    query = {name: look.query.get(name, "").strip()[:200] for name in ("q", "task", "model", "result")}
    try:
        page = min(1000, max(0, int(look.query.get("page", "0"))))
    except ValueError:
        page = 0
    words = query["q"]
    tasks = sorted(spec.name for spec in look.services.tasks.specs())
    models = sorted({version.ref for version in look.services.registry.versions()})
    task, model, near = _meant(words, tasks, models)
    if _REQUEST.fullmatch(words):
        rows = await _of_request(look, words)
    elif words and task is None and model is None:
        rows = []
    else:
        found = await insight.list_decisions(
            look.services,
            task=query["task"] or task,
            model=query["model"] or model,
            failed={"failed": True, "answered": False}.get(query["result"]),
            limit=ROWS + 1,
            offset=page * ROWS,
        )
        rows = found["decisions"]
    return {
        "rows": rows[:ROWS],
        "more": len(rows) > ROWS,
        "page": page,
        "asked": query,
        "any": any(query.values()),
        "near": near,
        "tasks": tasks[:500],
        "models": models,
    }


def _meant(words: str, tasks: Sequence[str], models: Sequence[str]) -> tuple[str | None, str | None, list[str]]:
    """(task, version) that a word names, whole or as the only one with it; else those that have it in their names."""
    if not words:
        return None, None, []
    names = sorted({ref.partition("@")[0] for ref in models})
    if words in tasks or words in models or words in names:
        return (words, None, []) if words in tasks else (None, words, [])
    low = words.lower()
    in_tasks = [name for name in tasks if low in name.lower()]
    in_models = [name for name in (models if "@" in words else names) if low in name.lower()]
    if len(in_tasks) + len(in_models) == 1:
        return next(iter(in_tasks), None), next(iter(in_models), None), []
    return None, None, [*in_tasks, *in_models][:NEAR]


async def _of_request(look: Look, request_id: str) -> list[views.Json]:
    try:
        found = await insight.explain(request_id, look.services)
    except NotFound:
        return []
    return [{"request_id": request_id, **row} for row in reversed(found["attempts"])]


async def one(look: Look) -> Data:
    """Everything on record of one request."""
    found = await insight.explain(look.path["request"], look.services)
    for attempt in found["attempts"]:
        attempt["candidates"].sort(key=lambda one: (one["ref"] != attempt["served"], -(one["score"] or 0.0)))
    return {**found, "title": f"Request {found['request_id']}", "terms": [_terms(row) for row in found["attempts"]]}


def _terms(attempt: views.Json) -> list[str]:
    """Names of the terms that scores of an attempt are made of."""
    return next((list(one["terms"]) for one in attempt["candidates"] if one["terms"]), [])


PAGES = (
    Page(path="/decisions", title="Decisions", template="decisions.html", data=listing, tab="decisions"),
    Page(path="/decisions/{request}", title="Decision", template="decision.html", data=one, tab="decisions"),
)
