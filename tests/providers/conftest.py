"""Providers on an empty home, scripts as files, and scripted servers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from provider_calls import Running

from podium.providers.catalogue import ProviderContext


@pytest.fixture
def context(home: Path) -> ProviderContext:
    return ProviderContext(home=home, environ=dict(os.environ))


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "served", **fields: Any) -> Path:
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(fields))
        return path

    return write


@pytest.fixture
def running(script) -> Iterator[Callable[..., Running]]:
    """``running(*arguments, **script)`` starts a server of one script, or of the files among the arguments."""
    started: list[Running] = []

    def start(*arguments: object, **fields: Any) -> Running:
        files = [] if any(isinstance(each, Path) for each in arguments) else [script(**fields)]
        started.append(Running(*map(str, [*files, *arguments])))
        return started[-1]

    yield start
    for each in started:
        each.kill()
