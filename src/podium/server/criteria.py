"""Reads selection criteria from JSON: the ``x-podium-criteria`` header and the body of a task."""

from __future__ import annotations

from typing import Any

import msgspec

from podium.domain.task import Criteria
from podium.errors import InvalidRequest
from podium.server.plain_words import of_msgspec


def read_criteria(value: dict[str, Any] | bytes) -> Criteria:
    """Raises ``InvalidRequest`` that names the field."""
    try:
        raw = msgspec.json.decode(value) if isinstance(value, bytes) else value
        if not isinstance(raw, dict):
            raise InvalidRequest("criteria must be a JSON object", param="criteria")
        unknown = set(raw) - set(Criteria.__slots__)
        if unknown:
            known = ", ".join(Criteria.__slots__)
            raise InvalidRequest(f"unknown criterion {min(unknown)!r}; there are {known}", param="criteria")
        found = msgspec.convert(raw, Criteria)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(of_msgspec("criteria", str(error)), param="criteria") from None
    if found.min_quality is not None and not 0 <= found.min_quality <= 1:
        raise InvalidRequest("min_quality must be between 0 and 1", param="criteria.min_quality")
    for name in ("max_latency_ms", "max_memory_mb"):
        limit = getattr(found, name)
        if limit is not None and not 0 < limit < float("inf"):
            raise InvalidRequest(f"{name} must be greater than 0", param=f"criteria.{name}")
    loss = found.max_quality_loss
    if loss is not None and not 0 <= loss < 1:
        raise InvalidRequest(
            "max_quality_loss is a share from 0 to below 1: 0.02 allows 2 %", param="criteria.max_quality_loss"
        )
    if not found.soft <= {"min_quality", "max_latency_ms"}:
        raise InvalidRequest("soft names limits that only rank: min_quality, max_latency_ms", param="criteria.soft")
    if found.min_context < 0:
        raise InvalidRequest("min_context must not be negative", param="criteria.min_context")
    return found
