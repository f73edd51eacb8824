"""A model, its immutable versions and what is known about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class Lifecycle(StrEnum):
    """Where a version stands. Only ``ACTIVE`` versions are selectable."""

    REGISTERED = "registered"
    READY = "ready"
    ACTIVE = "active"
    DEPRECATED = "deprecated"
    RETIRED = "retired"


class Category(StrEnum):
    """What a user keeps a model for."""

    FAST = "fast"
    PRIMARY = "primary"
    QUALITY = "quality"
    ALTERNATIVE = "alternative"
    SPECIALISED = "specialised"


class Capability(StrEnum):
    """What a version can do. Read from the artifact or probed from the server."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"
    LOGPROBS = "logprobs"
    VISION = "vision"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a version comes from, as the user gave it.

    ``provider`` names the provider that runs it (``llamacpp``, ``openai``, ``command``, ``scripted`` or a
    plugin's name), ``location`` is a path, base URL or command line, ``settings`` are provider options
    (JSON values only: context, slots, threads, temperature, remote model id, key reference, …).
    """

    provider: str
    location: str
    settings: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the artifact or the server says about itself. ``None`` means it did not say."""

    digest: str
    """``sha256:<64 hex>`` of the artifact; for servers and commands of what identifies them."""
    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    context_length: int | None = None
    size_bytes: int | None = None
    kv_bytes_per_token: int | None = None
    chat_template: str | None = None
    licence: str | None = None
    declared_version: str | None = None
    capabilities: frozenset[str] = frozenset()
    evidence: tuple[tuple[str, str], ...] = ()
    """(what, how it is known) for facts that were asked of a server or probed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What whoever registered a version says of it; never read from the artifact, and never changed."""

    licence: str | None = None
    """For a source that does not tell its own; ``Facts.licence`` is what it tells."""
    training_data: str | None = None
    hardware: frozenset[str] = frozenset()
    """Kinds of which any one can run it (``cpu``, ``cuda``, …); empty: not said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One immutable version. ``status`` is the only thing that ever differs between two reads of it."""

    name: str
    version: str
    source: Source
    facts: Facts
    category: Category | None = None
    tags: frozenset[str] = frozenset()
    parent: str | None = None
    specialisation: str | None = None
    provenance: Provenance = Provenance()
    created_at: float = 0.0
    """Unix seconds."""
    status: Lifecycle = Lifecycle.REGISTERED
    activated_at: float | None = None

    @property
    def licence(self) -> str | None:
        """As the source tells, else as declared."""
        return self.facts.licence or self.provenance.licence

    @property
    def ref(self) -> str:
        """``name@version``, the way a version is named everywhere."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One recorded change of a version's lifecycle."""

    ref: str
    before: Lifecycle
    after: Lifecycle
    at: float
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a real run measured. ``None`` was not measurable; nothing here is declared or guessed."""

    load_s: float | None = None
    memory_bytes: int | None = None
    ttft_ms: float | None = None
    tokens_per_s: float | None = None
    latency_ms: float | None = None
    measured_at: float | None = None
