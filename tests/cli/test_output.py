"""How values become text."""

from __future__ import annotations

import sys
import time

import pytest

from podium.cli import output
from podium.cli.models import parse_setting
from podium.cli.tasks import lately


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


@pytest.mark.requirement("COST-2")
def test_figures_of_a_task_have_a_price_where_somebody_bills_and_no_column_for_it_elsewhere(capsys):
    names = ("quality", "success", "latency_ms", "ttft_ms", "tokens_per_s", "memory_mb", "energy_mwh", "price_microusd")
    local = dict.fromkeys(names)
    lately({"own@1": local})
    assert "PRICE_MICROUSD" not in capsys.readouterr().out
    lately({"own@1": local, "far@1": {**local, "price_microusd": {"mean": 12.0, "low": 10.0, "high": 14.0}}})
    head, far, own = sorted(capsys.readouterr().out.splitlines())
    assert head.endswith("PRICE_MICROUSD")
    assert far.endswith("12 (10 to 14)")
    assert own.split()[-1] == "-"


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
