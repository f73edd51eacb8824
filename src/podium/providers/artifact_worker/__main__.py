"""Runs the worker by its path: ``PYTHON .../artifact_worker READY_FD``, under any interpreter.

The folder of this file leads ``sys.path`` then; it is taken off, so that none of these modules hides one of the
framework's, and the package is imported under a name of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAME = "podium_artifact_worker"


def run() -> None:
    """Import the package from its folder and hand over."""
    sys.path[:] = [each for each in sys.path if Path(each or ".").resolve() != HERE]
    spec = importlib.util.spec_from_file_location(NAME, HERE / "__init__.py", submodule_search_locations=[str(HERE)])
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)
    importlib.import_module(f"{NAME}.serving").main()


if __name__ == "__main__":
    run()
