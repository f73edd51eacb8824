"""The configuration as frozen values: every section, key, default, limit and meaning.

The JSON Schema, ``config check`` and the documentation are derived from these classes; nothing here reads a
file or the environment. ``Annotated`` carries what a user is told about a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from msgspec import Meta

from podium.config.autoswap import AutoSwap, TaskAutoSwap
from podium.config.budgets import BudgetEntry
from podium.config.energy import Energy, PriceEntry
from podium.config.judging import Judging, TaskJudging
from podium.config.limits import LimitEntry
from podium.config.network import Network
from podium.config.objectives import TaskObjectives
from podium.config.pool import Pool
from podium.config.responses import KeptResponses
from podium.config.rules import RuleEntry
from podium.config.schedules import WindowEntry
from podium.config.telemetry import Logging, Telemetry
from podium.config.webhooks import WebhookEntry
from podium.core.keep_alive import parse_keep_alive
from podium.domain.directive import Directive
from podium.domain.model import Category, Provenance, Source
from podium.domain.task import Criteria, Preference, TaskSpec, Weights

SOURCES = ("gguf", "artifact", "ollama", "url", "command", "scripted", "provider")
"""The keys of which a model entry has exactly one."""

Fraction = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(gt=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where and how the gateway listens. Changes need a restart."""

    host: Annotated[str, Meta(description="Address to listen on; one that is not loopback needs keys")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port; 0 picks a free one")] = 7636
    allowed_hosts: Annotated[
        tuple[str, ...], Meta(description="Host header values accepted beside localhost and the listening address")
    ] = ()
    auth: Annotated[
        Literal["auto", "required", "off"],
        Meta(description="Whether requests need a key: once there is one, always, or never (loopback only)"),
    ] = "auto"
    tls_certificate: Annotated[
        str | None, Meta(description="PEM file with the certificate and its chain; then https is spoken")
    ] = None
    tls_key: Annotated[str | None, Meta(description="PEM file with its key, readable by this user only")] = None
    tls_client_ca: Annotated[
        str | None, Meta(description="PEM file with authorities; then every client needs a certificate of theirs")
    ] = None
    body_limit_mb: Annotated[float, Meta(gt=0, description="Largest request body, in MiB")] = 32.0
    header_limit_kb: Annotated[int, Meta(ge=1, le=1024, description="Largest request head, in KiB")] = 32
    request_timeout_s: Annotated[Seconds, Meta(description="Time a client may take to send one request")] = 30.0
    idle_timeout_s: Annotated[Seconds, Meta(description="Time an idle keep-alive connection stays open")] = 75.0
    unread_timeout_s: Annotated[Seconds, Meta(description="Time a client may leave its answer unread")] = 60.0
    drain_s: Annotated[float, Meta(ge=0, description="Time running requests get to finish at shutdown")] = 10.0
    watch_config: Annotated[
        bool, Meta(description="Look at the file every second and read it again when it was changed")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Time limits of one call to a model."""

    connect_s: Annotated[Seconds, Meta(description="Connecting to the model's server")] = 5.0
    first_token_s: Annotated[Seconds, Meta(description="From sending to the first byte of the answer")] = 120.0
    total_s: Annotated[Seconds, Meta(description="From sending to the last byte of the answer")] = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Write-behind of decisions and outcomes."""

    flush_ms: Annotated[float, Meta(gt=0, le=1000, description="Longest time a row waits before its commit")] = 200.0
    buffer: Annotated[int, Meta(ge=1, description="Rows that may wait; beyond it they are dropped and counted")] = (
        20_000
    )
    max_decisions: Annotated[int, Meta(ge=1, description="Decisions kept at most")] = 200_000
    retention_days: Annotated[float, Meta(gt=0, description="Age at which decisions are deleted")] = 30.0
    max_events: Annotated[int, Meta(ge=100, description="Events kept at most")] = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """How a version is chosen."""

    strategy: Annotated[str, Meta(description="Strategy of tasks that name none")] = "default"
    weights: Annotated[Mapping[str, Weights], Meta(description="Own presets: five weights, each >= 0, together 1")] = (
        field(default_factory=dict)
    )
    learn_tasks: Annotated[
        bool, Meta(description="Learn to recognise tasks from requests that name theirs; false also forgets what was")
    ] = True
    enhance: Annotated[
        bool, Meta(description="Sharpen criteria nobody set by what is known of a task; drops no version")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEntry:
    """One ``[tasks.NAME]``: what the task asks of a model."""

    capabilities: Annotated[frozenset[str], Meta(description="Capabilities a model must have")] = frozenset()
    min_quality: Annotated[Fraction | None, Meta(description="Lowest mean quality, 0 to 1")] = None
    max_latency_ms: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="Longest acceptable answer, in milliseconds")
    ] = None
    max_memory_mb: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="Most memory a model may take, in MiB")
    ] = None
    hardware: Annotated[frozenset[str] | None, Meta(description="Accelerators that may be used; unset allows all")] = (
        None
    )
    preference: Annotated[Preference | None, Meta(description="What to favour among the models left")] = None
    min_context: Annotated[int, Meta(ge=0, description="Tokens of context a model must offer")] = 0
    max_quality_loss: Annotated[
        Annotated[float, Meta(ge=0, lt=1)] | None,
        Meta(
            description="Share of the best quality that may be given up for `preference`; unset: 0 to 0.05 by preference"
        ),
    ] = None
    exploration: Annotated[
        Fraction | None, Meta(description="Share of requests that may try other models, to learn; unset: 0.005")
    ] = None
    strategy: Annotated[str | None, Meta(description="Strategy of this task; unset: selection.strategy")] = None
    keywords: Annotated[frozenset[str], Meta(description="Words by which `auto` recognises the task")] = frozenset()
    binding: Annotated[str | None, Meta(description="name@version that serves the task from the start")] = None
    follow: Annotated[
        str | None, Meta(description="Model whose new versions take the task over, gradually, as they become ready")
    ] = None
    autoswap: Annotated[TaskAutoSwap, Meta(description="Rules of this task, see `[tasks.NAME.autoswap]`")] = field(
        default_factory=TaskAutoSwap
    )
    judging: Annotated[TaskJudging, Meta(description="Judging of this task, see `[tasks.NAME.judging]`")] = field(
        default_factory=TaskJudging
    )
    objectives: Annotated[
        TaskObjectives, Meta(description="What this task promises, see `[tasks.NAME.objectives]`")
    ] = field(default_factory=TaskObjectives)

    def spec(self, name: str, default_strategy: str) -> TaskSpec:
        """The task as the domain knows it."""
        criteria = Criteria(
            capabilities=self.capabilities,
            min_quality=self.min_quality,
            max_latency_ms=self.max_latency_ms,
            max_memory_mb=self.max_memory_mb,
            hardware=self.hardware,
            preference=self.preference,
            min_context=self.min_context,
            max_quality_loss=self.max_quality_loss,
        )
        return TaskSpec(
            name=name,
            criteria=criteria,
            strategy=self.strategy or default_strategy,
            exploration=self.exploration,
            keywords=self.keywords,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One ``[models.NAME]`` or ``[models."NAME@VERSION"]``: a version to register at start or reload.

    Exactly one of ``gguf``, ``artifact``, ``ollama``, ``url``, ``command``, ``scripted``, or ``provider`` with ``location``.
    """

    gguf: Annotated[str | None, Meta(description="GGUF file, run by the embedded llama.cpp")] = None
    artifact: Annotated[str | None, Meta(description="Folder with a model of your own, run by its framework")] = None
    ollama: Annotated[str | None, Meta(description="Model of a running Ollama, such as gemma3:1b")] = None
    url: Annotated[str | None, Meta(description="Base URL of a running OpenAI-compatible server")] = None
    remote: Annotated[str | None, Meta(description="With `url` or `command`: the model's id on that server")] = None
    command: Annotated[
        str | None, Meta(description="Command line that starts an OpenAI-compatible server on ${PORT}")
    ] = None
    scripted: Annotated[str | None, Meta(description="Script of the deterministic provider, for tests")] = None
    provider: Annotated[str | None, Meta(description="Name of an installed provider plugin")] = None
    location: Annotated[str | None, Meta(description="With `provider`: what that provider runs")] = None
    version: Annotated[str | None, Meta(description="Version; unset: what the artifact declares, else 1")] = None
    settings: Annotated[Mapping[str, Any], Meta(description="Provider options, such as context or threads")] = field(
        default_factory=dict
    )
    category: Annotated[Category | None, Meta(description="What the model is kept for")] = None
    tags: Annotated[frozenset[str], Meta(description="Free labels to find it by")] = frozenset()
    parent: Annotated[str | None, Meta(description="name@version this one was made from")] = None
    specialisation: Annotated[str | None, Meta(description="What it was made for, such as code-review")] = None
    licence: Annotated[str | None, Meta(description="Its licence, where the source does not tell it")] = None
    training_data: Annotated[str | None, Meta(description="What it was trained on, in words or as a URL")] = None
    hardware: Annotated[
        frozenset[str], Meta(description="Kinds of which any one can run it, such as cpu or cuda; empty: any")
    ] = frozenset()
    activate: Annotated[
        bool | None,
        Meta(description="Make it selectable; unset: if it is the first version of its name, false: only register it"),
    ] = None
    pin: Annotated[bool, Meta(description="Never evict it; no idle time-out")] = False
    preload: Annotated[bool, Meta(description="Load it at start, not at the first request")] = False
    keep_alive: Annotated[
        str | float | None, Meta(description='Idle time before it is unloaded, as in Ollama: 300, "5m", -1 for ever')
    ] = None
    min_copies: Annotated[int, Meta(ge=0, le=64, description="Copies kept while memory allows")] = 0
    max_copies: Annotated[int, Meta(ge=1, le=64, description="Copies that may be started when it is busy")] = 1

    def directive(self) -> Directive:
        """The standing orders in it. Raises ``ValueError`` for a wrong ``keep_alive``."""
        return Directive(
            pinned=self.pin,
            preload=self.preload,
            keep_alive_s=None if self.keep_alive is None else parse_keep_alive(self.keep_alive),
            min_copies=self.min_copies,
            max_copies=max(self.min_copies, self.max_copies),
        )

    def provenance(self) -> Provenance:
        """What is declared of where it comes from."""
        return Provenance(licence=self.licence, training_data=self.training_data, hardware=self.hardware)

    def source(self) -> Source:
        """Provider, location and settings; the reader has checked that exactly one kind is given."""
        for provider, location in (
            ("llamacpp", self.gguf),
            ("artifact", self.artifact),
            ("ollama", self.ollama),
            ("openai", self.url),
            ("command", self.command),
            ("scripted", self.scripted),
            (self.provider, self.location),
        ):
            if provider is not None and location is not None:
                settings = dict(self.settings)
                if self.remote is not None:
                    settings["remote"] = self.remote
                return Source(provider=provider, location=location, settings=MappingProxyType(settings))
        raise AssertionError("a model entry without a source passed the reader")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the file may contain."""

    server: Server = Server()
    pool: Pool = field(default_factory=Pool)
    timeouts: Timeouts = Timeouts()
    network: Network = field(default_factory=Network)
    recording: Recording = Recording()
    energy: Energy = field(default_factory=Energy)
    responses: KeptResponses = field(default_factory=KeptResponses)
    selection: Selection = Selection()
    autoswap: AutoSwap = field(default_factory=AutoSwap)
    judging: Judging = field(default_factory=Judging)
    telemetry: Telemetry = field(default_factory=Telemetry)
    logging: Logging = field(default_factory=Logging)
    tasks: Annotated[Mapping[str, TaskEntry], Meta(description="Tasks by name")] = field(default_factory=dict)
    rules: Annotated[Mapping[str, RuleEntry], Meta(description="When a fact crosses a line, move a task")] = field(
        default_factory=dict
    )
    windows: Annotated[Mapping[str, WindowEntry], Meta(description="Maintenance windows for schedules, by name")] = (
        field(default_factory=dict)
    )
    budgets: Annotated[Mapping[str, BudgetEntry], Meta(description="What may be used up in a while, by name")] = field(
        default_factory=dict
    )
    limits: Annotated[
        Mapping[str, LimitEntry],
        Meta(description="What keys may do at a time, by role; `anonymous` for those without a key"),
    ] = field(default_factory=dict)
    prices: Annotated[Mapping[str, PriceEntry], Meta(description="What hosted models ask, by model")] = field(
        default_factory=dict
    )
    fallbacks: Annotated[
        Mapping[str, tuple[str, ...]],
        Meta(description="Models to try, in order, when one fails before its first byte: by model or `task:NAME`"),
    ] = field(default_factory=dict)
    webhooks: Annotated[Mapping[str, WebhookEntry], Meta(description="Who is told of events, by name")] = field(
        default_factory=dict
    )
    models: Annotated[Mapping[str, ModelEntry], Meta(description="Models to register, by name or name@version")] = (
        field(default_factory=dict)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Settings):
    """Settings in force, and where they and the state live."""

    home: Path
    file: Path | None = None
    """The file that was read; ``None`` when there is none and the defaults apply."""
    text: str = field(default="", repr=False, compare=False)
    """The file as it was read."""
    environment: tuple[str, ...] = field(default=(), compare=False)
    """Names of the variables and options that won over the file."""
    overrides: Mapping[str, object] = field(default_factory=dict)
    """Dotted keys of the command line, so that reading again gives the same precedence."""

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.home / "podium.db"

    @property
    def run_dir(self) -> Path:
        """Sockets and ``server.json`` of the running gateway."""
        return self.home / "run"

    @property
    def log_dir(self) -> Path:
        """Logs of model processes."""
        return self.home / "logs"
