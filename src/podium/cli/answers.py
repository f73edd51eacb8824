"""``podium run``: one prompt, answered by the best version, streamed to the terminal."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli import output
from podium.cli.session import AsJson, fail, gateway
from podium.domain.task import Criteria, Preference

if TYPE_CHECKING:
    from podium.client import Podium


def run(
    prompt: Annotated[str, typer.Argument(help="The prompt; - reads it from standard input.")],
    task: Annotated[str | None, typer.Option("--task", "-t", help="Kind of work; left out, it is recognised.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="name, name@version or alias.")] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None,
    max_latency_ms: Annotated[float | None, typer.Option(help="Only versions expected to be this fast.")] = None,
    max_memory_mb: Annotated[float | None, typer.Option(help="Only versions this small.")] = None,
    min_quality: Annotated[float | None, typer.Option(help="Only versions this good, 0 to 1.")] = None,
    prefer: Annotated[Preference | None, typer.Option(help="What to favour among the rest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Answer one prompt with the best model for it."""
    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise fail("the prompt is empty", 2)
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    criteria = Criteria(
        max_latency_ms=max_latency_ms, max_memory_mb=max_memory_mb, min_quality=min_quality, preference=prefer
    )
    given: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature}
    options = {
        "task": task,
        "model": model,
        "criteria": criteria if criteria != Criteria() else None,
        **{name: value for name, value in given.items() if value is not None},
    }
    asyncio.run(_run(messages, options, as_json=as_json))


async def _run(messages: list[dict[str, str]], options: dict[str, Any], *, as_json: bool) -> None:
    async with gateway() as podium:
        if as_json:
            result = await podium.execute(messages, **options)
            output.emit_json(dataclasses.asdict(result))
        else:
            await _stream(podium, messages, options)


async def _stream(podium: Podium, messages: list[dict[str, str]], options: dict[str, Any]) -> None:
    """Text on stdout as it comes; who answered, how fast, and how to learn why on stderr."""
    async with podium.stream(messages, **options) as stream:
        async for piece in stream:
            sys.stdout.write(piece)
            sys.stdout.flush()
    output.say()
    record = (await podium.recorded(stream.request_id)).attempts[-1]
    cost = record.cost
    parts = [record.decision.served, f"task {record.decision.task}", f"{record.latency_ms:.0f} ms"]
    if cost.tokens_per_s is not None:
        parts.append(f"{cost.tokens_per_s:.1f} tokens/s")
    if cost.peak_memory_mb is not None:
        parts.append(f"{cost.peak_memory_mb:.0f} MB")
    output.note(f"[{' · '.join(parts)}]  why: podium explain {stream.request_id}")
