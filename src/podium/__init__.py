"""Podium: a local-first model pool and router behind one OpenAI-compatible endpoint.

``Podium`` and ``Criteria`` are imported lazily so that ``import podium`` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podium.client import Podium
    from podium.domain.task import Criteria

__all__ = ["Criteria", "Podium", "__version__"]
from podium._version import __version__


def __getattr__(name: str) -> Any:
    if name == "Podium":
        from podium.client import Podium  # noqa: PLC0415 - lazy on purpose

        return Podium
    if name == "Criteria":
        from podium.domain.task import Criteria  # noqa: PLC0415 - lazy on purpose

        return Criteria
    raise AttributeError(f"module 'podium' has no attribute {name!r}")
