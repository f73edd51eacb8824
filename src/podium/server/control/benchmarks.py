"""Routes of benchmarks: suites, runs and their progress, results, the leaderboard."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from podium.domain.benchmark import ItemResult, Run, Standing, Suite
from podium.errors import PodiumError
from podium.ports import Page
from podium.server import views
from podium.server.control.access import Limit, ServicesDep
from podium.server.control.described import errors
from podium.server.control.routing import guarded
from podium.services.benchmark import Part, Progress

router = guarded(tag="benchmarks", prefix="/benchmarks")


class InlineSuite(BaseModel):
    """A suite whose content comes along: what is in NAME.toml and NAME.jsonl."""

    model_config = ConfigDict(extra="forbid")
    name: str
    head: dict[str, Any]
    items: list[dict[str, Any]]


class RunBody(BaseModel):
    """An order to measure versions on a suite, by name or with its content."""

    model_config = ConfigDict(extra="forbid")
    suite: str | InlineSuite
    models: list[str]
    fresh: bool = False
    parallel: int | None = Field(default=None, ge=1, le=64)
    keep_answers: bool = False


def suite_view(suite: Suite) -> views.Json:
    """A suite without its items."""
    graders = sorted({item.grader.kind.value for item in suite.items})
    plain = {name: getattr(suite, name) for name in ("name", "title", "task", "licence", "description", "digest")}
    return {**plain, "items": len(suite.items), "graders": graders}


def run_view(run: Run) -> views.Json:
    """A run as recorded."""
    plain = {
        name: getattr(run, name) for name in ("id", "suite", "digest", "task", "items", "started_at", "finished_at")
    }
    return {**plain, "state": run.state.value, "models": list(run.refs), "problems": dict(run.problems)}


def part_view(part: Part) -> views.Json:
    """How far one version is; mean and interval are null before the first answer."""
    interval = [part.low, part.high] if part.done else None
    plain = {name: getattr(part, name) for name in ("ref", "done", "kept", "total", "mean", "problem")}
    return {**plain, "interval": interval}


def progress_view(progress: Progress) -> views.Json:
    """A run with its parts."""
    return {**run_view(progress.run), "results": [part_view(part) for part in progress.parts]}


def standing_view(row: Standing) -> views.Json:
    """One row of the leaderboard."""
    plain = {name: getattr(row, name) for name in ("task", "ref", "n", "mean", "latency_ms", "output_tokens", "p_best")}
    return {**plain, "suites": list(row.suites), "interval": [row.low, row.high]}


def result_view(result: ItemResult) -> views.Json:
    """One graded answer."""
    return {name: getattr(result, name) for name in type(result).__slots__}


@router.get("")
async def list_suites(services: ServicesDep, limit: Limit = 20) -> views.Json:
    """Suites, the newest runs, and what confines generated code on this machine."""
    suites, problems = await asyncio.to_thread(_suites, services)
    try:
        sandbox = dict(await services.benchmarks.confinement())
    except PodiumError as error:
        sandbox = {"problem": error.message}
    runs = await services.benchmarks.runs(Page(limit=limit))
    return {"suites": suites, "problems": problems, "runs": [run_view(run) for run in runs], "sandbox": sandbox}


def _suites(services: ServicesDep) -> tuple[list[views.Json], dict[str, str]]:
    found, problems = [], {}
    for name in services.benchmarks.suites.names():
        try:
            found.append(suite_view(services.benchmarks.suites.get(name)))
        except PodiumError as error:
            problems[name] = error.message
    return found, problems


@router.post("/runs", status_code=202, responses=errors(e404="there is no such suite or version"))
async def start_run(body: RunBody, services: ServicesDep) -> views.Json:
    """Start measuring; poll the run for progress. Answers that are there already are kept unless ``fresh``."""
    library, wanted = services.benchmarks.suites, body.suite
    if isinstance(wanted, str):
        suite = await asyncio.to_thread(library.get, wanted)
    else:
        suite = await asyncio.to_thread(library.inline, wanted.name, wanted.head, wanted.items)
    started = await services.benchmarks.start(
        suite, body.models, fresh=body.fresh, parallel=body.parallel, keep_answers=body.keep_answers
    )
    return progress_view(started)


@router.get("/runs/{run_id}", responses=errors(e404="there is no such run"))
async def show_run(run_id: str, services: ServicesDep) -> views.Json:
    """Progress of a run, or its result."""
    return progress_view(await services.benchmarks.progress(run_id))


@router.delete("/runs/{run_id}", responses=errors(e404="there is no such run"))
async def cancel_run(run_id: str, services: ServicesDep) -> views.Json:
    """Stop a run; what it measured stays."""
    return progress_view(await services.benchmarks.cancel(run_id))


@router.get("/runs/{run_id}/items", responses=errors(e404="there is no such run"))
async def list_results(run_id: str, services: ServicesDep) -> views.Json:
    """Every graded answer of a run's versions to its suite."""
    return {"items": [result_view(result) for result in await services.benchmarks.results(run_id)]}


@router.get("/leaderboard")
async def leaderboard(services: ServicesDep, task: str | None = None) -> views.Json:
    """Versions by task, best first, with 95 % intervals."""
    rows = await services.benchmarks.leaderboard(task)
    return {"leaderboard": [standing_view(row) for row in rows]}
