"""Facts come from the file; whatever a file holds, reading it ends in facts or in one error that names it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import time
import tracemalloc

import pytest
from gguf_files import PAIRS, head, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podium.domain.model import Capability
from podium.errors import InvalidRequest
from podium.providers import gguf_memory
from podium.providers.gguf import read_counts, read_head
from podium.providers.gguf_facts import facts_of, read_facts

pytestmark = pytest.mark.requirement("REG-1")
DIGEST = "sha256:" + "0" * 64
MOST_BYTES = 24 << 20
"""Reading takes a buffer of 1 MiB and at most a few values of 4 MiB."""
MOST_S = 2.0


@pytest.mark.model
async def test_the_facts_of_the_real_model_are_read_from_its_file(smollm_path):
    facts = await read_facts(smollm_path)
    assert facts.architecture == "llama"
    assert facts.context_length == 8192
    assert facts.parameters == 134_515_008
    assert facts.quantization == "Q4_1"
    assert facts.licence == "apache-2.0"
    assert facts.size_bytes == smollm_path.stat().st_size
    assert facts.kv_bytes_per_token == 30 * 3 * (64 + 64) * 2  # layers, kv heads, key and value length, F16
    assert {Capability.CHAT, Capability.COMPLETION} <= facts.capabilities
    assert Capability.EMBEDDING not in facts.capabilities
    with smollm_path.open("rb") as file:
        assert facts.digest == f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


@pytest.mark.model
@pytest.mark.no_cover
def test_a_download_that_was_cut_off_is_noticed_wherever_it_ended(smollm_path, tmp_path):
    size = smollm_path.stat().st_size
    with smollm_path.open("rb") as file:
        start = file.read(4 << 20)
    for cut in (3, 10, 24, 5_000, 1 << 20, 3 << 20):
        broken = tmp_path / f"cut-{cut}.gguf"
        broken.write_bytes(start[:cut])
        with pytest.raises(InvalidRequest, match=broken.name):
            read_head(broken)
    almost = tmp_path / "almost.gguf"  # sparse: the head is real, the length is one byte short
    almost.write_bytes(start)
    os.truncate(almost, size - 1)
    with pytest.raises(InvalidRequest, match="cut off"):
        read_head(almost)
    os.truncate(almost, size)
    assert read_head(almost).size_bytes == size


def test_what_is_no_file_is_named_with_the_reason(tmp_path):
    empty, noise, fifo = tmp_path / "empty.gguf", tmp_path / "noise.gguf", tmp_path / "pipe.gguf"
    empty.touch()
    noise.write_bytes(hashlib.shake_256(b"noise").digest(100_000))
    os.mkfifo(fifo)
    for path, why in (
        (tmp_path, "directory"),
        (empty, "empty"),
        (noise, "GGUF"),
        (fifo, "regular file"),
        (tmp_path / "missing.gguf", "does not exist"),
    ):
        with pytest.raises(InvalidRequest, match=why) as caught:
            read_head(path)
        assert str(path) in caught.value.message
        assert caught.value.param == "source"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_named(tmp_path):
    path = tmp_path / "private.gguf"
    path.write_bytes(whole())
    path.chmod(0)
    with pytest.raises(InvalidRequest, match="permissions"):
        read_head(path)


async def test_a_small_file_of_our_own_says_what_was_written(tmp_path):
    path = tmp_path / "tiny.gguf"
    path.write_bytes(whole())
    facts = await read_facts(path)
    assert (facts.architecture, facts.licence, facts.context_length) == ("llama", "mit", 512)
    assert (facts.parameters, facts.quantization) == (256, "F32")
    assert facts.kv_bytes_per_token == 2 * 4 * (8 + 8) * 2
    path.write_bytes(whole() + b"changed")
    assert (await read_facts(path)).digest != facts.digest


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": 1}, "version 1"),
        ({"version": 3 << 24}, "big-endian"),
        ({"tensors": [("t", (1 << 40, 1 << 20))]}, "elements"),
        ({"tensors": [("t", (1,) * 9)]}, "9 dimensions"),
        ({"tensors": [("t", (64, 400))]}, "cut off"),
        ({"pairs": [*PAIRS, ("general.alignment", 0)]}, "alignment"),
    ],
)
def test_a_head_that_makes_no_sense_is_refused_with_the_reason(tmp_path, change, why):
    path = tmp_path / "odd.gguf"
    path.write_bytes(whole(**change))
    with pytest.raises(InvalidRequest, match=why):
        read_head(path)


@pytest.mark.parametrize("count", [1 << 20, 1 << 40, (1 << 64) - 1])
def test_counts_and_lengths_beyond_the_file_are_refused_before_anything_is_allocated(tmp_path, count):
    huge = struct.pack("<Q", count)
    good = whole()
    at = good.index(b"tokenizer.ggml.tokens") + len("tokenizer.ggml.tokens") + 8
    for change in (
        good[:8] + huge + good[16:],
        good[:16] + huge + good[24:],
        good[:24] + huge + good[32:],
        good[:at] + huge + good[at + 8 :],
    ):
        path = tmp_path / "huge.gguf"
        path.write_bytes(change)
        within_limits(path, must_fail=True)


def within_limits(path, *, must_fail=False):
    tracemalloc.start()
    started = time.monotonic()
    try:
        facts_of(read_head(path), DIGEST)
        assert not must_fail, path
    except InvalidRequest as error:
        message = error.message
    else:
        message = str(path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert str(path) in message
    assert peak < MOST_BYTES
    assert time.monotonic() - started < MOST_S


numbers = st.sampled_from([0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1])
changes = st.lists(
    st.one_of(
        st.tuples(st.just("byte"), st.integers(0, 2000), st.integers(0, 255)),
        st.tuples(st.just("u64"), st.integers(0, 2000), numbers),
        st.tuples(st.just("cut"), st.integers(0, 2000), st.just(0)),
    ),
    min_size=1,
    max_size=6,
)


def mutate(good, steps):
    made = bytearray(good)
    for kind, place, number in steps:
        at = place % (len(made) + 1)
        if kind == "byte" and at < len(made):
            made[at] = number
        elif kind == "u64":
            made[at : at + 8] = struct.pack("<Q", number)
        elif kind == "cut":
            del made[max(at, 1) :]
    return bytes(made)


@given(steps=changes)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_to_the_head_raises_anything_else_or_costs_much(tmp_path, steps):
    path = tmp_path / "damaged.gguf"
    path.write_bytes(mutate(whole(), steps))
    within_limits(path)


@given(noise=st.binary(max_size=600))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_noise_after_the_magic_raises_anything_else(tmp_path, noise):
    path = tmp_path / "noise.gguf"
    path.write_bytes(b"GGUF\x03\0\0\0" + noise)
    within_limits(path)


@given(key=st.sampled_from([key for key, _ in PAIRS]), item=st.one_of(st.text(max_size=20), st.integers(0, 2**32 - 1)))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_value_of_the_wrong_kind_or_size_is_no_fact_and_no_fault(tmp_path, key, item):
    pairs = [(name, item if name == key else value) for name, value in PAIRS]
    path = tmp_path / "wrong.gguf"
    path.write_bytes(head(pairs) + b"\0" * 1024)
    within_limits(path, must_fail=False)
    assert facts_of(read_head(path), DIGEST).parameters == 256


def test_the_shape_is_read_without_the_words(tmp_path):
    path = tmp_path / "tiny.gguf"
    path.write_bytes(whole())
    counts = read_counts(path)
    assert (counts["tokenizer.ggml.tokens"], counts["llama.embedding_length"]) == (4, 64)
    assert "tokenizer.ggml.scores" not in counts
    cut = whole()
    path.write_bytes(cut[: cut.index(b"</s>")])  # what comes after is not even read
    assert read_counts(path) == counts
    path.write_bytes(b"GGUF")
    with pytest.raises(InvalidRequest, match="ends early"):
        read_counts(path)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_counts(tmp_path / "missing.gguf")


@pytest.mark.requirement("POOL-2")
def test_a_larger_vocabulary_and_wider_layers_need_more_memory(tmp_path):
    shape = {"qwen2.embedding_length": 896, "qwen2.feed_forward_length": 4864, "tokenizer.ggml.tokens": 151_936}
    known = gguf_memory.from_counts(shape)
    assert known == pytest.approx(160 << 20, rel=0.02)
    assert gguf_memory.from_counts({**shape, "tokenizer.ggml.tokens": 262_144}) > known + (60 << 20)
    assert gguf_memory.from_counts({**shape, "qwen2.feed_forward_length": 18_944}) > known + (80 << 20)
    nonsense = dict.fromkeys(shape, 1 << 63)
    assert gguf_memory.from_counts(nonsense) < 1 << 40
    assert gguf_memory.overhead(tmp_path / "gone.gguf", "sha256:0", 800 << 20) == gguf_memory.BASE_BYTES + (100 << 20)


@given(steps=changes)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_to_the_head_makes_the_shape_fail_otherwise(tmp_path, steps):
    path = tmp_path / "damaged.gguf"
    path.write_bytes(mutate(whole(), steps))
    with contextlib.suppress(InvalidRequest):
        assert gguf_memory.from_counts(read_counts(path)) >= 0
