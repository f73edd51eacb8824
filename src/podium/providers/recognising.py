"""Asks a running server what it is and what it serves: a handful of GETs, nothing generated.

Which paths and what their answers mean is data (``servers.toml``); this module only asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from podium.domain.model import Capability
from podium.errors import PodiumError
from podium.providers.endpoints import parse_url, root_of
from podium.providers.servers import (
    GENERIC,
    LISTING,
    Answer,
    Answers,
    Kind,
    first,
    hosted_at,
    kind_of,
    sign_paths,
)
from podium.transport.addresses import CAUTIOUS, Reach
from podium.transport.client import HttpClient, RawHeaders

LIMIT_S = 3.0
MOST_BYTES = 4 * 1024 * 1024
_AT_ONCE = 4
_TRIED = 256
"""Models of one server that are described."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One model a server lists. ``None`` and absent is what it does not tell."""

    id: str
    loaded: bool | None = None
    context_length: int | None = None
    concurrency: int | None = None
    parameters: int | None = None
    size_bytes: int | None = None
    architecture: str | None = None
    quantization: str | None = None
    told: frozenset[str] = frozenset()
    """Capabilities the server says this model has."""
    only: frozenset[str] = frozenset()
    """If not empty: all it can do."""
    evidence: tuple[tuple[str, str], ...] = ()
    """(fact, the path and place that told it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server. ``url`` is what to register it by; ``locked``: it wants a key before it lists its models."""

    kind: str
    title: str
    provider: str
    url: str
    version: str | None
    models: tuple[Served, ...]
    locked: bool = False


async def recognise(url: str, headers: RawHeaders = (), reach: Reach = CAUTIOUS) -> Server | None:
    """What runs at an address such as ``http://127.0.0.1:8080``; ``None`` when nothing there serves models.

    Hosted services are told by their host and are not asked. Raises ``InvalidRequest`` for what is no URL.
    """
    origin, base = parse_url(url)
    hosted = hosted_at(origin.host)
    if hosted is not None:
        return Server(
            kind=hosted.kind,
            title=hosted.title,
            provider=hosted.provider,
            url=f"{origin}{base}",
            version=None,
            models=(),
        )
    client = HttpClient(origin, max_body=MOST_BYTES, reach=reach)
    try:
        kind, answers, locked = await examine(client, base, headers)
    finally:
        await client.aclose()
    if kind is GENERIC and not locked and not _ids(kind, answers):
        return None
    place = root_of(base) if kind.provider == "ollama" else base
    version = first((kind.version,), answers, None) if kind.version is not None else None
    return Server(
        kind=kind.kind,
        title=kind.title,
        provider=kind.provider,
        url=f"{origin}{place}",
        version=str(version[0]) if version is not None else None,
        models=tuple(served(kind, answers, model) for model in _ids(kind, answers)[:_TRIED]),
        locked=locked,
    )


async def examine(client: HttpClient, base: str, headers: RawHeaders) -> tuple[Kind, Answers, bool]:
    """(which server it is, its answers, whether it wants a key for its list of models). Never raises for a server
    that answers nonsense or not at all.
    """
    root = root_of(base)
    statuses: dict[str, int] = {}
    answers = dict(await _ask(client, root, base, sign_paths(), headers, statuses))
    locked = statuses.get(LISTING) in (401, 403)
    kind = kind_of(answers) or GENERIC
    answers |= await _ask(client, root, base, kind.paths - set(statuses), headers, statuses)
    return kind, answers, locked


def served(kind: Kind, answers: Answers, model: str) -> Served:
    """What the answers of a server say of one model."""
    evidence: list[tuple[str, str]] = []

    def told(name: str) -> object:
        found = first(kind.facts.get(name, ()), answers, model)
        if found is None:
            return None
        evidence.append((name, f"GET {found[1].path}: {found[1].at}"))
        return found[0]

    capabilities = [each for each in kind.tells if first((each,), answers, model) is not None]
    only = [each for each in kind.only if first((each,), answers, model) is not None]
    evidence += [(each.gives, f"GET {each.path}: {each.at}") for each in (*capabilities, *only)]
    return Served(
        id=model,
        loaded=_loaded(kind, answers, model),
        context_length=_count(told("context_length")),
        concurrency=_count(told("concurrency")),
        parameters=_count(told("parameters")),
        size_bytes=_count(told("size_bytes")),
        architecture=_text(told("architecture")),
        quantization=_text(told("quantization")),
        told=frozenset(each.gives for each in capabilities),
        only=frozenset(each.gives for each in only),
        evidence=tuple(evidence),
    )


def _loaded(kind: Kind, answers: Answers, model: str) -> bool | None:
    if kind.loaded is None or kind.loaded.path not in answers:
        return None
    return first((kind.loaded,), answers, model) is not None


def documented(kind: Kind) -> frozenset[str]:
    """What a server's documentation promises of a model that generates."""
    return frozenset({Capability.CHAT.value, *kind.documented} & {each.value for each in Capability})


def _ids(kind: Kind, answers: Answers) -> list[str]:
    listing = answers.get("/api/tags" if kind.provider == "ollama" else LISTING)
    value = listing.value if listing is not None else None
    rows = value.get("models" if kind.provider == "ollama" else "data") if isinstance(value, dict) else None
    found = [row.get("id", row.get("name")) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [each for each in found if isinstance(each, str) and each]


async def _ask(
    client: HttpClient, root: str, base: str, paths: Iterable[str], headers: RawHeaders, statuses: dict[str, int]
) -> dict[str, Answer]:
    """The JSON answers of some paths; the status of each that was answered goes into ``statuses``."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(path: str) -> tuple[str, Answer | None]:
        async with gate:
            return path, await get(path, f"{base}/models" if path == LISTING else f"{root}{path}")

    async def get(path: str, where: str) -> Answer | None:
        try:
            reply = await client.request(
                b"GET", where.encode(), headers=headers, connect_s=LIMIT_S, first_byte_s=LIMIT_S, total_s=LIMIT_S
            )
            body = await reply.read()
        except PodiumError:
            return None
        statuses[path] = reply.status
        if reply.status != 200:
            return None
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return Answer(value, {name.decode("latin-1"): text.decode("latin-1") for name, text in reply.headers})

    found = await asyncio.gather(*(one(path) for path in sorted(paths)))
    return {path: answer for path, answer in found if answer is not None}


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _text(value: object) -> str | None:
    return value[:200] if isinstance(value, str) and value else None
