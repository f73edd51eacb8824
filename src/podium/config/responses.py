"""The configuration of finished responses that are kept for ``previous_response_id``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptResponses:
    """Finished responses of ``/v1/responses``, in memory only. Changes need a restart."""

    memory_mb: Annotated[
        float,
        Meta(ge=0, le=65536, description="Memory for them, in MiB; the least recently used go first, 0 keeps none"),
    ] = 64.0
    minutes: Annotated[float, Meta(gt=0, le=10080, description="How long one is kept")] = 60.0
