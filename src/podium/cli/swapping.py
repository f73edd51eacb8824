"""``podium swap`` and ``rollback``: replace the version that serves a task, at once or step by step."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask, fail

if TYPE_CHECKING:
    from podium.client import Podium

Task = Annotated[str, typer.Argument(metavar="TASK", help="Name of the task.")]
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)\s*")


def seconds(text: str) -> float:
    """``90``, ``90s``, ``1h30m``, ``2 d`` in seconds. Raises ``typer.BadParameter``."""
    given = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", given):
        return float(given)
    if not given or _PART.sub("", given):
        raise typer.BadParameter(f"{text!r} is no duration; write 30s, 10min, 1h or 2d")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(given))


def percent(text: str) -> float:
    """``10`` or ``10%`` as a share of 1. Raises ``typer.BadParameter``; in its words, as the server speaks of shares."""
    try:
        value = float(text.strip().removesuffix("%").strip())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no percentage; write 10 for 10 %") from None
    if not 0 < value <= 100:  # also refuses NaN
        raise typer.BadParameter(f"{text!r} is no percentage above 0 and up to 100; write 10 for 10 %")
    return value / 100


def limits_of(texts: list[str] | None) -> dict[str, float] | None:
    """``quality=.9``, ``latency=off`` … over the defaults: the smallest ratio to the old version that passes, by metric.

    Raises ``typer.BadParameter``.
    """
    if not texts:
        return None
    from podium.domain.rollout import RolloutPlan  # noqa: PLC0415 - keeps `podium --help` fast

    found = {metric.value: ratio for metric, ratio in RolloutPlan().limits.items()}
    for text in texts:
        name, _, number = (part.strip() for part in text.partition("="))
        if name not in found:
            raise typer.BadParameter(f"{text!r}: limits are for {', '.join(found)}")
        if number == "off":
            del found[name]
            continue
        try:
            found[name] = float(number)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is no limit; write METRIC=RATIO such as quality=.95, or =off") from None
    return found


def swap(
    task: Task,
    to: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="The version that shall serve it.")],
    gradual: Annotated[
        bool, typer.Option("--gradual", help="A growing share of the traffic, if it proves itself.")
    ] = False,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="It answers too, unseen, and the answers are judged.")
    ] = False,
    ab: Annotated[bool, typer.Option("--ab", help="A fixed split that ends with a report.")] = False,
    start: Annotated[str | None, typer.Option(metavar="PERCENT", help="First share; 10.")] = None,
    step: Annotated[str | None, typer.Option(metavar="PERCENT", help="Added by every step; 10.")] = None,
    every: Annotated[str | None, typer.Option(metavar="TIME", help="Length of a step; 1h.")] = None,
    min_samples: Annotated[int | None, typer.Option(help="Answers of the new version a step needs; 10.")] = None,
    silence: Annotated[
        str | None, typer.Option(metavar="TIME", help="Roll back a step without them after; 1d.")
    ] = None,
    early: Annotated[bool, typer.Option("--early", help="A step may end once every metric is certain.")] = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=RATIO", help="Roll back below this ratio to the old one (.95), or off; repeatable."
        ),
    ] = None,
    false_alarm: Annotated[
        str | None, typer.Option(metavar="PERCENT", help="Chance to roll back an equal one; 2.")
    ] = None,
    shadow_for: Annotated[
        str | None, typer.Option(metavar="TIME", help="So long in the shadow before --gradual.")
    ] = None,
    sample: Annotated[
        str | None, typer.Option(metavar="PERCENT", help="Requests it answers in the shadow; 25.")
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="PERCENT", help="Its share with --ab; 50.")] = None,
    most: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Length of --shadow (1d), most of --ab (7d).")
    ] = None,
    validation: Annotated[
        bool, typer.Option("--validate/--no-validate", help="First run the task's suite on it.")
    ] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Also refuse when it did worse before.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end; exit 1 unless it went well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Serve a task by another version, without dropping a request: at once, or step by step by evidence."""
    chosen = [name for name, given in (("gradual", gradual), ("shadow", shadow), ("ab", ab)) if given]
    if len(chosen) > 1:
        raise typer.BadParameter(f"choose one of --{', --'.join(chosen)}")
    limits = limits_of(limit)
    given: dict[str, tuple[str, Any]] = {
        "start_share": ("--start", _read(percent, start)), "step_share": ("--step", _read(percent, step)),
        "step_s": ("--every", _read(seconds, every)), "min_samples": ("--min-samples", min_samples),
        "silence_s": ("--silence", _read(seconds, silence)), "early": ("--early", early or None),
        "limits": ("--limit", limits), "false_alarm": ("--false-alarm", _read(percent, false_alarm)),
        "shadow_s": ("--shadow-for", _read(seconds, shadow_for)), "shadow_sample": ("--sample", _read(percent, sample)),
        "split": ("--split", _read(percent, split)), "max_s": ("--for", _read(seconds, most)),
        "validate": ("--no-validate", None if validation else False),
    }  # fmt: skip
    if shadow and most is not None:
        given["shadow_s"] = given.pop("max_s")
    plan = {name: value for name, (_, value) in given.items() if value is not None}
    if chosen:
        rollout(task, to, chosen[0], plan, strict=strict, reason=reason, wait=wait, as_json=as_json)
        return
    if plan:
        names = ", ".join(option for name, (option, _) in given.items() if name in plan)
        raise typer.BadParameter(f"{names}: says how a rollout goes; add --gradual, --shadow or --ab")
    output.note(f"checking and warming {to} …")
    moved(ask(lambda podium: podium.swap(task, to, strict=strict, reason=reason)), as_json)


