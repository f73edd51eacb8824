"""``podium models add-set``: the models of a family that an Ollama has, registered with what each is good for."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any

import typer

from podium.cli import output
from podium.cli.models import pull_tag
from podium.cli.session import AsJson, fail, gateway
from podium.domain.model import Category

SETS: dict[str, tuple[tuple[str, str, Category], ...]] = {
    "gemma": (
        ("gemma3-1b", "gemma3:1b", Category.FAST),
        ("gemma3n-e2b", "gemma3n:e2b", Category.ALTERNATIVE),
        ("gemma3-4b", "gemma3:4b", Category.PRIMARY),
        ("gemma3n-e4b", "gemma3n:e4b", Category.QUALITY),
    ),
}
"""Name here, tag there, what it is kept for; smallest first."""


def add_set(
    family: Annotated[str, typer.Argument(help=f"One of: {', '.join(SETS)}.")],
    host: Annotated[
        str | None, typer.Option(help="The Ollama server; default: OLLAMA_HOST, else this machine.")
    ] = None,
    pull: Annotated[bool, typer.Option("--pull", help="Download those that are not there first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Register the models of a family that Ollama has, each with its category; says which are missing."""
    wanted = SETS.get(family)
    if wanted is None:
        raise fail(f"there is no set {family!r}; there is {', '.join(SETS)}", 2)
    rows = asyncio.run(_add_set(family, wanted, host, pull=pull))
    if as_json:
        output.emit_json({"models": rows})
    else:
        output.table(
            ("model", "tag", "category", "status"),
            [[row["ref"], row["tag"], row["category"], row["status"] or row["problem"]] for row in rows],
            empty="",
        )
    if not any(row["ref"] for row in rows):
        raise fail(f"Ollama has none of them; `podium models add-set {family} --pull` downloads them")


async def _add_set(
    family: str, wanted: tuple[tuple[str, str, Category], ...], host: str | None, *, pull: bool
) -> list[dict[str, Any]]:
    from podium.providers.ollama_api import OllamaServer, host_url  # noqa: PLC0415 - keeps `--help` fast

    server = OllamaServer(host_url(host, os.environ))
    try:
        for _, tag, _ in wanted if pull else ():
            if await server.find(tag) is None:
                await pull_tag(server, tag)
        there = {tag for _, tag, _ in wanted if await server.find(tag) is not None}
    finally:
        await server.aclose()
    rows = []
    async with gateway() as podium:
        for name, tag, category in wanted:
            row: dict[str, Any] = {"ref": None, "tag": tag, "category": category, "status": None, "problem": None}
            if tag in there:
                settings = {"host": host} if host is not None else {}
                made = await podium.add_model(
                    name, provider="ollama", location=tag, settings=settings, category=category, tags=(family,)
                )
                problem = made["problem"]
                row |= {"ref": made["ref"], "status": made["status"], "problem": problem and problem["message"]}
            else:
                row["problem"] = f"not there; `podium models pull {tag}` gets it"
            rows.append(row)
    return rows
