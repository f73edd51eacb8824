"""A running OpenAI-compatible server: LM Studio, vLLM, llama-server, any.

What it offers is asked of it; nothing is generated to find out. A key is named by the environment variable that
holds it and never stored.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from podium.domain.model import Capability, Facts, ModelVersion, Source
from podium.errors import InvalidRequest, ProviderError
from podium.ports import Characteristics
from podium.providers.catalogue import ProviderContext
from podium.providers.http_instance import HttpInstance
from podium.providers.settings import read_settings
from podium.providers.slots import slots_of
from podium.transport.client import HttpClient, Origin

_LIMIT_S = 10.0
DEFAULT_CONCURRENCY = 64
GENERATES = (Capability.CHAT, Capability.COMPLETION, Capability.TOOLS, Capability.JSON_SCHEMA, Capability.LOGPROBS)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``remote``: the model's id on the server. ``capabilities`` overrides what cannot be found out by asking."""

    remote: str | None = None
    api_key_env: str | None = None
    concurrency: Annotated[int, msgspec.Meta(ge=1)] | None = None
    capabilities: tuple[str, ...] | None = None
    context: Annotated[int, msgspec.Meta(ge=1)] | None = None


def create(context: ProviderContext) -> OpenAICompatibleProvider:
    """Entry point of the provider ``openai``."""
    return OpenAICompatibleProvider(context)


class OpenAICompatibleProvider:
    """Talks to servers that somebody else runs."""

    name = "openai"
    characteristics = Characteristics(owns_process=False, streaming=True, continuous_batching=True, local=False)

    def __init__(self, context: ProviderContext) -> None:
        self._context = context

    async def inspect(self, source: Source) -> Facts:
        """Ask the server what it serves. Raises ``InvalidRequest`` or ``ProviderError``."""
        settings = read_settings(source, Settings)
        origin, base = parse_url(source.location)
        client = HttpClient(origin)
        try:
            entry = find_model(await _listing(client, base, self._headers(settings)), settings.remote, source.location)
        finally:
            await client.aclose()
        return facts_of(entry, settings.capabilities, f"{source.location.rstrip('/')}#{entry['id']}")

    def context_length(self, version: ModelVersion) -> int | None:
        """What was set, else what the server reported."""
        return read_settings(version.source, Settings).context or version.facts.context_length

    def footprint(self, version: ModelVersion) -> int | None:
        """Nothing here: its memory is its own."""
        return 0

    def endpoint(self, version: ModelVersion) -> str | None:
        """All versions on one server fail together. ``None`` for a URL that is none."""
        try:
            origin, _ = parse_url(version.source.location)
        except InvalidRequest:
            return None
        return str(origin)

    async def load(self, version: ModelVersion, instance_id: str) -> HttpInstance:
        """Connect; the server loads its model itself. Raises ``ProviderError`` when it does not answer."""
        settings = read_settings(version.source, Settings)
        origin, base = parse_url(version.source.location)
        client = HttpClient(origin)
        try:
            rows = await _listing(client, base, self._headers(settings))
            model = find_model(rows, settings.remote, version.source.location)["id"]
            slots = settings.concurrency or await slots_of(client, base, self._headers(settings))
        except BaseException:
            await client.aclose()
            raise
        return HttpInstance(
            client,
            model=model,
            concurrency=slots or DEFAULT_CONCURRENCY,
            adaptive=slots is None,
            capabilities=version.facts.capabilities,
            base=base,
            health_path=f"{base}/models",
            headers=self._headers(settings),
        )

    def _headers(self, settings: Settings) -> tuple[tuple[bytes, bytes], ...]:
        if settings.api_key_env is None:
            return ()
        key = self._context.environ.get(settings.api_key_env)
        if not key:
            raise InvalidRequest(
                f"the environment variable {settings.api_key_env} is not set; set it where Podium runs",
                param="source.settings.api_key_env",
            )
        return ((b"authorization", b"Bearer " + key.encode()),)


def parse_url(url: str) -> tuple[Origin, str]:
    """Origin and base path of an endpoint; a URL without a path gets ``/v1``. Raises ``InvalidRequest``."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
        raise InvalidRequest(f"{url[:200]!r} is no URL; write http://HOST:PORT/v1", param="source.location")
    if parts.username or parts.password:
        raise InvalidRequest("put no key into a URL; name its variable in api_key_env", param="source.location")
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    origin = Origin(host=parts.hostname, port=port or (443 if tls else 80), tls=tls)
    return origin, parts.path.rstrip("/") or "/v1"


async def _listing(client: HttpClient, base: str, headers: tuple[tuple[bytes, bytes], ...]) -> list[dict[str, Any]]:
    reply = await client.request(
        b"GET",
        f"{base}/models".encode(),
        headers=headers,
        connect_s=_LIMIT_S,
        first_byte_s=_LIMIT_S,
        total_s=_LIMIT_S,
    )
    body = await reply.read()
    if reply.status in (401, 403):
        raise ProviderError(f"{client.name} refuses our key (HTTP {reply.status}); set api_key_env")
    if reply.status != 200:
        raise ProviderError(
            f"{client.name}{base}/models answers HTTP {reply.status}; is this an OpenAI-compatible URL?"
        )
    try:
        rows = msgspec.json.decode(body)["data"]
        return [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise ProviderError(f"{client.name}{base}/models does not answer like an OpenAI-compatible server") from None


def find_model(rows: list[dict[str, Any]], remote: str | None, url: str) -> dict[str, Any]:
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


def facts_of(row: Mapping[str, Any], capabilities: tuple[str, ...] | None, identity: str) -> Facts:
    """What the server says of a model: llama.cpp's ``meta``, vLLM's ``max_model_len``, LM Studio's fields."""
    meta = row.get("meta") if isinstance(row.get("meta"), dict) else {}
    assert isinstance(meta, Mapping)
    stable = {key: row[key] for key in sorted(row) if key not in ("created", "permission", "status")}
    stable["meta"] = {key: meta[key] for key in sorted(meta) if key != "size_loaded"}
    digest = hashlib.sha256(identity.encode() + msgspec.json.encode(stable)).hexdigest()
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
