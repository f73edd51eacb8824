"""Reads a source's settings into a typed value, so that a misspelt one is an error and not silence."""

from __future__ import annotations

import difflib
from typing import TypeVar

import msgspec

from podium.domain.model import Source
from podium.errors import InvalidRequest

T = TypeVar("T", bound=msgspec.Struct)


def read_settings(source: Source, kind: type[T]) -> T:
    """Raises ``InvalidRequest`` naming the setting, and the nearest valid one when it is unknown."""
    valid = [field.encode_name for field in msgspec.structs.fields(kind)]
    for name in source.settings:
        if name not in valid:
            near = difflib.get_close_matches(name, valid, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(sorted(valid))}"
            raise InvalidRequest(f"{source.provider} has no setting {name!r}; {hint}", param=f"source.settings.{name}")
    try:
        return msgspec.convert(dict(source.settings), kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"settings of {source.provider}: {error}", param="source.settings") from None
