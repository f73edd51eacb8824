"""Ollama's library on disk as proposals: through a running Ollama, or its GGUF files by themselves.

Reads manifests and small blobs (parameters, system prompt); weights are only looked at. Changes nothing there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from podium.errors import InvalidRequest
from podium.importing.report import Proposal, Report, usable_name

MOST_BYTES = 1024 * 1024
MOST_MODELS = 2_000
DEFAULT_REGISTRY = "registry.ollama.ai"
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_KIND = "application/vnd.ollama.image."
_SAMPLING = {
    "num_ctx": "context",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "seed": "seed",
}
"""Parameters of a Modelfile by what the embedded llama.cpp calls them."""
_LAYERS = {
    "template": "Ollama's template does not carry over: the chat template of the GGUF file is used",
    "adapter": "its adapter (LoRA) does not carry over; import it through Ollama",
    "projector": "its projector does not carry over: no images; import it through Ollama",
    "messages": "its example messages do not carry over; import it through Ollama",
}


class _Layer(msgspec.Struct):
    media_type: Annotated[str, msgspec.Meta(max_length=200)] = msgspec.field(name="mediaType", default="")
    digest: str = ""
    size: int = 0


class _Manifest(msgspec.Struct):
    layers: list[_Layer] = []


def library(environ: Mapping[str, str]) -> Path:
    """Where Ollama keeps its models: ``OLLAMA_MODELS``, else in the home, else where its Linux service does."""
    if environ.get("OLLAMA_MODELS"):
        return Path(environ["OLLAMA_MODELS"]).expanduser()
    own, service = Path("~/.ollama/models").expanduser(), Path("/usr/share/ollama/.ollama/models")
    return service if not own.is_dir() and service.is_dir() else own


def read_ollama(folder: Path, *, direct: bool, host: str | None = None) -> Report:
    """Every model of a library; ``direct``: its GGUF file instead of a running Ollama. Raises ``InvalidRequest``."""
    report = Report()
    manifests = folder / "manifests"
    if not manifests.is_dir():
        raise InvalidRequest(
            f"{folder} is no library of Ollama (it has no folder manifests); name one, or set OLLAMA_MODELS"
        )
    found = 0
    for path in _files(manifests, report):
        found += 1
        if found > MOST_MODELS:
            report.note(f"there are more than {MOST_MODELS} models; the others were left out", str(folder), wrong=True)
            break
        made = _model(path, manifests, folder, report, direct=direct, host=host)
        if made is not None:
            report.add(made)
    if not found:
        report.note("there are no models in it", str(folder), wrong=True)
    return report


def _model(
    path: Path, manifests: Path, folder: Path, report: Report, *, direct: bool, host: str | None
) -> Proposal | None:
    tag = _tag(path.relative_to(manifests).parts)
    if tag is None:
        report.note("stands where no manifest of a model belongs", str(path), wrong=True)
        return None
    try:
        manifest = msgspec.json.decode(_small(path), type=_Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, OSError, InvalidRequest) as error:
        report.note(f"its manifest cannot be read: {_why(error)}", tag, wrong=True)
        return None
    layers = {layer.media_type.removeprefix(_KIND): layer for layer in reversed(manifest.layers)}
    params = _params(layers.get("params"), folder, tag, report)
    name = usable_name(tag.removesuffix(":latest"))
    if not direct:
        settings: dict[str, Any] = {"num_ctx": params["num_ctx"]} if isinstance(params.get("num_ctx"), int) else {}
        settings |= {"host": host} if host is not None else {}
        return Proposal(
            name=name, provider="ollama", location=tag, origin=str(path), settings=settings, about="a model of Ollama"
        )
    return _direct(name, tag, path, layers, params, folder, report)


def _direct(
    name: str,
    tag: str,
    path: Path,
    layers: Mapping[str, _Layer],
    params: Mapping[str, Any],
    folder: Path,
    report: Report,
) -> Proposal | None:
    weights = layers.get("model")
    blob = None if weights is None else _blob(weights.digest, folder)
    if weights is None or blob is None:
        report.note("names no weights; it may be a model of a hosted service", tag, wrong=True)
        return None
    if not blob.is_file():
        report.note(f"its weights are not there ({blob.name}); `ollama pull {tag}`", tag, wrong=True)
        return None
    if blob.stat().st_size != weights.size and weights.size:
        report.note(f"its weights are not whole ({blob.stat().st_size} of {weights.size} bytes)", tag, wrong=True)
        return None
    with blob.open("rb") as file:
        if file.read(4) != b"GGUF":
            report.note("its weights are no GGUF file; import it through Ollama", tag, wrong=True)
            return None
    settings: dict[str, Any] = {}
    for key, value in params.items():
        if key in _SAMPLING and isinstance(value, int | float) and not isinstance(value, bool):
            settings[_SAMPLING[key]] = value
        else:
            report.note(f"PARAMETER {key} does not carry over: the embedded llama.cpp has no such setting", tag)
    for kind, said in _LAYERS.items():
        if kind in layers:
            report.note(said, tag)
    system = layers.get("system")
    if system is not None and (text := _text(system, folder, tag, report)) is not None:
        settings["system_prompt"] = text
    return Proposal(
        name=name,
        provider="llamacpp",
        location=str(blob),
        origin=str(path),
        settings=settings,
        about=f"the weights of {tag}",
    )


def _tag(parts: tuple[str, ...]) -> str | None:
    """``registry.ollama.ai/library/gemma3/1b`` is ``gemma3:1b``, ``hf.co/bartowski/x/Q4`` stays ``hf.co/bartowski/x:Q4``."""
    if len(parts) < 4 or any(part.startswith(".") for part in parts):
        return None
    host, *names, tag = parts
    if host == DEFAULT_REGISTRY:
        names = names[1:] if names[0] == "library" else names
        return f"{'/'.join(names)}:{tag}"
    return f"{host}/{'/'.join(names)}:{tag}"


def _params(layer: _Layer | None, folder: Path, tag: str, report: Report) -> dict[str, Any]:
    text = None if layer is None else _text(layer, folder, tag, report)
    if text is None:
        return {}
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        found = None
    if not isinstance(found, dict):
        report.note("its parameters are no JSON object; they were left out", tag)
        return {}
    return found


def _text(layer: _Layer, folder: Path, tag: str, report: Report) -> str | None:
    blob = _blob(layer.digest, folder)
    try:
        return None if blob is None else _small(blob).decode("utf-8")
    except (OSError, UnicodeDecodeError, InvalidRequest) as error:
        report.note(f"a part of it cannot be read: {_why(error)}", tag)
        return None


def _blob(digest: str, folder: Path) -> Path | None:
    """Its file; ``None`` for what is no digest, so that no path can be smuggled in."""
    found = _DIGEST.fullmatch(digest)
    return None if found is None else folder / "blobs" / f"sha256-{found[1]}"


def _small(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InvalidRequest(f"{path.name} is larger than it can be")
    return content


def _files(folder: Path, report: Report) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        report.note(f"cannot be looked into: {error.strerror}", str(error.filename), wrong=True)

    for where, folders, names in os.walk(folder, onerror=unreadable):
        folders.sort()
        yield from (Path(where) / name for name in sorted(names) if not name.startswith("."))


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
