"""Model servers that run on this machine, as proposals: known ports are asked, nothing is generated."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from podium.errors import PodiumError
from podium.importing.llama_swap import variable
from podium.importing.report import Proposal, Report, usable_name
from podium.providers.ollama_api import host_url
from podium.providers.recognising import Server, recognise
from podium.providers.servers import kinds

OWN = "podium"
ASK_S = 4.0
_OLLAMA = "http://127.0.0.1:11434"


def usual_addresses(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Where servers usually listen on this machine, and where ``OLLAMA_HOST`` says Ollama does."""
    ports = sorted({port for kind in kinds() for port in kind.ports} | {1234, 8000, 8080, 11434, 30000})
    found = [f"http://127.0.0.1:{port}" for port in ports]
    if environ.get("OLLAMA_HOST"):
        found.append(host_url(None, environ))
    return tuple(dict.fromkeys(found))


async def find_servers(addresses: Iterable[str], report: Report, named: Iterable[str] = ()) -> None:
    """Propose every model that they serve; Podium's own are left out. Of those the user ``named``, silence is told, too."""
    wanted = list(named)
    asked = [*addresses, *wanted]
    answers = await asyncio.gather(*(_ask(address) for address in asked))
    for address, found in zip(asked, answers, strict=True):
        if isinstance(found, str):
            report.note(found, address)
        elif found is not None and found.kind != OWN:
            _propose(found, report)
        elif address in wanted:
            said = "no model server answers here" if found is None else "this is Podium itself"
            report.note(said, address, wrong=found is None)


async def _ask(address: str) -> Server | str | None:
    try:
        async with asyncio.timeout(ASK_S):
            return await recognise(address)
    except TimeoutError:
        return f"did not answer within {ASK_S:g} s"
    except (PodiumError, OSError) as error:
        return f"cannot be asked: {error}"


def _propose(server: Server, report: Report) -> None:
    if server.locked:
        key = variable(server.kind)
        report.note(f"{server.title} wants a key: set {key}, then podium models add NAME --url {server.url} --set api_key_env={key}",
                    server.url)  # fmt: skip
        return
    if not server.models:
        report.note(f"{server.title} serves no models", server.url)
    for model in server.models:
        ollama = server.provider == "ollama"
        settings: dict[str, object] = {} if ollama else {"remote": model.id}
        if ollama and server.url.rstrip("/") != _OLLAMA:
            settings["host"] = server.url
        known = (
            model.architecture,
            model.quantization,
            model.context_length and f"{model.context_length} tokens of context",
        )
        report.add(
            Proposal(
                name=usable_name(model.id.removesuffix(":latest") if ollama else model.id.rsplit("/", 1)[-1]),
                provider=server.provider,
                location=model.id if ollama else server.url,
                origin=f"{server.title}{f' {server.version}' if server.version else ''} at {server.url}",
                settings=settings,
                about=", ".join(one for one in known if one),
            )
        )
