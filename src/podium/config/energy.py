"""The configuration of what energy and hosted models cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What this machine draws, where it has no energy counter. Changes need a restart."""

    watts_per_core: Annotated[
        Annotated[float, Meta(gt=0, le=100)] | None,
        Meta(description="What a busy hardware thread adds; unset: by the processor's family, if known"),
    ] = None
    idle_watts: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="What the processors draw when idle, charged to nobody; unset: the lowest that is seen"),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceEntry:
    """What a hosted model asks, in US dollars per million tokens. Changes need a restart."""

    input: Annotated[float, Meta(ge=0, description="For a million tokens of the prompt")]
    output: Annotated[float, Meta(ge=0, description="For a million tokens of the answer")]
    cached: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="For a million tokens the server had read before; unset: as input"),
    ] = None
