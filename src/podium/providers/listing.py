"""The list of models of an OpenAI-compatible server: asking for it, finding one in it, reading facts from its row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from podium.domain.model import Capability, Facts
from podium.errors import InvalidRequest, ProviderError
from podium.transport.client import HttpClient

GENERATES = (Capability.CHAT, Capability.COMPLETION, Capability.TOOLS, Capability.JSON_SCHEMA, Capability.LOGPROBS)
_UNSTABLE = ("created", "permission", "status")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
Row = dict[str, Any]


async def list_models(
    client: HttpClient, base: str, headers: Sequence[tuple[bytes, bytes]], limit_s: float
) -> list[Row]:
    """The rows of ``GET BASE/models`` that have an id. Raises ``ProviderError`` that says what is wrong."""
    reply = await client.request(
        b"GET",
        f"{base}/models".encode(),
        headers=headers,
        connect_s=limit_s,
        first_byte_s=limit_s,
        total_s=limit_s,
    )
    body = await reply.read()
    if reply.status in (401, 403):
        raise ProviderError(f"{client.name} refuses our key (HTTP {reply.status}); see what api_key names")
    if reply.status in _REDIRECTS:
        raise ProviderError(redirected(client.name, base, dict(reply.headers).get(b"location", b"")))
    if reply.status != 200:
        raise ProviderError(
            f"{client.name}{base}/models answers HTTP {reply.status}; is this an OpenAI-compatible URL?"
        )
    return rows_of(body, f"{client.name}{base}/models")


def rows_of(body: bytes, where: str) -> list[Row]:
    """The rows of an answer. Raises ``ProviderError``."""
    try:
        rows = msgspec.json.decode(body)["data"]
        return [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise ProviderError(f"{where} does not answer like an OpenAI-compatible server") from None


def redirected(name: str, base: str, location: bytes) -> str:
    """What to say of a server that sends us elsewhere: whoever registered it did not mean that place."""
    said = location[:200].decode("latin-1")
    place = said.encode("ascii", "replace").decode() if said.isprintable() and said else "somewhere it does not name"
    return f"{name}{base} redirects to {place}; redirects are not followed, register the address that answers itself"


def find_model(rows: list[Row], remote: str | None, url: str) -> Row:
    """The row of the model that is meant; an empty one for a name the server does not list.

    Servers need not list all they serve (adapters, models loaded on demand), so a name that was given is believed
    here and proven by the generation that validates the version. Raises ``InvalidRequest`` listing what there is
    when no name was given and there is not exactly one.
    """
    if remote is None and len(rows) == 1:
        return rows[0]
    if remote is None:
        listed = ", ".join(row["id"] for row in rows[:10]) or "no model at all"
        raise InvalidRequest(f"name the model at {url}; it lists {listed}", param="source.settings.remote")
    return next((row for row in rows if row["id"] == remote), {"id": remote})


def facts_of(
    row: Mapping[str, Any], capabilities: tuple[str, ...] | None, identity: str, more: Sequence[object] = ()
) -> Facts:
    """What the server says of a model: llama.cpp's ``meta``, vLLM's ``max_model_len``, LM Studio's fields.

    ``more`` is what else identifies the model.
    """
    meta = row.get("meta") if isinstance(row.get("meta"), dict) else {}
    assert isinstance(meta, Mapping)
    stable = {key: row[key] for key in sorted(row) if key not in _UNSTABLE}
    stable["meta"] = {key: meta[key] for key in sorted(meta) if key != "size_loaded"}
    extra = msgspec.json.encode(list(more)) if more else b""
    digest = hashlib.sha256(identity.encode() + msgspec.json.encode(stable) + extra).hexdigest()
    return Facts(
        digest=f"sha256:{digest}",
        architecture=_text(row.get("arch")),
        parameters=_count(meta.get("n_params")),
        quantization=_text(meta.get("ftype") or row.get("quantization")),
        context_length=_count(
            row.get("max_model_len") or meta.get("n_ctx") or row.get("context_length") or row.get("max_context_length")
        ),
        size_bytes=_count(meta.get("size")),
        capabilities=frozenset(capabilities if capabilities is not None else _capabilities(row)),
    )


def changed(before: Facts, now: Facts) -> str | None:
    """What shows that a server serves another model under the same name now; ``None`` when nothing does."""
    for name in ("parameters", "size_bytes", "quantization", "architecture", "context_length"):
        was, found = getattr(before, name), getattr(now, name)
        if was is not None and found is not None and was != found:
            return f"{name.replace('_', ' ')} was {was} when it was registered and is {found} now"
    return None


def _capabilities(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Embedding models are told by their type where the server names one; others generate."""
    if row.get("type") == "embeddings" or row.get("task") == "embed":
        return (Capability.EMBEDDING.value,)
    found = [item.value for item in GENERATES]
    if row.get("type") == "vlm" or "vision" in str(row.get("architecture", "")):
        found.append(Capability.VISION.value)
    reported = row.get("capabilities")
    if isinstance(reported, list) and "embedding" in reported:
        found.append(Capability.EMBEDDING.value)
    return tuple(found)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
