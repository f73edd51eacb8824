"""A suite is checked whole before any model is asked."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from podium.core.suites import read_suite
from podium.domain.benchmark import GraderKind
from podium.errors import InvalidRequest, NotFound
from podium.suites import SuiteLibrary, read_files, schema_problem

pytestmark = pytest.mark.requirement("LRN-6")
HEAD = {"title": "T", "task": "t", "licence": "Apache-2.0"}
ITEM = {"id": "a", "prompt": "p", "grader": "exact", "expected": "x"}


def read(head=HEAD, items=(ITEM,), name="mine"):
    return read_suite(name, head, items, schema_problem)


def test_defaults_and_the_template_apply_to_every_item():
    head = {
        **HEAD,
        "template": "Q: {prompt}",
        "system": "Be brief.",
        "max_tokens": 9,
        "defaults": {"grader": "contains"},
    }
    suite = read(
        head, [{"id": "a", "prompt": "one {x}", "expected": ["1", "one"]}, {**ITEM, "id": "b", "max_tokens": 3}]
    )
    assert suite.items[0].prompt == "Q: one {x}"
    assert suite.items[0].grader.kind is GraderKind.CONTAINS
    assert suite.items[0].system == "Be brief."
    assert [item.max_tokens for item in suite.items] == [9, 3]
    assert suite.items[1].grader.kind is GraderKind.EXACT


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": None}, "'id' is missing"),
        ({"prompt": ""}, "prompt must be a text"),
        ({"grader": "vibes"}, "there is no grader 'vibes'"),
        ({"grader": None}, "there is no grader 'None'"),
        ({"expected": None}, "needs the field 'expected'"),
        ({"expected": []}, "must not be empty"),
        ({"expected": [1]}, "list of texts"),
        ({"answer": "x"}, "unknown field 'answer'"),
        ({"pattern": "x"}, "has no field 'pattern'"),
        ({"max_tokens": 0}, "from 1 to"),
        ({"max_tokens": True}, "from 1 to"),
        ({"system": 3}, "system must be a text"),
        ({"grader": "regex", "expected": None, "pattern": "(a"}, "does not compile"),
        ({"grader": "regex", "expected": None, "pattern": "a" * 2000}, "longer than"),
        ({"grader": "numeric", "expected": None, "number": float("nan")}, "finite number"),
        ({"grader": "numeric", "expected": None, "number": "7"}, "finite number"),
        ({"grader": "numeric", "expected": None, "number": 7, "tolerance": -1}, "negative"),
        ({"grader": "choice", "choices": ["y", "z"]}, "one of at least two"),
        ({"grader": "choice", "choices": ["x", "x"]}, "one of at least two"),
        ({"grader": "json_schema", "expected": None, "schema": {"type": "strnig"}}, "the schema is invalid"),
        ({"grader": "json_schema", "expected": None, "schema": []}, "schema must be an object"),
        ({"grader": "json_schema", "expected": None, "schema": {"$ref": "http://x/y"}}, "only references inside"),
        ({"grader": "json_schema", "expected": None, "schema": {"patternProperties": {"a": {}}}}, "not supported"),
        ({"grader": "python", "expected": None, "tests": "assert ("}, "do not compile"),
        ({"id": "x" * 70}, "at most 64"),
    ],
)
def test_what_is_wrong_with_an_item_is_said_with_its_place(change, says):
    item = {key: value for key, value in {**ITEM, **change}.items() if value is not None}
    with pytest.raises(InvalidRequest, match=r"suite mine, item (1|a|x+)") as caught:
        read(items=[item])
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("head", "items", "name", "says"),
    [
        (HEAD, [], "mine", "no items"),
        (HEAD, [ITEM, ITEM], "mine", "taken already"),
        (HEAD, ["text"], "mine", "not a JSON object"),
        ({**HEAD, "licence": None}, [ITEM], "mine", "licence"),
        ({**HEAD, "author": "me"}, [ITEM], "mine", "unknown field 'author'"),
        ({**HEAD, "template": "no place"}, [ITEM], "mine", "must contain {prompt}"),
        ({**HEAD, "defaults": 3}, [ITEM], "mine", "defaults must be a table"),
        (HEAD, [ITEM], "../etc", "not the name of a suite"),
    ],
)
def test_what_is_wrong_with_a_suite_is_said(head, items, name, says):
    with pytest.raises(InvalidRequest) as caught:
        read(head, items, name)
    assert says in caught.value.message


def test_the_digest_changes_with_what_can_change_a_score_and_with_nothing_else():
    base = read().digest
    assert read({**HEAD, "title": "Other", "description": "d"}).digest == base
    for change in ({"prompt": "q"}, {"expected": "y"}, {"max_tokens": 5}, {"grader": "contains"}, {"system": "s"}):
        assert read(items=[{**ITEM, **change}]).digest != base
    assert read({**HEAD, "task": "u"}).digest != base
    assert len(base) == 32


def test_the_shipped_suites_are_sound_balanced_and_large_enough():
    library = SuiteLibrary()
    suites = [library.get(name) for name in library.names()]
    assert {suite.task for suite in suites} == {"question-answering", "classification", "extraction", "code-generation"}
    for suite in suites:
        assert len(suite.items) >= 40
        assert suite.licence == "Apache-2.0"
        assert max(len(item.prompt) for item in suite.items) < 600
        assert len({item.prompt for item in suite.items}) == len(suite.items)
    labels = Counter((item.grader.choices, item.grader.expected) for item in library.get("classification").items)
    for choices in {choices for choices, _ in labels}:
        assert len({labels[choices, (label,)] for label in choices}) == 1


def test_own_suites_come_from_the_folder_and_cannot_take_a_shipped_name(tmp_path):
    (tmp_path / "mine.toml").write_text('title = "T"\ntask = "t"\nlicence = "MIT"\n')
    (tmp_path / "mine.jsonl").write_text('{"id": "a", "prompt": "p", "grader": "exact", "expected": "x"}\n\n')
    library = SuiteLibrary(tmp_path)
    assert "mine" in library.names()
    assert len(library.get("mine").items) == 1
    with pytest.raises(NotFound, match="did you mean coding"):
        library.get("codin")
    with pytest.raises(InvalidRequest, match="exists already"):
        library.inline("coding", HEAD, [ITEM])
    head, items = read_files(tmp_path / "mine.jsonl")
    assert library.inline("mine", head, items).digest == library.get("mine").digest


@pytest.mark.parametrize(
    ("toml", "jsonl", "says"),
    [
        ("title = ", "{}", "is not TOML"),
        ('title = "T"', '{"id": "a"', "line 1 is not JSON"),
        ('title = "T"', "{}\n" + "[" * 100_000, "line 2 is not JSON"),
        (None, "{}", "there is no"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, toml, jsonl, says):
    if toml is not None:
        (tmp_path / "bad.toml").write_text(toml)
    (tmp_path / "bad.jsonl").write_text(jsonl)
    with pytest.raises((InvalidRequest, NotFound), match=says):
        read_files(tmp_path / "bad.toml")


def test_the_suite_in_the_documentation_is_one():
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    section = page.split("## Your own suite", 1)[1]
    head = tomllib.loads(section.split("```toml\n", 1)[1].split("```", 1)[0])
    items = [json.loads(line) for line in section.split("```json\n", 1)[1].split("```", 1)[0].splitlines()]
    suite = read(head, items, "capitals")
    assert len(suite.items) == 3
    assert suite.items[0].prompt == "What is the capital of Norway? One word."
    graders = set(re.findall(r"^\| `(\w+)` \|", page.split("## Graders", 1)[1].split("## ", 1)[0], re.MULTILINE))
    assert graders - {"grader"} == {kind.value for kind in GraderKind}
