"""Command lines of well-known engines, put together from ``presets.toml``, a model and a layout of GPUs.

Owns no processes: what it makes is a template like one a user would write, for ``command`` to start.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import shlex
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated, Any

import msgspec

from podium.core.gpu_layout import GpuLayout, Parallelism, Strategy, parallelism
from podium.errors import InvalidRequest

PREFIX = "preset:"
MB = 1024 * 1024
_CAPABILITIES = ("chat", "completion", "tools", "json_schema", "logprobs")
_KEPT = {"PORT": "${PORT}", "HOST": "${HOST}"}
"""What the start of the command puts in."""


class Gpus(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """GPUs as they are declared. ``address``: HOST:PORT of this node, that the other nodes connect to."""

    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    vram_mb: Annotated[float, msgspec.Meta(gt=0)]
    type: str = ""
    nodes: Annotated[int, msgspec.Meta(ge=1)] = 1
    address: str | None = None

    def layout(self) -> GpuLayout:
        """As the planner takes it."""
        return GpuLayout(count=self.count, vram_mb=self.vram_mb, type=self.type, nodes=self.nodes)


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of ``presets.toml``. Options that are empty do not exist there."""

    title: str
    words: tuple[str, ...]
    remote: str
    ready_timeout_s: float
    install: str
    health: str | None = None
    model_file: tuple[str, ...] = ()
    model_repo: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    concurrency: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    tensor: tuple[str, ...] = ()
    pipeline: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = _CAPABILITIES
    own_context: bool = False
    """Its context is shared out between the requests it works on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a user says of a managed engine."""

    model: str
    name: str = "model"
    context: int | None = None
    concurrency: int | None = None
    gpus: Gpus | None = None
    strategy: Strategy = Strategy.BALANCED
    weights_mb: float | None = None
    tool_parser: str | None = None
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start an engine, and what it is once it runs. ``template`` holds ``${PORT}`` and ``${HOST}``."""

    template: str
    remote: str
    health: str | None
    ready_timeout_s: float
    capabilities: tuple[str, ...]
    weights_bytes: int | None
    """Of a model on this machine."""
    split: Parallelism | None


@cache
def engines() -> dict[str, Engine]:
    """Presets by name."""
    text = files("podium.providers").joinpath("presets.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Engine])


def engine_of(location: str) -> Engine | None:
    """The engine of ``preset:NAME``; ``None`` for a command line. Raises ``InvalidRequest`` for a name nobody knows."""
    if not location.startswith(PREFIX):
        return None
    name = location.removeprefix(PREFIX).strip()
    found = engines().get(name)
    if found is None:
        near = difflib.get_close_matches(name, engines(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(engines())}"
        raise InvalidRequest(f"there is no preset {name[:80]!r}; {hint}", param="source.location")
    return found


def launch(engine: Engine, wish: Wish) -> Launch:
    """The command line for a wish. Raises ``InvalidRequest`` for what this engine does not do."""
    folder = Path(wish.model).expanduser()
    local = folder.exists()
    size = _weights(folder) if local else None
    weights_mb = wish.weights_mb or (size / MB if size else None)
    split = None
    if wish.gpus is not None:
        split = parallelism(wish.gpus.layout(), wish.strategy, weights_mb=weights_mb, heads=_heads(folder))
        _check(engine, split, wish.gpus)
    concurrency = wish.concurrency or 4
    values = {
        **_KEPT,
        "MODEL": str(folder) if local else wish.model,
        "NAME": wish.name,
        "CONTEXT": str(wish.context),
        "CONTEXT_ALL": str((wish.context or 0) * concurrency),
        "CONCURRENCY": str(concurrency),
        **_split_values(split),
    }
    words = [*engine.words, *(engine.model_file if wish.model.endswith(".gguf") else engine.model_repo)]
    words += engine.context if wish.context is not None else ()
    words += engine.concurrency if wish.concurrency is not None or (engine.own_context and wish.context) else ()
    words += _split_words(engine, split, wish.gpus)
    if wish.tool_parser is not None:
        if not engine.tools:
            raise InvalidRequest(f"{engine.title} takes no tool_parser", param="source.settings.tool_parser")
        words += (*engine.tools, wish.tool_parser)
    made = [Template(word).substitute(values) for word in words]
    without_tools = engine.tools and wish.tool_parser is None and "--tool-call-parser" not in wish.arguments
    return Launch(
        template=shlex.join([*made, *wish.arguments]),
        remote=Template(engine.remote).substitute(values),
        health=engine.health,
        ready_timeout_s=engine.ready_timeout_s,
        capabilities=tuple(each for each in engine.capabilities if each != "tools" or not without_tools),
        weights_bytes=size,
        split=split,
    )


def _check(engine: Engine, split: Parallelism, gpus: Gpus) -> None:
    lacking = [
        name
        for name, count, words in (
            ("tensor parallelism", split.tensor, engine.tensor),
            ("pipeline parallelism", split.pipeline, engine.pipeline),
            ("more than one node", split.nodes, engine.nodes),
        )
        if count > 1 and not words
    ]
    if lacking:
        raise InvalidRequest(
            f"{engine.title} has no {' and no '.join(lacking)}; declare GPUs that one copy of the model fits on",
            param="source.settings.gpus",
        )
    if split.nodes > 1 and engine.nodes[-1].startswith("--") and gpus.address is None:
        raise InvalidRequest(
            f"{engine.title} over {split.nodes} nodes needs gpus.address, HOST:PORT of this node for the others",
            param="source.settings.gpus.address",
        )


def _split_values(split: Parallelism | None) -> dict[str, str]:
    made = split or Parallelism()
    return {
        "TENSOR": str(made.tensor),
        "PIPELINE": str(made.pipeline),
        "COPIES": str(made.copies),
        "NODES": str(made.nodes),
        "EVEN": ",".join(["1"] * (made.tensor * made.pipeline)),
    }


def _split_words(engine: Engine, split: Parallelism | None, gpus: Gpus | None) -> tuple[str, ...]:
    if split is None:
        return ()
    words = engine.gpus
    words += engine.tensor if split.tensor > 1 else ()
    words += engine.pipeline if split.pipeline > 1 else ()
    words += engine.copies if split.copies > 1 else ()
    if split.nodes > 1:
        words += engine.nodes
        if engine.nodes[-1].startswith("--") and gpus is not None and gpus.address is not None:
            words += (gpus.address,)
    return words


def _weights(place: Path) -> int | None:
    """Bytes of the weights at a path."""
    with contextlib.suppress(OSError):
        if place.is_file():
            return place.stat().st_size
        return sum(file.stat().st_size for file in place.glob("*.safetensors")) or None
    return None


def _heads(place: Path) -> int | None:
    """Attention heads by the model's own ``config.json``, where it is on this machine."""
    try:
        config: Any = json.loads((place / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    inner = config.get("text_config", config) if isinstance(config, dict) else None
    heads = inner.get("num_attention_heads") if isinstance(inner, dict) else None
    return heads if isinstance(heads, int) and heads > 0 else None
