"""How values become text."""

from __future__ import annotations

import sys
import time

import pytest

from podium.cli import output
from podium.cli.models import parse_setting


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ([], "-"),
        (True, "yes"),
        (0.12345, "0.123"),
        (12345.6, "12346"),
        (["a", 1], "a, 1"),
        ({"a": 1}, "a=1"),
        ("x", "x"),
    ],
)
def test_a_cell_is_short(value, text):
    assert output.cell(value) == text


def test_a_piped_table_is_aligned_and_plain(capsys):
    output.table(("a", "name"), [[1, "x"], [None, "longer"]])
    assert capsys.readouterr().out == "A  NAME\n1  x\n-  longer\n"


def test_an_empty_table_says_so_on_stderr(capsys):
    output.table(("a",), [], empty="nothing yet")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "nothing yet\n")


def test_a_terminal_gets_a_rich_table(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    output.table(("a", "name"), [[1, "[red]x"]])
    shown = capsys.readouterr().out
    assert "[red]x" in shown, "text is never taken for markup"
    assert "name" in shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s ago"), (120, "2 min ago"), (7200, "2 h ago"), (200000, "2 d ago")]
)
def test_age_is_in_the_largest_fitting_unit(seconds, text):
    assert output.age(time.time() - seconds) == text


def test_sizes_have_unit_letters():
    assert [output.size(value) for value in (None, 12, 134_515_008, 7e12)] == ["-", "12", "135M", "7T"]


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("threads=2", ("threads", 2)),
        ("name=x", ("name", "x")),
        ("a=b=c", ("a", "b=c")),
        ('s={"t":0.1}', ("s", {"t": 0.1})),
    ],
)
def test_a_setting_is_json_where_it_is_json(text, pair):
    assert parse_setting(text) == pair
