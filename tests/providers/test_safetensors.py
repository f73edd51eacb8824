"""Heads of safetensors files: what they say, and every way they can lie."""

from __future__ import annotations

import json
import struct
import tracemalloc

import pytest
from artifact_files import safetensors

from podium.errors import InvalidRequest
from podium.providers.safetensors import MOST_HEAD_BYTES, read_head

pytestmark = pytest.mark.requirement("PRV-7")


def written(tmp_path, content: bytes):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    return path


def test_a_head_says_formats_shapes_and_what_made_it(tmp_path):
    tensors = {"a": ("F32", (2, 3)), "b": ("BF16", (5,)), "none": ("F32", (0,)), "scalar": ("F32", ())}
    head = read_head(written(tmp_path, safetensors(tensors, {"format": "pt"})))
    assert head.elements == {"F32": 7, "BF16": 5}
    assert head.tensors == {"a", "b", "none", "scalar"}
    assert head.metadata == {"format": "pt"}
    assert head.data_bytes == 4 * 7 + 2 * 5


def test_a_head_of_four_gigabytes_is_refused_before_anything_is_allocated(tmp_path):
    path = written(tmp_path, b"")
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 4 << 30) + b"{")
        file.truncate(5 << 30)  # a hole: the file has the size its head claims
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="more than the 100,000,000 the format allows"):
            read_head(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "claims 0 bytes"),
        (b"\x01\x02", "was it downloaded whole"),
        (struct.pack("<Q", 4 << 30) + b"{}", "claims 4,294,967,296 bytes and the file has 10"),
        (struct.pack("<Q", MOST_HEAD_BYTES), "was it downloaded whole"),
        (struct.pack("<Q", 4) + b"abcd", "not what the format says"),
        (struct.pack("<Q", 2) + b"[]", "not what the format says"),
        (struct.pack("<Q", 4) + b"\xff\xfe{}", "not what the format says"),
        (b"\x80\x04\x95" + b"\0" * 60, "claims"),  # a pickle under another name
        (safetensors({"a": ("F32", (4,))})[:-1], "does not fit"),
        (safetensors({"a": ("F32", (4,))}) + b"x", "belong to no tensor"),
        (safetensors({}, a={"dtype": "F99", "shape": [], "data_offsets": [0, 0]}), "unknown number format"),
        (safetensors({}, a={"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}), "not what the format says"),
        (safetensors({}, a={"dtype": "F32", "shape": [1 << 47, 1 << 47], "data_offsets": [0, 4]}), "does not fit"),
        (safetensors({"a": ("F32", (1,))}, b={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}), "does not fit"),
        (safetensors({}, __metadata__=[1]), "not what the format says"),
    ],
)
def test_a_file_that_is_short_or_lies_is_refused_with_the_reason(tmp_path, content, why):
    with pytest.raises(InvalidRequest, match=why) as refused:
        read_head(written(tmp_path, content))
    assert "model.safetensors is no usable safetensors file" in refused.value.message


def test_a_head_nested_without_end_is_refused(tmp_path):
    raw = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(InvalidRequest, match="not what the format says"):
        read_head(written(tmp_path, struct.pack("<Q", len(raw)) + raw))


def test_a_head_may_be_padded_with_blanks(tmp_path):
    raw = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode() + b"   "
    assert read_head(written(tmp_path, struct.pack("<Q", len(raw)) + raw + b"\0" * 4)).elements == {"F32": 1}
