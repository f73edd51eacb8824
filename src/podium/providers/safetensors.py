"""Reads the head of a safetensors file: names, number formats and shapes of its tensors. Allocates nothing it was not
told the truth about.

Source: the format in the README of safetensors: eight bytes of length (little endian), that many bytes of JSON, then
the tensors, which the offsets in the JSON cover without holes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from podium.errors import InvalidRequest

MOST_HEAD_BYTES = 100_000_000
"""The limit of the format's own library."""
_LENGTH_BYTES = 8
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
Size = Annotated[int, msgspec.Meta(ge=0, lt=1 << 48)]


class Tensor(msgspec.Struct, frozen=True):
    """One entry of the head; offsets are in bytes after it."""

    dtype: str
    shape: tuple[Size, ...]
    data_offsets: tuple[Size, Size]

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a file says of itself. ``elements`` counts numbers by format."""

    elements: Mapping[str, int]
    metadata: Mapping[str, str]
    tensors: frozenset[str]
    data_bytes: int


def read_head(path: Path) -> Head:
    """Raises ``InvalidRequest`` when the file is cut short, lies about its sizes, or is no safetensors file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            first = file.read(_LENGTH_BYTES)
            length = struct.unpack("<Q", first)[0] if len(first) == _LENGTH_BYTES else 0
            if length < 2 or length > size - _LENGTH_BYTES:
                raise _bad(
                    path, f"its head claims {length:,} bytes and the file has {size:,}; was it downloaded whole?"
                )
            if length > MOST_HEAD_BYTES:
                raise _bad(
                    path, f"its head claims {length:,} bytes, more than the {MOST_HEAD_BYTES:,} the format allows"
                )
            raw = file.read(length)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror or error}", param="source.location") from error
    return _checked(path, raw, size - _LENGTH_BYTES - length)


def _checked(path: Path, raw: bytes, data_bytes: int) -> Head:
    try:
        rows = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(rows.pop("__metadata__", b"{}"), type=dict[str, str])
        tensors = {name: msgspec.json.decode(row, type=Tensor) for name, row in rows.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(path, f"its head is not what the format says ({error})") from None
    elements: dict[str, int] = {}
    end = 0
    for name, each in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        bits = _BITS.get(each.dtype)
        if bits is None:
            raise _bad(path, f"tensor {name[:100]!r} has the unknown number format {each.dtype[:20]!r}")
        start, stop = each.data_offsets
        if start != end or (stop - start) * 8 != each.elements * bits or stop > data_bytes:
            raise _bad(path, f"the place of tensor {name[:100]!r} does not fit its shape or the file; it is damaged")
        end = stop
        elements[each.dtype] = elements.get(each.dtype, 0) + each.elements
    if end != data_bytes:
        raise _bad(path, f"{data_bytes - end:,} bytes belong to no tensor; it is damaged")
    return Head(elements=elements, metadata=metadata, tensors=frozenset(tensors), data_bytes=data_bytes)


def _bad(path: Path, why: str) -> InvalidRequest:
    return InvalidRequest(f"{path.name} is no usable safetensors file: {why}", param="source.location")
