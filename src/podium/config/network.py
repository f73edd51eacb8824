"""The configuration of how far connections to models may go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Which addresses may be connected to. Changes need a restart."""

    offline: Annotated[bool, Meta(description="Connect to nothing outside this machine, whatever is registered")] = (
        False
    )
    allow_link_local: Annotated[
        bool, Meta(description="Let models run at link-local addresses, among them metadata services of clouds")
    ] = False
