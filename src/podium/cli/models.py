"""``podium models``: register versions, look at them, move them through their life."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import output
from podium.cli.session import AsJson, ask, fail, gateway
from podium.domain.model import Category, Lifecycle

if TYPE_CHECKING:
    from podium.providers.ollama_api import Listed, OllamaServer, Progress

app = typer.Typer(help="Register models and see what is registered.", no_args_is_help=True, rich_markup_mode=None)

Ref = Annotated[str, typer.Argument(metavar="REF", help="name@version, name or alias.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]
TICK_S = 5.0
HOSTED = {"anthropic": "https://api.anthropic.com"}
"""Where a provider's models are that are always at one place."""


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the model; versions of it share the name.")],
    gguf: Annotated[Path | None, typer.Option(help="GGUF file, run by the embedded llama.cpp.")] = None,
    artifact: Annotated[
        Path | None, typer.Option(help="Folder with a model of your own: safetensors, ONNX, GGUF, MLX, Core ML.")
    ] = None,
    framework: Annotated[
        str | None, typer.Option(help="With --artifact: pytorch, onnx, gguf, mlx or coreml; left out: by its files.")
    ] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="With --artifact: open weights that may run code of their maker.")
    ] = False,
    ollama: Annotated[str | None, typer.Option(help="Model of a running Ollama, such as gemma3:1b.")] = None,
    url: Annotated[str | None, typer.Option(help="Base URL of a running OpenAI-compatible server.")] = None,
    command: Annotated[
        str | None, typer.Option(help="Command line that starts a server on ${PORT}, or preset:NAME.")
    ] = None,
    scripted: Annotated[Path | None, typer.Option(help="Script of the deterministic provider, for tests.")] = None,
    provider: Annotated[str | None, typer.Option(help="Any installed provider; --location says what it runs.")] = None,
    location: Annotated[str | None, typer.Option(help="With --provider; left out for anthropic: its API.")] = None,
    remote: Annotated[
        str | None, typer.Option(help="The model's id at the server; with a preset what it serves.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="Left out: what the artifact declares, else its digest.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Provider option KEY=VALUE; repeatable.")] = None,
    category: Annotated[Category | None, typer.Option(help="What you keep it for.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Label to find it by; repeatable.")] = None,
    parent: Annotated[str | None, typer.Option(help="name@version it was made from.")] = None,
    specialisation: Annotated[str | None, typer.Option(help="What it was made for, such as code-review.")] = None,
    licence: Annotated[str | None, typer.Option(help="Its licence, where the source does not tell it.")] = None,
    training_data: Annotated[str | None, typer.Option(help="What it was trained on.")] = None,
    hardware: Annotated[list[str] | None, typer.Option(help="Kind that can run it, such as cuda; repeatable.")] = None,
    activate: Annotated[
        bool | None, typer.Option("--activate/--no-activate", help="Default: if it is the first of its name.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Register a version: its facts are read, it is loaded once, and answers once."""
    kinds = {"llamacpp": gguf and gguf.absolute(), "ollama": ollama, "openai": url, "command": command}
    kinds |= {"artifact": artifact and artifact.expanduser().absolute(), "scripted": scripted and scripted.absolute()}
    given = [(kind, str(place)) for kind, place in kinds.items() if place is not None]
    given += [(provider, location or HOSTED.get(provider, ""))] if provider is not None else []
    if len(given) != 1:
        raise fail("give exactly one of --gguf, --artifact, --ollama, --url, --command, --scripted, --provider", 2)
    if not given[0][1] or (location is not None and provider is None):
        raise fail("--provider and --location go together", 2)
    ((kind, place),) = given
    settings = dict(parse_setting(text) for text in set_ or ())
    if remote is not None:
        settings["remote"] = remote
    if (framework is not None or allow_pickle) and kind != "artifact":
        raise fail("--framework and --allow-pickle go with --artifact", 2)
    settings |= {"framework": framework} if framework is not None else {}
    settings |= {"allow_pickle": True} if allow_pickle else {}
    order = {
        "provider": kind,
        "location": place,
        "version": version,
        "settings": settings,
        "category": category,
        "tags": tag or (),
        "parent": parent,
        "specialisation": specialisation,
        "licence": licence,
        "training_data": training_data,
        "hardware": hardware or (),
        "activate": activate,
    }
    made = asyncio.run(_add(name, order))
    if as_json:
        output.emit_json(made)
    elif made["problem"] is None:
        output.say(f"{made['ref']} is {made['status']}" + ("" if made["created"] else " (was registered already)"))
        if made["status"] == Lifecycle.READY:
            output.note(f"another version serves {name!r}; `podium models activate {made['ref']}` adds this one")
    if made["problem"] is not None:
        raise fail(
            f"{made['ref']} is registered but not usable: {made['problem']['message']}\n"
            f"once that is mended, `podium models activate {made['ref']}`; if what was registered is wrong, "
            f"`podium models remove {made['ref']}` and add it again"
        )


async def _add(name: str, order: dict[str, Any]) -> dict[str, Any]:
    """Register with signs of life on stderr: reading a large file and loading it take their time."""
    output.note(f"reading {order['location']}, then loading it for one real generation …")
    started = time.monotonic()
    async with gateway() as podium:
        work = asyncio.create_task(podium.add_model(name, **order))
        try:
            while not (await asyncio.wait({work}, timeout=TICK_S))[0]:
                states = [f"{one['ref']} {one['state']}" for one in await podium.instances()]
                output.note(f"  {time.monotonic() - started:.0f} s  {', '.join(states) or 'reading'}")
            return work.result()
        finally:
            work.cancel()


def parse_setting(text: str) -> tuple[str, Any]:
    """``KEY=VALUE``, the value as JSON where it is JSON, else as text. Exits with 2 without a ``=``."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise fail(f"--set {text!r} is not of the form KEY=VALUE", 2)
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


@app.command()
def pull(
    tag: Annotated[str, typer.Argument(help="Model of ollama.com's library, such as gemma3:1b.")],
    host: Annotated[
        str | None, typer.Option(help="The Ollama server; default: OLLAMA_HOST, else this machine.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let a running Ollama download a model; the gateway need not run. Ctrl-C stops it, the next pull goes on."""
    row = asyncio.run(_pull(tag, host))
    if as_json:
        output.emit_json({"model": row.name, "digest": f"sha256:{row.digest}", "size_bytes": row.size})
    else:
        output.say(f"{row.name} is there ({output.size(row.size)}B); `podium models add NAME --ollama {row.name}`")


async def _pull(tag: str, host: str | None) -> Listed:
    from podium.providers.ollama_api import OllamaServer, host_url  # noqa: PLC0415 - keeps `--help` fast

    server = OllamaServer(host_url(host, os.environ))
    try:
        return await pull_tag(server, tag)
    finally:
        await server.aclose()


async def pull_tag(server: OllamaServer, tag: str) -> Listed:
    """Every step once on stderr, every tenth of a download; the row of what came. Raises ``ProviderError``."""
    said: set[str] = set()

    def show(step: Progress) -> None:
        line = step.status
        if step.total:
            line += f"  {(step.completed or 0) * 10 // step.total * 10} % of {output.size(step.total)}B"
        if line not in said:
            said.add(line)
            output.note(f"  {line}")

    await server.pull(tag, show)
    row = await server.find(tag)
    if row is None:
        raise fail(f"Ollama pulled {tag} and does not list it")
    return row


@app.command()
def ls(
    name: Annotated[str | None, typer.Option(help="Versions of this model only.")] = None,
    status: Annotated[Lifecycle | None, typer.Option(help="Versions in this state only.")] = None,
    provider: Annotated[str | None, typer.Option(help="Versions run by this provider only.")] = None,
    capability: Annotated[list[str] | None, typer.Option(help="Must have it; repeatable.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Has any of them; repeatable.")] = None,
    category: Annotated[Category | None, typer.Option()] = None,
    sort: Annotated[str, typer.Option(help="Field; - in front for descending.")] = "-created_at",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    offset: Annotated[int, typer.Option(min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """List registered versions, newest first."""
    filters: dict[str, Any] = {
        "name": name,
        "status": status,
        "provider": provider,
        "capability": capability,
        "tag": tag,
    }
    filters |= {"category": category, "sort": sort, "limit": limit, "offset": offset}
    found = ask(lambda podium: podium.models(**filters))
    if as_json:
        output.emit_json({"models": found})
        return
    rows = []
    for one in found:
        facts, profile = one["facts"], one["profile"] or {}
        fixed = [one["ref"], one["status"], one["provider"], output.size(facts["parameters"]), facts["quantization"]]
        rows.append([*fixed, facts["context_length"], profile.get("memory_mb"), profile.get("tokens_per_s")])
    columns = ("version", "status", "provider", "parameters", "quantization", "context", "memory MB", "tokens/s")
    output.table(columns, rows, empty="no models; `podium models add NAME --gguf PATH` registers one")


@app.command()
def show(ref: Ref, as_json: AsJson = False) -> None:
    """Everything known about one version."""
    one = ask(lambda podium: podium.model(ref))
    if as_json:
        output.emit_json(one)
        return
    plain = {key: one[key] for key in ("ref", "status", "provider", "category", "tags", "parent", "aliases")}
    plain |= {key: one[key] for key in ("specialisation", "training_data", "hardware") if one[key]}
    output.facts({**plain, "location": one["source"]["location"], "settings": one["source"]["settings"]})
    output.facts(one["facts"])
    if one["evidence"]:
        output.say("how that is known")
        output.facts({f"  {key}": value for key, value in one["evidence"].items()})
    if one["profile"]:
        output.say("measured")
        output.facts({f"  {key}": value for key, value in one["profile"].items() if key != "measured_at"})
    output.say("history")
    for step in one["transitions"]:
        output.say(f"  {output.age(step['at'])}: {step['from']} → {step['to']} by {step['by']}: {step['reason']}")


def _move(ref: str, action: str, reason: str, as_json: bool) -> None:
    one = ask(lambda podium: podium.transition(ref, action, reason))
    if as_json:
        output.emit_json(one)
    else:
        output.say(f"{one['ref']} is {one['status']}")


@app.command()
def activate(ref: Ref, reason: Reason = "", as_json: AsJson = False) -> None:
    """Make a version selectable; it is validated first if nobody has."""
    _move(ref, "activate", reason, as_json)


@app.command()
def deprecate(ref: Ref, reason: Reason = "", as_json: AsJson = False) -> None:
    """No longer selectable, kept for rollback."""
    _move(ref, "deprecate", reason, as_json)


@app.command()
def retire(ref: Ref, reason: Reason = "", as_json: AsJson = False) -> None:
    """End a version; its record stays."""
    _move(ref, "retire", reason, as_json)


@app.command()
def remove(ref: Ref, as_json: AsJson = False) -> None:
    """Take away a version that never worked, so that its name is free again."""
    done = ask(lambda podium: podium.remove_model(ref))
    if as_json:
        output.emit_json(done)
    else:
        output.say(f"{done['ref']} is gone; its name is free again")