def _read(reader: Callable[[str], float], text: str | None) -> float | None:
    return None if text is None else reader(text)


def rollout(
    task: str, to: str, mode: str, plan: Mapping[str, Any], *, strict: bool, reason: str, wait: bool, as_json: bool
) -> None:
    """Order a rollout; with ``wait`` follow it. Exits with 1 when it was followed and did not go well."""
    from podium.client import find_server  # noqa: PLC0415 - keeps `podium --help` fast

    async def work(podium: Podium) -> dict[str, Any]:
        ordered = await podium.swap(task, to, mode=mode, plan=plan, strict=strict, reason=reason)
        name = ordered["id"]
        output.note(f"{name}: {task}, {ordered['baseline']} → {ordered['candidate']}, {mode}")
        for said in ordered["notes"]:
            output.note(f"note: {said}")
        if ordered["detects"]:
            output.note(ordered["detects"])
        if not wait:
            output.note(f"follow it with `podium rollouts show {name} --watch`")
            if find_server() is None:
                output.note("no server is running: it goes on when one does; start it with `podium serve`")
            return ordered
        told = 0
        async for found in podium.rollouts.follow(name):
            for one in found["steps"][told:]:
                last = one["after"] in ("failed", "rolled_back", "aborted")  # the cause is said once, at the end
                why = f": {one['reason']}" if one["reason"] and not last else ""
                output.note(f"{one['after'].replace('_', ' ')} {100 * one['share']:.3g} %{why}")
            told = len(found["steps"])
        return await podium.rollouts.show(name)

    done = ask(work)
    _came(done, wait=wait, as_json=as_json)


def _came(done: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    """Say what came of it; exit 1 when it was followed and did not go well."""
    item = done["rollout"] if wait else done
    failed = wait and item["state"] != "promoted" and not item["concluded"]
    if as_json:
        output.emit_json(done)
    elif failed:
        output.say(f"{item['task']}: {item['state'].replace('_', ' ')}")
    else:
        output.say(item["id"] if not wait else f"{item['task']}: {done['says']}")
    if failed:
        raise fail(f"{item['candidate']} did not take over {item['task']}: {item['ending']}")


def rollback(
    task: Task,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    as_json: AsJson = False,
) -> None:
    """Go back to the version that served the task before."""
    moved(ask(lambda podium: podium.rollback(task, reason=reason)), as_json)


def moved(record: Mapping[str, Any], as_json: bool) -> None:
    """Show a swap record; exit 1 when the traffic did not move."""
    if as_json:
        output.emit_json(record)
    elif record["ok"]:
        before = record["before"] or "selection"
        output.say(f"{record['task']}: {before} → {record['after']}")
        took = f"moved in {output.cell(record['swap_ms'])} ms"
        output.note(f"{took}, loaded in {output.cell(record['load_ms'])} ms" if record["load_ms"] else took)
        for warning in (record["compatibility"] or {}).get("warnings", ()):
            output.note(f"warning: {warning}")
    if not record["ok"]:
        raise fail(f"{record['after']} did not take over {record['task']}: {record['error']}")
