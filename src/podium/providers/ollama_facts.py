"""What Ollama says of a model as the facts of a version. Pure; what it does not say stays ``None``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from podium.domain.model import Capability, Facts
from podium.providers import gguf_facts
from podium.providers.gguf import GgufHead, Value
from podium.providers.ollama_api import Listed, Shown

LOGPROBS_SINCE = (0, 12, 11)
SCHEMA_SINCE = (0, 5, 0)
_GENERATES = (Capability.CHAT, Capability.COMPLETION)
_MAPPED = {"tools": Capability.TOOLS, "vision": Capability.VISION, "embedding": Capability.EMBEDDING}


def facts_of(row: Listed, shown: Shown, server_version: str) -> Facts:
    """``model_info`` holds the metadata of the GGUF, so it is read as one."""
    info = shown.model_info or {}
    head = GgufHead(version=3, metadata=_metadata(info), tensor_count=0, elements={}, size_bytes=row.size)
    read = gguf_facts.facts_of(head, f"sha256:{row.digest.removeprefix('sha256:')}")
    count = info.get("general.parameter_count")
    return replace(
        read,
        architecture=read.architecture or shown.details.family or None,
        parameters=count if isinstance(count, int) and count > 0 else None,
        quantization=shown.details.quantization_level or read.quantization,
        size_bytes=row.size or None,
        chat_template=shown.template or None,
        licence=read.licence or _title(shown.license),
        declared_version=None,
        capabilities=_capabilities(read, shown, server_version),
    )


def _metadata(info: Mapping[str, Any]) -> dict[str, Value]:
    """Long arrays are left out by Ollama (``null`` or empty); they would be read as "none"."""
    found: dict[str, Value] = {}
    for key, value in info.items():
        if isinstance(value, list):
            if value and all(isinstance(each, int | float | str) for each in value):
                found[key] = tuple(value)
        elif isinstance(value, int | float | str):
            found[key] = value
    return found


def _capabilities(read: Facts, shown: Shown, server_version: str) -> frozenset[str]:
    """Servers before 0.6.4 do not list any: then the metadata and the template tell."""
    said = shown.capabilities
    if said is None:
        if Capability.EMBEDDING in read.capabilities:
            return frozenset({Capability.EMBEDDING.value})
        said = ["completion", *(["tools"] if ".Tools" in shown.template else [])]
    found = {_MAPPED[each].value for each in said if each in _MAPPED}
    if "completion" in said:
        found |= {each.value for each in _GENERATES}
        version = _numbers(server_version)
        if version >= SCHEMA_SINCE:
            found.add(Capability.JSON_SCHEMA.value)
        if version >= LOGPROBS_SINCE:
            found.add(Capability.LOGPROBS.value)
    return frozenset(found)


def _numbers(version: str) -> tuple[int, ...]:
    """``0.12.11-rc1`` as numbers; a build from source calls itself ``0.0.0`` and is taken for the newest."""
    found = tuple(int(each) for each in re.findall(r"\d+", version.partition("-")[0])[:3])
    return found if any(found) else (999,)


def _title(licence: str) -> str | None:
    """The first line of a licence's text."""
    return next((line.strip()[:100] for line in licence.splitlines() if line.strip()), None)
