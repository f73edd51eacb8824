"""How many GPUs an engine should split a model over, and how, on a declared layout. Pure.

Tensor parallel splits every layer over GPUs of one node, as it talks after each of them; pipeline parallel puts layers
one after the other, over nodes or where the heads of a model cannot be divided; copies (data parallel) take what is
left. The rules are those of the engines' own documentation (vLLM, "Parallelism and Scaling"): one GPU if the model
fits, tensor parallel within a node, pipeline parallel over nodes, and pipeline parallel alone where GPUs do not divide
the heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from podium.errors import InvalidRequest

USABLE = 0.9
"""Part of a GPU's memory an engine takes (vLLM's ``gpu_memory_utilization``)."""
ROOM = 1.2
"""Memory a model needs to work, over its weights: activations and a small cache."""
BALANCED_ROOM = 2.0
"""Weights and as much again for the cache of many requests."""


class Strategy(StrEnum):
    """What the GPUs are for."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"
    BALANCED = "balanced"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuLayout:
    """GPUs of one type. ``count`` per node; ``vram_mb`` each, in MiB."""

    count: int
    vram_mb: float
    type: str = ""
    nodes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """How to split: every copy is ``pipeline`` stages of ``tensor`` GPUs; ``copies`` of that on ``nodes`` nodes."""

    tensor: int = 1
    pipeline: int = 1
    copies: int = 1
    nodes: int = 1
    reason: str = ""

    @property
    def gpus(self) -> int:
        """How many it takes altogether."""
        return self.tensor * self.pipeline * self.copies


def parallelism(
    layout: GpuLayout, strategy: Strategy, *, weights_mb: float | None, heads: int | None = None
) -> Parallelism:
    """The split for a model of ``weights_mb`` MiB with ``heads`` attention heads; ``None`` where nobody knows.

    ``throughput`` takes as few GPUs per copy as the model fits on and makes copies of it, ``latency`` as many GPUs of a
    node as can share a layer, ``balanced`` as few as leave as much memory for the cache as the weights take. A model of
    unknown size is split over all GPUs of one node. Raises ``InvalidRequest`` for a layout that is none or too small.
    """
    if layout.count < 1 or layout.nodes < 1 or layout.vram_mb <= 0:
        raise InvalidRequest("a GPU layout has at least one GPU, one node, and memory", param="source.settings.gpus")
    ways = list(_ways(layout, heads))
    if weights_mb is None:
        widest = max((way for way in ways if way.pipeline == 1), key=lambda way: way.tensor)
        return _told(widest, "all GPUs of one node that can share a layer, as the size of the weights is not known")
    fits = [way for way in ways if _memory(layout, way) >= weights_mb * ROOM]
    if not fits:
        raise InvalidRequest(
            f"weights of {weights_mb:,.0f} MiB need {weights_mb * ROOM:,.0f} MiB to work, the declared GPUs "
            f"({layout.nodes * layout.count} of {layout.vram_mb:,.0f} MiB) give {_most(layout, ways):,.0f} MiB",
            param="source.settings.gpus",
        )
    match strategy:
        case Strategy.LATENCY:
            best = min(fits, key=lambda way: (way.nodes, -way.tensor, way.pipeline))
            return _told(best, "as many GPUs as can share a layer")
        case Strategy.THROUGHPUT:
            best = min(fits, key=_size)
            return _told(_copied(layout, best), "as few GPUs per copy as the model fits on, and as many copies as fit")
        case Strategy.BALANCED:
            roomy = [way for way in fits if _memory(layout, way) >= weights_mb * BALANCED_ROOM]
            best = min(roomy, key=_size) if roomy else max(fits, key=lambda way: (_memory(layout, way), way.tensor))
            words = "as few GPUs as leave as much memory for the cache as the weights take"
            return _told(_copied(layout, best), words if roomy else "all GPUs there are: the cache has little room")


def _ways(layout: GpuLayout, heads: int | None) -> Iterator[Parallelism]:
    """Every split of one copy, over whole nodes when over several."""
    for tensor in range(1, layout.count + 1):
        if not (heads % tensor == 0 if heads else tensor & (tensor - 1) == 0):
            continue
        stages = layout.count // tensor
        for pipeline in range(1, stages + 1):
            yield Parallelism(tensor=tensor, pipeline=pipeline)
        for nodes in range(2, layout.nodes + 1):
            yield Parallelism(tensor=tensor, pipeline=stages * nodes, nodes=nodes)


def _size(way: Parallelism) -> tuple[int, bool, int, int]:
    """On one node before several; without stages before with them; then fewest GPUs."""
    return way.nodes, way.pipeline > 1, way.tensor * way.pipeline, way.pipeline


def _copied(layout: GpuLayout, way: Parallelism) -> Parallelism:
    copies = layout.count // (way.tensor * way.pipeline) if way.nodes == 1 else 1
    return Parallelism(tensor=way.tensor, pipeline=way.pipeline, nodes=way.nodes, copies=max(1, copies))


def _told(way: Parallelism, reason: str) -> Parallelism:
    return Parallelism(tensor=way.tensor, pipeline=way.pipeline, copies=way.copies, nodes=way.nodes, reason=reason)


def _memory(layout: GpuLayout, way: Parallelism) -> float:
    return way.tensor * way.pipeline * layout.vram_mb * USABLE


def _most(layout: GpuLayout, ways: list[Parallelism]) -> float:
    return max(_memory(layout, way) for way in ways)
