"""A fresh gateway per test, and one shared gateway with the real model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server import Server
from tool_template import TOOL_TEMPLATE


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A gateway without models."""
    started = Server(tmp_path / "home").start()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def model_server(tmp_path_factory: pytest.TempPathFactory, smollm_path: Path) -> Iterator[Server]:
    """A gateway with SmolLM2 as ``smollm2@a`` and, with another system prompt, ``smollm2@b``."""
    started = Server(tmp_path_factory.mktemp("model") / "home").start()
    common = {"slots": 2, "context": 1024, "threads": 1}
    versions = {
        "smollm2@a": common,
        "smollm2@b": {**common, "system_prompt": "Answer in one word."},
        "smollm2@tools": {**common, "chat_template": TOOL_TEMPLATE},
    }
    for ref, settings in versions.items():
        added = started.add(ref, "llamacpp", str(smollm_path), **settings)
        assert added["problem"] is None, added
    yield started
    started.stop()
