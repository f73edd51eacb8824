"""YAML of strangers: every value has its line, and nothing in a file can hang, run or fool the reader."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.errors import InvalidRequest
from podium.importing.yaml_file import Value, parse_yaml, read_yaml


def plain(value: Value) -> Any:
    if isinstance(value.data, dict):
        return {key: plain(each) for key, each in value.data.items()}
    return [plain(each) for each in value.data] if isinstance(value.data, list) else value.data


def parse(text: str, said: list[tuple[str, int]] | None = None) -> Value:
    return parse_yaml(text, "f.yaml", lambda what, line: (said if said is not None else []).append((what, line)))


def test_every_value_knows_its_line():
    found = parse("a: 1\nb:\n  - x\n  - y: true\n")
    assert plain(found) == {"a": 1, "b": ["x", {"y": True}]}
    assert found.data["b"].data[1].data["y"].line == 4


def test_anchors_and_merges_are_filled_in():
    found = parse("base: &b {x: 1, y: 2}\nown:\n  <<: *b\n  y: 3\n")
    assert plain(found)["own"] == {"x": 1, "y": 3}


def test_dates_stay_the_text_they_are():
    assert plain(parse("a: 2026-13-45\nb: 2026-01-02\n")) == {"a": "2026-13-45", "b": "2026-01-02"}


def test_a_key_that_stands_twice_is_said_and_the_first_counts():
    said: list[tuple[str, int]] = []
    assert plain(parse("a: 1\na: 2\n", said)) == {"a": 1}
    assert said == [("'a' stands here a second time; the first one counts", 2)]


def bomb(levels: int = 30) -> str:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


BAD = [
    ("a:\n\t- b\n", "f.yaml:2", "tabs"),
    ("a: [1, 2\nb: 3\n", "f.yaml:", ""),
    ("a: b: c\n", "f.yaml:1", ""),
    ("a: *nobody\n", "f.yaml:1", "nobody"),
    ("a: !!python/object/apply:os.system ['true']\n", "f.yaml:1", "tag"),
    ("a: !custom x\n", "f.yaml:1", "tag"),
    ("? [a, b]\n: c\n", "f.yaml:1", "key"),
    ("a: &a [*a]\n", "f.yaml:", ""),
    ("[" * 5_000, "f.yaml", ""),
    ("a: 1\n---\nb: 2\n", "f.yaml:2", ""),
    ("a: \x00\n", "f.yaml", ""),
    (bomb(), "f.yaml:", "aliases"),
]


@pytest.mark.parametrize(("text", "where", "why"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_read_is_said_with_its_line_and_soon(text: str, where: str, why: str):
    began = time.monotonic()
    with pytest.raises(InvalidRequest) as error:
        parse(text)
    assert error.value.message.startswith(where)
    assert why in error.value.message
    assert len(error.value.message) < 400
    assert time.monotonic() - began < 10


def test_files_that_are_none_are_refused_in_words(tmp_path: Path):
    missing, binary, large = tmp_path / "no.yaml", tmp_path / "b.yaml", tmp_path / "l.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    large.write_bytes(b"a: 1\n" * 1_000_000)
    for path, why in ((missing, "cannot be read"), (binary, "UTF-8"), (large, "larger"), (tmp_path, "cannot be read")):
        with pytest.raises(InvalidRequest, match=why):
            read_yaml(path, lambda *_: None)


def test_an_empty_file_is_an_empty_mapping():
    assert plain(parse("# nothing\n")) == {}


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#\n \t,?%@0.~", max_size=60))
def test_no_text_gets_through_as_another_error(text: str):
    with contextlib.suppress(InvalidRequest):
        parse(text)
