"""``podium rules``: what declarative rules see, and what they would order."""

from __future__ import annotations

from typing import Any

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask

app = typer.Typer(
    help="Rules that move a task when a fact crosses a line.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def check(as_json: AsJson = False) -> None:
    """A dry run: each rule, the fact it reads, whether it would fire now, and what it would order."""
    found = ask(lambda podium: podium.rules())
    if as_json:
        output.emit_json(found)
        return
    rows = [
        [one["rule"], one["task"], one["condition"], shown(one), "yes" if one["fires"] else "no", ordered(one)]
        for one in found["rules"]
    ]
    output.table(("rule", "task", "when", "now", "fires", "order"), rows, empty="no rules; [rules.NAME] declares one")
    for one in found["rules"]:
        output.note(f"{one['rule']}: {one['why']}" + (f" ({one['source']})" if one["source"] else ""))
    for one in found["following"]:
        output.say(f"{one['task']} follows {one['model']}: {one['why']}")
    for problem in found["problems"]:
        output.note(f"problem: {problem}")


def shown(one: dict[str, Any]) -> str:
    """What the rule's fact is now."""
    if one["value"] is None:
        return "unavailable"
    return output.cell(one["value"])


def ordered(one: dict[str, Any]) -> str:
    """What it would order, or why it would not."""
    order = one["order"]
    for key, words in (("impossible", "impossible: "), ("done", "nothing: "), ("waits_for", "waits: ")):
        if order[key] is not None:
            return f"{words}{order[key]}"
    return f"{order['mode']} to {order['to']}" if one["would_order"] else f"({order['mode']} to {order['to']})"
