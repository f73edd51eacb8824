"""``podium keys``: who may use this server."""

from __future__ import annotations

import time
from typing import Annotated, Any
from urllib.parse import quote

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask
from podium.cli.swapping import seconds
from podium.core.picture.words import duration

app = typer.Typer(help="Who may use this server, and for what.", no_args_is_help=True, rich_markup_mode=None)
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the key, as `podium keys ls` shows it.")]
_ROUTE = "/api/v1/keys"


Requests = Annotated[
    str | None,
    typer.Option(metavar="N/TIME", help="Requests in a time, such as 60/min; none: no limit; default: its role's."),
]
Tokens = Annotated[
    str | None, typer.Option(metavar="N/TIME", help="Tokens read and written in a time, such as 100k/min.")
]
Concurrency = Annotated[str | None, typer.Option(metavar="N", help="Requests under way at a time.")]


@app.command("create")
def create(
    role: Annotated[str, typer.Option(help="viewer, user, operator or admin.")] = "user",
    name: Annotated[str, typer.Option(help="Whose it is, or what for.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(metavar="KIND:NAME", help="task:NAME or model:NAME; may be repeated.")
    ] = None,
    expires: Annotated[str | None, typer.Option(metavar="TIME", help="How long it lasts, such as 30d or 12h.")] = None,
    requests: Requests = None,
    tokens: Tokens = None,
    concurrency: Concurrency = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once. From the first key on every request needs one."""
    body = {
        "role": role,
        "name": name,
        "scopes": scope or [],
        "expires_in_s": None if expires is None else seconds(expires),
        "limits": _said(requests, tokens, concurrency),
    }
    _told(ask(lambda podium: podium.call("POST", _ROUTE, body)), as_json=as_json)


@app.command("ls")
def ls(as_json: AsJson = False) -> None:
    """List keys: rights and times, never the keys themselves."""
    found = ask(lambda podium: podium.call("GET", _ROUTE))
    if as_json:
        output.emit_json(found)
        return
    rows = [
        [
            key["id"],
            key["name"],
            key["role"],
            ", ".join(key["scopes"]) or None,
            _limits(key),
            output.age(key["created_at"]),
            "never" if key["last_used_at"] is None else output.age(key["last_used_at"]),
            _state(key),
        ]
        for key in found["keys"]
    ]
    columns = ("id", "name", "role", "scopes", "limits", "created", "last used", "state")
    output.table(columns, rows, empty="no keys: whoever reaches the loopback address may do everything")


@app.command("update")
def update(
    key_id: Id,
    requests: Requests = None,
    tokens: Tokens = None,
    concurrency: Concurrency = None,
    as_json: AsJson = False,
) -> None:
    """Give a key other limits, at once; what is not named stays as it is."""
    body = _said(requests, tokens, concurrency)
    if not body:
        raise typer.BadParameter("name at least one of --requests, --tokens and --concurrency")
    found = ask(lambda podium: podium.call("PATCH", f"{_ROUTE}/{quote(key_id, safe='')}", body))
    if as_json:
        output.emit_json(found)
    else:
        output.say(f"{found['id']} ({found['name']}): {_limits(found) or 'no limits'}")


@app.command("revoke")
def revoke(key_id: Id, as_json: AsJson = False) -> None:
    """End a key at once."""
    found = ask(lambda podium: podium.call("DELETE", f"{_ROUTE}/{quote(key_id, safe='')}"))
    if as_json:
        output.emit_json(found)
    else:
        output.say(f"{found['id']} ({found['name']}) is revoked")


@app.command("rotate")
def rotate(
    key_id: Id,
    overlap: Annotated[str, typer.Option(metavar="TIME", help="How long the old one still works.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Print a key with the same rights; the old one still works for a while."""
    body = {"overlap_s": seconds(overlap)}
    made = ask(lambda podium: podium.call("POST", f"{_ROUTE}/{quote(key_id, safe='')}/rotate", body))
    _told(made, as_json=as_json)


def _told(made: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        output.emit_json(made)
        return
    output.say(made["key"])
    output.note("keep it now: it is not stored and cannot be shown again")


def _said(requests: str | None, tokens: str | None, concurrency: str | None) -> dict[str, str]:
    said = {"requests": requests, "tokens": tokens, "concurrency": concurrency}
    return {name: value for name, value in said.items() if value is not None}


def _limits(key: dict[str, Any]) -> str | None:
    """Those in force, in a few words."""
    found = key["limits_in_force"]
    words = {"requests": "{} requests", "tokens": "{} tokens", "concurrency": "{} at a time"}
    return ", ".join(words[name].format(value) for name, value in found.items() if value is not None) or None


def _state(key: dict[str, float | str | None]) -> str:
    if key["revoked_at"] is not None:
        return "revoked"
    ends = key["expires_at"]
    if not isinstance(ends, float):
        return "valid"
    left = ends - time.time()
    how = f"ends in {duration(left)}" if left > 0 else "expired"
    return f"replaced, {how}" if key["replaced_by"] else how
