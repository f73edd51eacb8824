"""Where Podium keeps its state. Reads the environment and nothing else, so that finding a running server takes no more."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def default_home(environ: Mapping[str, str] | None = None) -> Path:
    """``PODIUM_HOME``, else the platform's user data directory."""
    environ = os.environ if environ is None else environ
    if given := environ.get("PODIUM_HOME"):
        return Path(given).expanduser().absolute()
    import platformdirs  # noqa: PLC0415 - keeps `podium --help` fast

    return platformdirs.user_data_path("podium", appauthor=False)
