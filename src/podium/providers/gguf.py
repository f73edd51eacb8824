"""Reads the head of a GGUF file: metadata, tensor list, and whether the tensor data is all there.

Own code on purpose: the file comes from anywhere, so every length is compared with what is left of the file before
anything is read, and nothing is kept but short values. It must not interpret the metadata (``gguf_facts`` does).
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little endian).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from podium.errors import InvalidRequest
from podium.providers.gguf_types import TENSOR_TYPES

MAX_TEXT = 4 << 20
"""Longest text value kept, in bytes (chat templates are some ten thousand)."""
MAX_KEPT_ITEMS = 4096
"""Longer arrays (vocabularies) are stepped over."""
VOCABULARY = "tokenizer.ggml.tokens"
_MAX_NAME = 1 << 16
_MAX_DIMENSIONS = 4
_MOST_ELEMENTS_PER_BYTE = 64
_CHUNK = 1 << 20
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_U32, _U64 = _SCALARS[4], _SCALARS[10]

Value = int | float | bool | str | tuple[int | float | bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHead:
    """What a GGUF file says. ``elements`` counts tensor elements by tensor type name."""

    version: int
    metadata: Mapping[str, Value]
    tensor_count: int
    elements: Mapping[str, int]
    size_bytes: int


class _Reader:
    """Bounded forward reader: knows how much of the file is left and never asks for more."""

    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        self._file = file
        self._left_in_file = size
        self._buffer = b""
        self._at = 0
        self._path = path
        self.offset = 0

    def left(self) -> int:
        return self._left_in_file + len(self._buffer) - self._at

    def fail(self, why: str) -> InvalidRequest:
        return InvalidRequest(
            f"{self._path} is not a usable GGUF file: {why} (at byte {self.offset}). "
            "Download or convert the model again and compare its checksum with the publisher's.",
            param="source",
        )

    def need(self, count: int) -> None:
        if count > self.left():
            raise self.fail(f"it ends early: {count} more bytes expected, {self.left()} left")

    def take(self, count: int) -> bytes:
        self.need(count)
        end = self._at + count
        if end > len(self._buffer):
            self._refill(count)
            end = count
        piece = self._buffer[self._at : end]
        self._at = end
        self.offset += count
        return piece

    def _refill(self, count: int) -> None:
        rest = self._buffer[self._at :]
        wanted = min(max(_CHUNK, count - len(rest)), self._left_in_file)
        more = self._file.read(wanted)
        if len(more) < wanted:
            raise self.fail("it became shorter while it was read")
        self._left_in_file -= wanted
        self._buffer, self._at = rest + more, 0

    def skip(self, count: int) -> None:
        self.need(count)
        inside = len(self._buffer) - self._at
        if count <= inside:
            self._at += count
        else:
            self._file.seek(count - inside, 1)
            self._left_in_file -= count - inside
            self._buffer, self._at = b"", 0
        self.offset += count

    def u32(self) -> int:
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        return int(_U64.unpack(self.take(8))[0])

    def text(self, limit: int, what: str) -> str:
        length = self.u64()
        self.need(length)
        if length > limit:
            raise self.fail(f"a {what} of {length} bytes is longer than the {limit} allowed")
        return self.take(length).decode("utf-8", "replace")


def read_head(path: Path) -> GgufHead:
    """Read and check ``path``. Raises ``InvalidRequest`` (not a file, unreadable, not GGUF, cut off). Blocking."""
    if path.is_dir():
        raise InvalidRequest(f"{path} is a directory; name the .gguf file inside it.", param="source")
    if path.exists() and not path.is_file():
        raise InvalidRequest(f"{path} is not a regular file; name a .gguf file.", param="source")
    try:
        with path.open("rb", buffering=0) as file:
            size = file.seek(0, 2)
            file.seek(0)
            if size == 0:
                raise InvalidRequest(f"{path} is empty; download the model again.", param="source")
            return _parse(_Reader(file, size, path), size)
    except FileNotFoundError:
        raise InvalidRequest(f"{path} does not exist; check the path.", param="source") from None
    except OSError as error:
        raise InvalidRequest(
            f"{path} cannot be read ({error.strerror or error}); check its permissions and the disk.", param="source"
        ) from error


def read_counts(path: Path) -> Mapping[str, int]:
    """Whole numbers and lengths of arrays in the metadata, up to the vocabulary's, which comes late but before its
    words: a few kilobytes instead of the whole head. Raises ``InvalidRequest``.
    """
    found: dict[str, int] = {}
    try:
        with path.open("rb", buffering=0) as file:
            size = file.seek(0, 2)
            file.seek(0)
            reader = _Reader(file, size, path)
            _, _, pairs = _begin(reader)
            for _ in range(pairs):
                key = reader.text(_MAX_NAME, "metadata key")
                if key == VOCABULARY:
                    reader.skip(8)
                    found[key] = reader.u64()
                    break
                value = _value(reader)
                if isinstance(value, int) and not isinstance(value, bool):
                    found[key] = value
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read ({error.strerror or error})", param="source") from error
    return found


def _begin(reader: _Reader) -> tuple[int, int, int]:
    """(format version, tensors, entries of metadata)."""
    if reader.left() < 4 or reader.take(4) != b"GGUF":
        raise reader.fail("it does not start with the letters GGUF")
    version = reader.u32()
    if version not in {2, 3}:
        hint = " (a big-endian file; convert it)" if version in {2 << 24, 3 << 24} else ""
        raise reader.fail(f"format version {version} is not 2 or 3{hint}")
    tensor_count, pair_count = reader.u64(), reader.u64()
    if pair_count > reader.left() // 13 or tensor_count > reader.left() // 24:
        raise reader.fail(f"{pair_count} metadata entries and {tensor_count} tensors cannot fit into the file")
    return version, tensor_count, pair_count


def _parse(reader: _Reader, size: int) -> GgufHead:
    version, tensor_count, pair_count = _begin(reader)
    metadata: dict[str, Value] = {}
    for _ in range(pair_count):
        key = reader.text(_MAX_NAME, "metadata key")
        value = _value(reader)
        if value is not None:
            metadata[key] = value
    elements, data_bytes = _tensors(reader, tensor_count, size)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or isinstance(alignment, bool) or not 1 <= alignment <= 1 << 20:
        raise reader.fail(f"general.alignment {alignment!r} makes no sense")
    start = -(-reader.offset // alignment) * alignment
    if start + data_bytes > size:
        raise reader.fail(f"it is cut off: the tensors end at byte {start + data_bytes}, the file at {size}")
    return GgufHead(version=version, metadata=metadata, tensor_count=tensor_count, elements=elements, size_bytes=size)


def _value(reader: _Reader) -> Value | None:
    """One metadata value; ``None`` for what was stepped over (long arrays, arrays of text)."""
    kind = reader.u32()
    if kind in _SCALARS:
        return _scalar(reader, _SCALARS[kind])
    if kind == _STRING:
        return reader.text(MAX_TEXT, "text value")
    if kind != _ARRAY:
        raise reader.fail(f"metadata type {kind} is unknown")
    item, count = reader.u32(), reader.u64()
    if item == _STRING:
        if count > reader.left() // 8:
            raise reader.fail(f"an array of {count} texts cannot fit into the file")
        for _ in range(count):
            reader.skip(reader.u64())
        return None
    if item not in _SCALARS:
        raise reader.fail(f"arrays of type {item} are not known")
    form = _SCALARS[item]
    if count > MAX_KEPT_ITEMS:
        reader.skip(count * form.size)
        return None
    reader.need(count * form.size)
    return tuple(_scalar(reader, form) for _ in range(count))


def _scalar(reader: _Reader, form: struct.Struct) -> int | float | bool:
    value: int | float | bool = form.unpack(reader.take(form.size))[0]
    return value


def _tensors(reader: _Reader, count: int, size: int) -> tuple[dict[str, int], int]:
    """(elements by type name, bytes the data section needs). Types not known here are not measured."""
    elements: dict[str, int] = {}
    end = 0
    for _ in range(count):
        name = reader.text(_MAX_NAME, "tensor name")
        dimensions = reader.u32()
        if dimensions > _MAX_DIMENSIONS:
            raise reader.fail(f"tensor {name[:80]!r} has {dimensions} dimensions")
        number = math.prod(reader.u64() for _ in range(dimensions))
        if number > size * _MOST_ELEMENTS_PER_BYTE:
            raise reader.fail(f"tensor {name[:80]!r} has {number} elements, too many for {size} bytes")
        kind, offset = reader.u32(), reader.u64()
        known = TENSOR_TYPES.get(kind)
        label = known.name if known else f"type {kind}"
        elements[label] = elements.get(label, 0) + number
        end = max(end, offset + (number // known.block * known.block_bytes if known else 0))
    return elements, end
