"""Names and values of OpenTelemetry's GenAI semantic conventions 1.42, and of Podium's own attributes beside them.

https://github.com/open-telemetry/semantic-conventions-genai (schema ``SCHEMA``; all of it still in development there).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from podium.domain.model import ModelVersion
from podium.domain.request import Endpoint

SCHEMA = "https://opentelemetry.io/schemas/gen-ai/1.42.0"
SCOPE = "podium"
Value = str | int | float | bool | list[str]
Attributes = dict[str, Value]

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
ERROR = "error.type"
TASK = "podium.task"

OPERATIONS: Mapping[Endpoint, str] = MappingProxyType(
    {Endpoint.CHAT: "chat", Endpoint.COMPLETION: "text_completion", Endpoint.EMBEDDING: "embeddings"}
)
GATEWAY = "podium"
"""The provider of whole requests: whoever asks Podium does not know who answers."""
_HOSTS = MappingProxyType(
    {
        "api.openai.com": "openai",
        "api.anthropic.com": "anthropic",
        "api.groq.com": "groq",
        "api.mistral.ai": "mistral_ai",
        "api.deepseek.com": "deepseek",
        "api.cohere.com": "cohere",
        "api.cohere.ai": "cohere",
        "api.moonshot.ai": "moonshot_ai",
        "api.perplexity.ai": "perplexity",
        "api.x.ai": "x_ai",
        "generativelanguage.googleapis.com": "gcp.gemini",
    }
)
"""The well-known providers, by where they answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Who answers for a version, and where. No address for processes of our own, which have no public one."""

    provider: str
    address: str | None = None
    port: int | None = None

    def attributes(self) -> Attributes:
        """As the conventions name it."""
        found: Attributes = {PROVIDER: self.provider}
        if self.address is not None and self.port is not None:
            found |= {"server.address": self.address, "server.port": self.port}
        return found


def server_of(version: ModelVersion | None) -> Server:
    """Of a version; one that is no longer registered has a provider of no name."""
    if version is None:
        return Server(provider="_OTHER")
    provider = version.source.provider
    try:
        url = urlsplit(version.source.location)
        host, port = url.hostname, url.port
    except ValueError:
        return Server(provider=provider)
    if url.scheme not in ("http", "https") or host is None:
        return Server(provider=provider)
    return Server(
        provider=_HOSTS.get(host, provider if provider != "openai" else "openai_compatible"),
        address=host,
        port=port or (443 if url.scheme == "https" else 80),
    )
