"""``podium secrets``: keys for other people's servers, sealed at rest. A secret is read from a prompt or standard input,
never from the command line, where other users and the shell's history see it.
"""

from __future__ import annotations

import ipaddress
import sys
from typing import Annotated
from urllib.parse import quote, urlsplit

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask, fail

app = typer.Typer(help="Keys for hosted models, sealed at rest.", no_args_is_help=True, rich_markup_mode=None)
Name = Annotated[str, typer.Argument(metavar="NAME", help="What models call it by: `secret:NAME`.")]
_ROUTE = "/api/v1/secrets"
_MOST_BYTES = 16_384


@app.command("set")
def set_(name: Name, as_json: AsJson = False) -> None:
    """Seal a secret, asked for without echo or read from standard input; it replaces the one there was."""
    _refuse_clear_text()
    value = _read()
    found = ask(lambda podium: podium.call("PUT", f"{_ROUTE}/{quote(name, safe='')}", {"value": value}))
    if as_json:
        output.emit_json(found)
    else:
        output.say(f"{found['name']} is sealed; name it as secret:{found['name']}, for example --set api_key=…")


@app.command("ls")
def ls(as_json: AsJson = False) -> None:
    """List names and times, never the secrets."""
    found = ask(lambda podium: podium.call("GET", _ROUTE))
    if as_json:
        output.emit_json(found)
        return
    rows = [
        [
            one["name"],
            one["version"],
            output.age(one["set_at"]),
            one["set_by"],
            one["key_id"],
            "cannot be opened" if one["problem"] else "sealed",
        ]
        for one in found["secrets"]
    ]
    output.table(
        ("name", "version", "set", "by", "master key", "state"), rows, empty="no secrets: podium secrets set NAME"
    )
    for problem in dict.fromkeys(one["problem"] for one in found["secrets"] if one["problem"]):
        output.note(f"problem: {problem}")


@app.command("rm")
def rm(name: Name, as_json: AsJson = False) -> None:
    """Forget a secret; models that name it cannot be called until it is set again."""
    found = ask(lambda podium: podium.call("DELETE", f"{_ROUTE}/{quote(name, safe='')}"))
    if as_json:
        output.emit_json(found)
    else:
        output.say(f"{name} is forgotten")


@app.command("rekey")
def rekey(as_json: AsJson = False) -> None:
    """Seal all secrets under a new master key, all or none."""
    found = ask(lambda podium: podium.call("POST", f"{_ROUTE}/rekey"))
    if as_json:
        output.emit_json(found)
        return
    output.say(f"{found['resealed']} sealed anew")
    if not found["old_key_gone"]:
        output.note("the old master key is not needed any more: take it out of PODIUM_MASTER_KEY")


@app.command("reset")
def reset(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """After the master key was lost: forget what cannot be opened any more, so that it can be set again."""
    found = ask(lambda podium: podium.call("GET", _ROUTE))
    lost = [one["name"] for one in found["secrets"] if one["problem"]]
    if lost and not yes:
        output.note(f"cannot be opened: {', '.join(lost)}. A backup of the master key would still open them.")
        if not sys.stdin.isatty():
            raise fail("say --yes to forget them")
        typer.confirm("Forget them for good?", abort=True, err=True)
    done = ask(lambda podium: podium.call("POST", f"{_ROUTE}/reset")) if lost else {"removed": []}
    if as_json:
        output.emit_json(done)
    else:
        output.say(f"forgotten: {', '.join(done['removed'])}" if done["removed"] else "all secrets can be opened")


def _read() -> str:
    """One word, without the line break at its end."""
    if sys.stdin.isatty():
        return str(typer.prompt("secret", hide_input=True, err=True))
    raw = sys.stdin.buffer.read(_MOST_BYTES)
    try:
        return raw.decode("ascii").strip()
    except UnicodeDecodeError:
        raise fail("standard input holds no key: it is not plain text") from None


def _refuse_clear_text() -> None:
    """A secret crosses no network unencrypted."""
    from podium.client import find_server  # noqa: PLC0415 - keeps `podium --help` fast

    parts = urlsplit(find_server() or "")
    if parts.scheme == "http" and not _loopback(parts.hostname or ""):
        raise fail(f"{parts.netloc} is not spoken to by TLS: the secret would cross the network as it is; use https://")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
