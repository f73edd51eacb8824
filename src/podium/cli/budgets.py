"""``podium budgets``: what keys, tasks and providers may use up."""

from __future__ import annotations

import math
from typing import Annotated, Any
from urllib.parse import quote

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask
from podium.errors import InvalidRequest

app = typer.Typer(help="What keys, tasks and providers may use up.", no_args_is_help=True, rich_markup_mode=None)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the budget.")]
_ROUTE = "/api/v1/budgets"
_SIGN = {"tokens": "tokens", "compute_seconds": "s", "energy_wh": "Wh", "usd": "USD"}


@app.command("ls")
def ls(as_json: AsJson = False) -> None:
    """List budgets with what was used, is reserved and is left in the present window."""
    found = ask(lambda podium: podium.call("GET", _ROUTE))
    if as_json:
        output.emit_json(found)
        return
    rows = [_row(budget, account) for budget in found["budgets"] for account in budget["accounts"] or [{}]]
    columns = ("budget", "of", "limit", "used", "reserved", "left", "state", "window ends")
    output.table(columns, rows, empty="no budgets; podium budgets set NAME --task T --limit N --unit tokens")
    for budget in found["budgets"]:
        unknown = sum(account["unmeasured"] for account in budget["accounts"])
        if unknown:
            output.note(f"{budget['name']}: of {unknown} operations nobody could tell what they used")
    if found["problem"]:
        output.note(f"what is used cannot be written down: {found['problem']}")


@app.command("set")
def set_(
    name: Name,
    limit: Annotated[float | None, typer.Option(help="How much may be used up; 0 refuses everything.")] = None,
    unit: Annotated[str | None, typer.Option(help="tokens, compute_seconds, energy_wh or usd.")] = None,
    period: Annotated[str | None, typer.Option(help="hour, day, week, month or total; month.")] = None,
    task: Annotated[str | None, typer.Option(metavar="TASK", help="Of this task; '*' for each.")] = None,
    provider: Annotated[str | None, typer.Option(metavar="PROVIDER", help="Of this provider; '*' for each.")] = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Of this caller; '*' for each.")] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA name such as Europe/Berlin; UTC.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a budget, or change what is given of one. Another limit leaves what was used as it is."""
    of = {scope: value for scope, value in (("task", task), ("provider", provider), ("key", key)) if value is not None}
    if len(of) > 1:
        raise InvalidRequest(f"a budget is of one thing: --{' or --'.join(of)}", param="scope")
    if limit is not None and not math.isfinite(limit):
        raise InvalidRequest("--limit must be a finite number; without a limit there is no budget", param="limit")
    body: dict[str, Any] = {"limit": limit, "unit": unit, "period": period, "timezone": timezone}
    body |= {"scope": next(iter(of)), "subject": next(iter(of.values()))} if of else {}
    given = {field: value for field, value in body.items() if value is not None}
    made = ask(lambda podium: _set(podium, name, given))
    if as_json:
        output.emit_json(made)
        return
    ends = next((one["window_end_local"] for one in made["accounts"]), None)
    whose = f"each {made['scope']}" if made["subject"] == "*" else f"{made['scope']} {made['subject']}"
    output.say(
        f"{name}: {_amount(made['limit'], made)} per {made['period']} for {whose}"
        + (f"; the present window ends {ends} ({made['timezone']})" if ends else "")
    )


@app.command("rm")
def rm(name: Name, as_json: AsJson = False) -> None:
    """Take a budget back, with what was used of it."""
    ask(lambda podium: podium.call("DELETE", f"{_ROUTE}/{quote(name, safe='')}"))
    if as_json:
        output.emit_json({"removed": name})
    else:
        output.say(f"{name} is gone")


async def _set(podium: Any, name: str, given: dict[str, Any]) -> Any:
    """What is not given stays as it was."""
    known = await podium.call("GET", _ROUTE)
    before = next((one for one in known["budgets"] if one["name"] == name), None)
    fields = ("scope", "subject", "unit", "limit", "period", "timezone")
    body = {**({field: before[field] for field in fields} if before is not None else {}), **given}
    for field, option in (("scope", "--task, --provider or --key"), ("limit", "--limit"), ("unit", "--unit")):
        if field not in body:
            raise InvalidRequest(f"there is no budget {name} yet: give {option} to make it", param=field)
    return await podium.call("PUT", f"{_ROUTE}/{quote(name, safe='')}", body)


def _row(budget: dict[str, Any], account: dict[str, Any]) -> list[object]:
    amounts = [_amount(account.get(field), budget) for field in ("used", "reserved", "left")]
    return [
        budget["name"],
        f"{budget['scope']} {account.get('subject', budget['subject'])}",
        f"{_amount(budget['limit'], budget)} per {budget['period']}",
        *amounts,
        account.get("state", "ok"),
        account.get("window_end_local") or ("never" if budget["period"] == "total" else None),
    ]


def _amount(value: float | None, budget: dict[str, Any]) -> str:
    if value is None:
        return "-"
    return f"{value:.{15 if budget['unit'] == 'tokens' else 6}g} {_SIGN[budget['unit']]}"
