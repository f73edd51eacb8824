"""The threat model names tests that are there, and what it promises elsewhere leads somewhere."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "threat-model.md"
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def names_in(path: Path) -> frozenset[str]:
    found = ast.walk(ast.parse(path.read_text()))
    return frozenset(node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def rows() -> list[list[str]]:
    lines = [
        line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| they want")
    ]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:60])
def test_every_threat_says_how_it_is_stopped_and_names_tests_that_exist(row: list[str]) -> None:
    assert len(row) == 3
    assert all(row)
    named = REFERENCE.findall(row[2])
    assert named, "no test shows it"
    assert REFERENCE.sub("", row[2]).strip() == "", "something there is no name of a test"
    for file, test in named:
        assert test in names_in(ROOT / file), f"{file} has no {test}"


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/threat-model.md", "docs/secrets.md", "docs/security.md"])
def test_links_lead_to_pages_that_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_model_is_not_thin() -> None:
    assert len(rows()) >= 30
