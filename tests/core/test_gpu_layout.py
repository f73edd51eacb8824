"""How a model is split over a declared layout of GPUs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.gpu_layout import ROOM, USABLE, GpuLayout, Strategy, parallelism
from podium.errors import InvalidRequest

pytestmark = pytest.mark.requirement("PRV-9")
H100 = GpuLayout(count=8, vram_mb=81_559, type="NVIDIA H100 80GB HBM3")
RTX4090 = GpuLayout(count=2, vram_mb=24_564, type="NVIDIA GeForce RTX 4090")
L4 = GpuLayout(count=4, vram_mb=23_034, type="NVIDIA L4")
A100X2 = GpuLayout(count=8, vram_mb=40_960, type="NVIDIA A100-SXM4-40GB", nodes=2)
THREE = GpuLayout(count=3, vram_mb=24_564)
B8, B70, B405 = 15_317, 134_570, 772_000
"""MiB of the weights of Llama 3.1 in 16 bits; 32, 64 and 128 attention heads."""


@pytest.mark.parametrize(
    ("layout", "weights", "heads", "strategy", "expected"),
    [
        (H100, B8, 32, "throughput", (1, 1, 8, 1)),
        (H100, B8, 32, "latency", (8, 1, 1, 1)),
        (H100, B8, 32, "balanced", (1, 1, 8, 1)),
        (H100, B70, 64, "throughput", (4, 1, 2, 1)),
        (H100, B70, 64, "latency", (8, 1, 1, 1)),
        (H100, B70, 64, "balanced", (4, 1, 2, 1)),
        (RTX4090, B8, 32, "throughput", (1, 1, 2, 1)),
        (RTX4090, B8, 32, "balanced", (2, 1, 1, 1)),
        (L4, B8, 32, "throughput", (1, 1, 4, 1)),
        (A100X2, B70, 64, "throughput", (8, 1, 1, 1)),
        (A100X2, B405 / 2, 128, "throughput", (8, 2, 1, 2)),
        (A100X2, B405 / 2, 128, "latency", (8, 2, 1, 2)),
        (THREE, 45_000, None, "throughput", (1, 3, 1, 1)),
        (THREE, 45_000, 24, "throughput", (3, 1, 1, 1)),
        (THREE, 45_000, 32, "latency", (1, 3, 1, 1)),
        (GpuLayout(count=4, vram_mb=24_564), B8, 14, "latency", (2, 1, 1, 1)),
    ],
)
def test_recorded_layouts_are_split_as_their_engines_advise(layout, weights, heads, strategy, expected):
    made = parallelism(layout, Strategy(strategy), weights_mb=weights, heads=heads)
    assert (made.tensor, made.pipeline, made.copies, made.nodes) == expected
    assert made.reason


def test_a_model_of_unknown_size_takes_all_gpus_of_one_node():
    for strategy in Strategy:
        made = parallelism(A100X2, strategy, weights_mb=None)
        assert (made.tensor, made.pipeline, made.copies, made.nodes) == (8, 1, 1, 1)
        assert "not known" in made.reason


def test_what_does_not_fit_is_refused_with_the_numbers():
    with pytest.raises(InvalidRequest, match=r"772,000 MiB need 926,400 MiB .*16 of 40,960 MiB.* give 589,824 MiB"):
        parallelism(A100X2, Strategy.LATENCY, weights_mb=B405)


@pytest.mark.parametrize(("count", "vram", "nodes"), [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1)])
def test_a_layout_without_gpus_is_none(count, vram, nodes):
    with pytest.raises(InvalidRequest, match="at least one GPU"):
        parallelism(GpuLayout(count=count, vram_mb=vram, nodes=nodes), Strategy.LATENCY, weights_mb=1)


@given(
    count=st.integers(1, 16),
    nodes=st.integers(1, 4),
    vram=st.floats(1000, 200_000),
    weights=st.floats(1, 2_000_000),
    heads=st.one_of(st.none(), st.integers(1, 128)),
    strategy=st.sampled_from(list(Strategy)),
)
def test_a_split_fits_stays_inside_the_layout_and_divides_the_heads(count, nodes, vram, weights, heads, strategy):
    layout = GpuLayout(count=count, vram_mb=vram, nodes=nodes)
    try:
        made = parallelism(layout, strategy, weights_mb=weights, heads=heads)
    except InvalidRequest:
        assert count * nodes * vram * USABLE < weights * ROOM or heads or count & (count - 1)
        return
    assert made.tensor <= count
    assert made.gpus <= count * nodes
    assert heads is None or heads % made.tensor == 0
    assert made.tensor * made.pipeline * vram * USABLE >= weights * ROOM
    assert made.nodes == 1 or made.copies == 1
    assert made.pipeline <= (count // made.tensor) * made.nodes
