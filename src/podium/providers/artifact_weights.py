"""Finds the files a framework will take weights from, and checks each one's head. Pickles are found, never opened."""

from __future__ import annotations

from dataclasses import dataclass

from podium.errors import InvalidRequest
from podium.providers.artifact_folder import Folder, refuse
from podium.providers.safetensors import Head, read_head

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """``parameters`` and ``dtype`` (the format of most of them) as the heads say; ``None`` where there are none.

    Packed integers are not parameters, so weights that have them count none.
    """

    files: tuple[str, ...]
    size_bytes: int
    parameters: int | None = None
    dtype: str | None = None
    pickles: tuple[str, ...] = ()
    package: str | None = None
    """The Core ML package."""


def find_weights(folder: Folder) -> Weights:
    """What transformers and mlx-lm load from the folder. Raises ``InvalidRequest``."""
    listed = folder.json(INDEX).get("weight_map")
    if isinstance(listed, dict):
        shards = sorted({str(name) for name in listed.values()})
        folder.need(shards, f"{INDEX} names it")
        heads = {name: read_head(folder.root / name) for name in shards}
        for tensor, shard in listed.items():
            if tensor not in heads[shard].tensors:
                raise refuse(f"{INDEX} says that {tensor!r} is in {shard}, and it is not")
        return _of(folder, heads)
    if SINGLE in folder.files:
        return _of(folder, {SINGLE: read_head(folder.root / SINGLE)})
    if others := folder.top(".safetensors"):
        raise refuse(f"{folder.root} has {', '.join(others[:3])} but no {SINGLE}; save_pretrained names it so")
    pickles = folder.pickles()
    if not pickles:
        raise refuse(f"{SINGLE} is missing in {folder.root}; save the model there (model.save_pretrained)")
    index = folder.json("pytorch_model.bin.index.json").get("weight_map")
    if isinstance(index, dict):
        folder.need(sorted({str(name) for name in index.values()}), "pytorch_model.bin.index.json names it")
    if any(name.startswith("pytorch_model") for name in pickles):
        pickles = tuple(name for name in pickles if name.startswith("pytorch_model"))
    return Weights(files=pickles, size_bytes=sum(folder.files[name] for name in pickles), pickles=pickles)


def pickle_refusal(names: tuple[str, ...]) -> InvalidRequest:
    """Why pickles are not opened, and what to do."""
    return refuse(
        f"{', '.join(names[:3])} is a pickle, and a pickle may run any code of whoever made it when it is opened; save the "
        "model as safetensors (save_pretrained does), or, if you made the file yourself, allow it with --allow-pickle"
    )


def _of(folder: Folder, heads: dict[str, Head]) -> Weights:
    elements: dict[str, int] = {}
    for head in heads.values():
        for kind, count in head.elements.items():
            elements[kind] = elements.get(kind, 0) + count
    plain = all(kind in _FLOATS for kind, count in elements.items() if count > 1)
    return Weights(
        files=(*heads, *([INDEX] if INDEX in folder.files else [])),
        size_bytes=sum(folder.files[name] for name in heads),
        parameters=(sum(elements.values()) or None) if plain else None,
        dtype=max(elements, key=lambda kind: elements[kind], default=None),
    )
