"""Rubrics on disk: four are shipped, users add and override by file, and a wrong file says what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from podium.domain.judgment import CRITERIA, PASS_MARKS
from podium.errors import InvalidRequest, NotFound
from podium.rubrics import RubricLibrary

pytestmark = pytest.mark.requirement("JDG-1")
GOOD = 'instructions = "Is it polite?"\nscale = [0, 3]\npass_mark = 0.6\n'


def write(folder: Path, name: str, text: str | bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_each_shipped_criterion_has_a_rubric_of_its_own_with_its_pass_mark(tmp_path):
    library = RubricLibrary(tmp_path / "none")
    assert library.names() == CRITERIA
    rubrics = [library.get(criterion) for criterion in CRITERIA]
    assert [rubric.criterion for rubric in rubrics] == list(CRITERIA)
    assert {rubric.criterion: rubric.pass_mark for rubric in rubrics} == dict(PASS_MARKS)
    assert len({rubric.digest for rubric in rubrics}) == 4
    assert len({rubric.instructions for rubric in rubrics}) == 4
    assert library.get("faithfulness").needs_context


def test_users_add_a_criterion_and_override_a_shipped_one(tmp_path):
    library = RubricLibrary(tmp_path / "rubrics")
    shipped = library.get("safety")
    write(tmp_path / "rubrics", "politeness.toml", GOOD)
    write(tmp_path / "rubrics", "safety.toml", 'instructions = "Is it safe for children?"')
    assert library.names() == (*CRITERIA, "politeness")
    own = library.get("politeness")
    assert (own.low, own.high, own.pass_mark, own.needs_context) == (0, 3, 0.6, False)
    assert own.instructions == "Is it polite?"
    assert library.get("safety").instructions == "Is it safe for children?"
    assert library.get("safety").digest != shipped.digest


def test_the_digest_follows_what_is_asked_and_not_the_pass_mark(tmp_path):
    library = RubricLibrary(tmp_path / "rubrics")
    path = write(tmp_path / "rubrics", "politeness.toml", GOOD)
    first = library.get("politeness")
    assert library.get("politeness") is first
    path.write_text(GOOD.replace("0.6", "0.65"))
    assert library.get("politeness").pass_mark == 0.65
    assert library.get("politeness").digest == first.digest
    path.write_text(GOOD.replace("[0, 3]", "[1, 3]"))
    os.utime(path, ns=(1, 1))
    assert library.get("politeness").digest != first.digest


def test_a_pattern_needs_no_instructions(tmp_path):
    write(tmp_path / "rubrics", "dated.toml", "pattern = '\\d{4}-\\d\\d'")
    rubric = RubricLibrary(tmp_path / "rubrics").get("dated")
    assert (rubric.pattern, rubric.instructions) == (r"\d{4}-\d\d", "")


def test_an_unknown_criterion_names_the_nearest(tmp_path):
    with pytest.raises(NotFound, match="relevance"):
        RubricLibrary(tmp_path).get("relevence")
    with pytest.raises(NotFound, match="there are faithfulness"):
        RubricLibrary(tmp_path).get("../../etc/passwd")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "needs instructions"),
        ('instructions = "  "', "needs instructions"),
        ("instructions = 5", "needs instructions"),
        ("instructions = [", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        ('instructions = "x"\nscale = [5, 1]', "scale is"),
        ('instructions = "x"\nscale = [0, 100]', "scale is"),
        ('instructions = "x"\nscale = [false, true]', "scale is"),
        ('instructions = "x"\nscale = "1-5"', "scale is"),
        ('instructions = "x"\nscale = [1.0, 5.0]', "scale is"),
        ('instructions = "x"\npass_mark = 7', "pass_mark"),
        ('instructions = "x"\npass_mark = true', "pass_mark"),
        ('instructions = "x"\npass_mark = nan', "pass_mark"),
        ('instructions = "x"\nneeds_context = "yes"', "needs_context"),
        ('instructions = "x"\npassmark = 0.5', "did you mean pass_mark"),
        ('instructions = "x"\nzzz = 1', "there are instructions"),
        ('instructions = "' + "x" * 7_000 + '"', "are the most"),
        ("#" * 70_000, "larger than"),
        ('pattern = "("', "no regular expression"),
        ('pattern = ""', "of 1 to 1,000 characters"),
        ("pattern = 7", "of 1 to 1,000 characters"),
        ('pattern = "' + "x" * 1_001 + '"', "of 1 to 1,000 characters"),
    ],
)
def test_a_wrong_file_says_which_and_what(tmp_path, text, why):
    write(tmp_path / "rubrics", "mine.toml", text)
    with pytest.raises(InvalidRequest, match=r"mine\.toml") as problem:
        RubricLibrary(tmp_path / "rubrics").get("mine")
    assert why in problem.value.message


@pytest.mark.parametrize("name", ["overall", "rules", "stack", "Bad Name", "9lives"])
def test_a_name_that_means_something_else_is_refused(tmp_path, name):
    write(tmp_path / "rubrics", f"{name}.toml", GOOD)
    with pytest.raises(InvalidRequest, match="cannot name a criterion"):
        RubricLibrary(tmp_path / "rubrics").get(name)
