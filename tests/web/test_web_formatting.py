"""Figures as people read them."""

from __future__ import annotations

import pytest

from podium.web import formatting as shown

pytestmark = pytest.mark.requirement("OPS-8")


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (shown.count(12), "12"),
        (shown.count(4812), "4,812"),
        (shown.count(48_123), "48.1 k"),
        (shown.count(1_200_000), "1.2 M"),
        (shown.number(0.01234, "/s"), "0.0123 /s"),
        (shown.number(1.239), "1.24"),
        (shown.number(100.4), "100"),
        (shown.number(0), "0"),
        (shown.percent(0.5), "50 %"),
        (shown.percent(0.987), "98.7 %"),
        (shown.percent(1.0), "100 %"),
        (shown.percent(0.0), "0 %"),
        (shown.ms(0.25), "250 µs"),
        (shown.ms(12.34), "12.3 ms"),
        (shown.ms(90_000), "90 s"),
        (shown.ms(180_000), "3 min"),
        (shown.seconds(7200), "2 h"),
        (shown.seconds(0), "0 s"),
        (shown.seconds(200_000), "2.31 d"),
        (shown.mb(512), "512 MB"),
        (shown.mb(2048), "2 GB"),
        (shown.mwh(0.25), "250 µWh"),
        (shown.mwh(1500), "1.5 Wh"),
        (shown.usd(0.001234), "$0.00123"),
        (shown.usd(12.3), "$12.30"),
        (shown.score(0.8149), "0.81"),
        (shown.plural(1, "request"), "1 request"),
        (shown.plural(2, "entry", "entries"), "2 entries"),
        (shown.words(["a"]), "a"),
        (shown.words(["a", "b", "c"]), "a, b and c"),
        (shown.words([1, 2, 3, 4, 5, 6, 7], most=3), "1, 2 and 5 more"),
        (shown.said(1.5, "load_s"), "1.5 s"),
        (shown.said(True), "yes"),
        (shown.titled("load_s"), "load"),
    ],
)
def test_a_figure_has_a_unit_that_fits_and_three_digits(made: str, text: str) -> None:
    assert made.replace("\u202f", " ") == text


@pytest.mark.parametrize(
    "filter_", [shown.count, shown.number, shown.percent, shown.ms, shown.seconds, shown.mb, shown.mwh, shown.usd]
)
def test_what_nobody_measured_is_a_dash_that_is_read_out(filter_: object) -> None:
    assert "not measured" in filter_(None)  # type: ignore[operator]


def test_names_and_times_are_escaped_and_marked_up() -> None:
    assert shown.ref("<b>@1") == '<span class="ref">&lt;b&gt;<wbr><span class="ver">@1</span></span>'
    assert shown.when(0.0) == '<time datetime="1970-01-01T00:00:00+00:00" data-ago>1970-01-01 00:00:00</time>'
    assert shown.between(0.7, 0.81).replace("\u2009\u2013\u2009", " to ") == "0.70 to 0.81"
