"""``explain``, ``feedback``, ``stats``, ``doctor``: what happened, why, and what to do next."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import alerts, output
from podium.cli.session import AsJson, ask
from podium.domain.cost import METERED, Method

if TYPE_CHECKING:
    from podium.client import Attempt
    from podium.domain.cost import Cost

TOLD = {"explicit": "named by the caller"}
SHOWN = (
    "cpu_ms", "gpu_ms", "peak_memory_mb", "mean_memory_mb", "mapped_memory_mb", "energy_mwh", "input_tokens",
    "cached_tokens", "output_tokens", "tokens_per_s", "price_microusd",
)  # fmt: skip
RARE = ("ane_use", "gpu_ms", "mapped_memory_mb", "cached_tokens", "price_microusd")
"""Not worth a word where there is none."""
RequestId = Annotated[str, typer.Argument(metavar="REQUEST_ID", help="From the header x-request-id.")]


def explain(request_id: RequestId, as_json: AsJson = False) -> None:
    """Say why a request went where it went, candidate by candidate."""
    found = ask(lambda podium: podium.explain(request_id))
    if as_json:
        output.emit_json(dataclasses.asdict(found))
        return
    for attempt in found.attempts:
        _explain(attempt, found.rollouts)
    for given in found.feedback:
        output.say(f"feedback by {given['source']}: {said(given)}")
    for done in found.operations:
        spent = done["cost"]
        shown = ", ".join(f"{name} {output.cell(spent[name])}" for name in SHOWN if spent[name] is not None)
        output.say(f"{spent['cause']} by {done['ref']}, charged to {spent['charged_to']}: {shown}")


def figures(cost: Cost) -> list[str]:
    """Name and value of what an operation cost; an estimate says so."""
    shown = []
    for name in SHOWN:
        value = getattr(cost, name)
        if value is None and name in RARE:
            continue
        about = name in METERED and cost.method(name) is Method.ESTIMATED
        shown.append(f"{name} {'about ' if about else ''}{output.cell(value)}")
    return shown


def _explain(attempt: Attempt, rollouts: Mapping[str, Any]) -> None:
    decision, cost = attempt.decision, attempt.cost
    told = TOLD.get(decision.classified_by, f"recognised by {decision.classified_by}")
    output.say(f"{decision.served} for task {decision.task} ({told})")
    if decision.parent is not None:
        output.say("  a fallback: the attempt before it failed")
    output.say(f"  {decision.reason}")
    plain = f"  strategy {decision.strategy}, confidence {decision.confidence:.2f}"
    output.say(f"{plain}, propensity {decision.propensity:.2f}, fallbacks {output.cell(decision.fallbacks)}")
    result = "answered" if attempt.success else f"failed with {attempt.error}"
    output.say(f"  {result} in {attempt.latency_ms:.0f} ms, first token {output.cell(attempt.ttft_ms)} ms")
    output.say("  " + ", ".join(figures(cost)))
    if cost.charged_to is not None:
        state = rollouts.get(cost.charged_to)
        output.say(f"  {cost.cause}, charged to {cost.charged_to}" + (f", which is {state}" if state else ""))
    for field, why in cost.missing:
        if field in RARE:
            continue
        output.say(f"  no {field}: {why}")
    terms = [name for name, _ in next((one.terms for one in decision.candidates if one.terms), ())]
    rows = [
        [one.ref, one.score, *(dict(one.terms).get(name) for name in terms), one.samples, one.dropped, one.flags]
        for one in decision.candidates
    ]
    output.table(("candidate", "score", *terms, "samples", "dropped because", "flags"), rows)
    if any((one.score or 0.0) > 1 for one in decision.candidates):
        output.note("a score above 1 is of a version that is not known well yet: what is unknown counts in its favour")


def feedback(
    request_id: RequestId,
    score: Annotated[float | None, typer.Option(min=0, max=1, help="0 useless, 1 perfect.")] = None,
    up: Annotated[bool, typer.Option("--up", help="In the place of a score: 1.")] = False,
    down: Annotated[bool, typer.Option("--down", help="In the place of a score: 0.")] = False,
    label: Annotated[str | None, typer.Option(help="What kind of fault, such as 'wrong language'.")] = None,
    correction: Annotated[str | None, typer.Option(help="What it should have been; counts as 0.")] = None,
    comment: Annotated[str | None, typer.Option(help="In words.")] = None,
    source: Annotated[str, typer.Option(help="user, check, judge, agent or benchmark.")] = "user",
    as_json: AsJson = False,
) -> None:
    """Say how good an answer was; selection learns from it. A later word replaces the earlier one."""
    if up and down:
        raise typer.BadParameter("give --up or --down, not both")
    word = "up" if up else "down" if down else None
    given = ask(
        lambda podium: podium.feedback(
            request_id, score, comment, thumbs=word, label=label, correction=correction, source=source
        )
    )
    if as_json:
        output.emit_json(given)
    elif not given["joined"]:
        output.say(f"held: {given['reason']}; it joins {request_id} when that ends")
    else:
        output.say(f"{said(given)} for {given['ref']} on {given['task']}")


def said(given: Mapping[str, Any]) -> str:
    """One feedback in a few words."""
    parts = [] if given["score"] is None else [f"{given['score']:g}"]
    parts += [] if given["label"] is None else [f"label {given['label']!r}"]
    parts += [] if given["correction_chars"] is None else [f"a correction of {given['correction_chars']} characters"]
    parts += [] if given["comment"] is None else [f"comment {given['comment']!r}"]
    return ", ".join(parts)


def stats(as_json: AsJson = False) -> None:
    """Show what was measured per task and version, objectives, and alerts that are open."""
    found = ask(lambda podium: podium.stats())
    if as_json:
        output.emit_json(found)
        return
    measured = ("samples", "success_rate", "quality", "latency_ms", "latency_p95_ms", "ttft_ms", "tokens_per_s")
    names = ("task", "ref", *measured, "memory_mb", "cpu_ms")
    output.table(names, [output.pick(row, *names) for row in found["stats"]], empty="no requests recorded yet")
    alerts.show_objectives(found["objectives"])
    alerts.show_alerts(found["alerts"])


def finding(item: Mapping[str, Any]) -> str:
    """What keeps a task from learning, and what to do, on one line."""
    subject = "" if item["task"] is None else f"task {item['task']}: "
    return f"{subject}{item['says']}. What to do: {item['do']}"


def _hardware(host: Mapping[str, Any], energy: Mapping[str, Any]) -> None:
    """The evidence for each device, the order they would be used in, and where energy is read."""
    for one in host["accelerators"]:
        output.say(f"{one['kind']} {one['name']}: {one['evidence']}")
    for place, step in enumerate((host["plan"] or {"steps": ()})["steps"]):
        order = "a model would run on" if place == 0 else "else on"
        output.say(f"{order} {step['backend']} in {step['precision']}: {step['why']}")
    output.say(f"energy: {energy['source']}" if energy["joules"] else f"no energy: {energy['reason']}")


def doctor(as_json: AsJson = False) -> None:
    """Say what this machine has, what is wrong, and what to do next."""
    found = ask(lambda podium: podium.doctor())
    if as_json:
        output.emit_json(found)
        return
    host = found["host"]
    output.facts(
        {
            "Podium": found["version"],
            "processor": host["cpu_model"],
            "cores": f"{output.cell(host['cores_physical'])} physical, {host['cores_logical']} logical",
            "memory": f"{host['memory_mb']} MB, {host['memory_available_mb']} MB free",
            "instructions": host["cpu_features"] or "none that matter",
            "accelerators": [f"{one['kind']} {one['name']}" for one in host["accelerators"]] or "none found",
            "active models": found["active_models"],
            "records": found["rows"],
        }
    )
    _hardware(host, found["energy"])
    for name, why in host["unavailable"].items():
        output.say(f"no {name}: {why}")
    for server in found.get("servers", ()):
        output.say(f"found {output.cell(server)}")
    for problem in found["problems"]:
        output.say(f"problem: {problem}")
    learning = found["learning"]
    for item in learning["findings"]:
        if item["severity"] == "note":
            output.say(f"note: {finding(item)}")
    if learning["tasks_learning"]:
        output.say(f"learning: {output.cell(learning['tasks_learning'])}")
    if learning["tasks_not_looked_at"]:
        output.say(f"not looked at: {learning['tasks_not_looked_at']} tasks with fewer requests")
    for step in found["next"]:
        output.say(f"next: {step}")
