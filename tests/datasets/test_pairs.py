"""Files of pairs of answers: labelled or not, beside rows of one output, and what is wrong with a line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from podium.datasets.pairs import read_pairs
from podium.errors import InvalidRequest

pytestmark = pytest.mark.requirement("JDG-6")


def write(path: Path, *rows: object) -> Path:
    path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
    return path


def test_pairs_of_a_file_of_labels_are_read_and_its_single_outputs_left_out(tmp_path: Path):
    pair = {"id": "p", "criterion": "safety", "context": "Q?", "output_1": "a", "output_2": "b", "human": 2}
    found = read_pairs(
        write(
            tmp_path / "x.gz", {"id": "s", "output": "alone", "human": 1}, pair, {"output_1": "c", "output_2": "\ud83d"}
        )
    )
    assert [(one.id, one.criterion, one.prompt, one.first, one.human) for one in found] == [
        ("p", "safety", "Q?", "a", 2), ("3", "relevance", "", "c", None),
    ]  # fmt: skip
    assert found[1].second == "?"
    assert read_pairs(tmp_path / "x.gz", "politeness")[0].criterion == "politeness"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "no pairs"),
        ([{"output": "x"}], "no pairs"),
        ([{"output_1": "x"}], "line 1, column output_2"),
        ([{"output_1": "x", "output_2": 3}], "line 1, column output_2"),
        ([{"output_1": "x", "output_2": "y", "human": 3}], "1 or 2"),
        ([{"output_1": "x", "output_2": "y", "human": True}], "1 or 2"),
        ([["x", "y"]], "not a JSON object"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, rows: list[object], says: str):
    with pytest.raises(InvalidRequest, match=says):
        read_pairs(write(tmp_path / "x.gz", *rows))
