"""A rollout drawn as text and SVG: legible at every width, true to its numbers, safe with whatever names it meets."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_stories import START, story

from podium.core.picture.canvas import cut, width_of, wrap
from podium.core.picture.chart import chart
from podium.core.picture.curves import curves, ticks, time_ticks, value_range
from podium.core.picture.sheet import sheet
from podium.core.picture.svg import draw
from podium.domain.rollout import (
    FINAL,
    Compatibility,
    Metric,
    Rollout,
    RolloutPlan,
    RolloutReport,
    RolloutState,
    TracePoint,
    Validation,
)

NOW = START + 20_000
pytestmark = pytest.mark.requirement("SWP-4", "SWP-5")


def plain(report: RolloutReport, **changes: object) -> RolloutReport:
    return replace(report, rollout=replace(report.rollout, **changes))


def fresh(state: RolloutState = RolloutState.WARMING) -> RolloutReport:
    """An ordered rollout without a single answer."""
    rollout = Rollout(
        id="r1",
        task="t",
        baseline="a@1",
        candidate="b@1",
        plan=RolloutPlan(),
        state=state,
        requested_at=START,
        by="cli",
    )
    return RolloutReport(rollout=rollout)


def rows(text: str) -> list[str]:
    """The canvas lines of a chart, without labels and edge."""
    return [
        line.split(edge, 1)[1] for line in text.split("\n") for edge in "│┤" if edge in line and "share" not in line
    ]


@pytest.mark.parametrize("width", [1, 40, 63, 100, 160, 1000])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_line_of_a_chart_is_wider_than_asked_and_ascii_is_ascii(width, ascii_only):
    for metric in (Metric.QUALITY, Metric.SUCCESS, Metric.LATENCY, Metric.MEMORY):
        text = chart(story(pause=True), NOW, metric=metric, width=width, ascii_only=ascii_only)
        assert max(map(len, text.split("\n"))) <= max(40, min(160, width))
        assert text.isascii() is ascii_only


def test_the_candidates_curve_lies_where_its_numbers_are():
    report = story(0.6)
    text = chart(report, NOW, metric=Metric.QUALITY, width=100, height=21)
    canvas = rows(text)
    assert len(canvas) == 21
    curve = curves(report, Metric.QUALITY, NOW)
    assert curve is not None
    low, high = value_range(curve)
    last = curve.points[-1]
    for sign, value in (("─", last.baseline), ("●", last.candidate)):
        full = max(map(len, canvas))
        found = [index for index, row in enumerate(canvas) if len(row) == full and row[-1] == sign]
        assert found, (sign, text)
        assert value is not None
        assert abs(high - found[0] * (high - low) / 20 - value) <= (high - low) / 20


def test_the_chart_names_both_versions_with_their_last_values_and_the_limit():
    report = story()
    last = {one.metric: one for one in report.readings}[Metric.QUALITY]
    text = chart(report, NOW, width=100)
    assert text.startswith("quality"), "the metric that sent it back is the one that is drawn"
    assert last.baseline is not None
    assert f"echo@1 {last.baseline:.3f}" in text
    assert f"echo@2 {last.candidate:.3f}" in text
    assert f"limit {0.95 * last.baseline:.3f}" in text


def test_the_share_row_grows_with_the_ramps_and_shows_pauses():
    report = story(1.0, state=RolloutState.CANARY, hours=4.5, pause=True)
    line = next(row for row in chart(report, NOW, width=100, ascii_only=True).split("\n") if "share |" in row)
    drawn = line.split("|")[1].strip()
    digits = [int(sign) for sign in drawn if sign.isdigit()]
    assert digits == sorted(digits)
    assert digits[0] == 1
    assert digits[-1] == round(report.rollout.share * 10)
    assert "!" in drawn


def test_a_rollout_without_answers_says_so_instead_of_drawing():
    text = sheet(fresh(), NOW)
    assert "nothing to draw yet" in text
    assert "traffic moves once b@1 is checked and warm" in text
    assert "nothing to draw yet: no answer of this rollout was measured by energy" in chart(
        story(), NOW, metric=Metric.ENERGY
    )
    root = ET.fromstring(draw(fresh(), NOW))
    assert "Nothing to draw yet" in "".join(root.itertext())


def test_the_sheet_tells_state_reason_evidence_and_history():
    text = sheet(story(), NOW, width=100)
    assert "state    rolled back" in text
    assert "because  quality is worse" in text
    assert "open: " not in text, "what is still needed is of no interest once it has ended"
    assert "no energy counter is readable on this machine" in text
    for share in ("10 %", "20 %", "30 %", "40 %"):
        assert share in text
    running = story(1.05, state=RolloutState.CANARY, hours=2.5)
    text = sheet(running, START + 9 + 2.5 * 3600, width=160)
    assert "canary, step 3 of 10, 30 % of the traffic" in text
    count = re.search(r"next     40 % in 30 min at the earliest, and after (\d+) more answers of the candidate;", text)
    assert count, text
    assert 6 <= int(count[1]) < 10, "four were seen, and failed ones do not count"
    assert "open: ~240 more answers" in text


def test_the_sheet_tells_what_validation_showed():
    checked = plain(
        story(),
        validation=Validation(
            suite="qa",
            items=40,
            baseline_score=0.8,
            candidate_score=0.7,
            lower=-0.2,
            upper=0.01,
            missing="2 timed out",
            baseline_latency_ms=120,
            candidate_latency_ms=80,
        ),
        compatibility=Compatibility(compatible=True, warnings=("smaller context",)),
        reason="newer",
    )
    text = sheet(checked, NOW, width=160)
    assert (
        "0.700 against 0.800 (difference -0.200 to +0.010) on 40 items of qa, 80 ms against 120 ms (2 timed out)"
        in text
    )
    assert "smaller context" in text
    assert "by cli: newer" in text
    text = sheet(plain(story(), validation=Validation(missing="the task has no suite")), NOW)
    assert "not measured: the task has no suite" in text


@pytest.mark.parametrize("state", list(RolloutState))
@pytest.mark.parametrize("metric", [None, *Metric])
def test_every_state_and_metric_can_be_drawn(state, metric):
    report = plain(story(hours=1.2), state=state, ending="decided" if state in FINAL else None)
    root = ET.fromstring(draw(report, NOW, metric=metric))
    words = "".join(root.itertext())
    assert "support: echo@1 → echo@2" in words
    assert (state.value.replace("_", " ")) in words
    assert sheet(report, NOW, metric=metric)


def test_the_picture_holds_curves_band_limit_ramps_and_the_decision():
    report = story()
    root = ET.fromstring(draw(report, NOW))
    found = [element.get("class") for element in root.iter()]
    assert {"baseline", "candidate", "band", "limit", "share", "end-bad"} <= set(found)
    assert found.count("share") == 4
    words = "".join(root.itertext())
    assert report.rollout.ending is not None
    assert report.rollout.ending in words
    assert "rolled back" in words
    assert "at most 2 %" in words
    for mode in ("", "prefers-color-scheme:dark"):
        assert mode in words
    for element in root.iter("{http://www.w3.org/2000/svg}path"):
        for pair in element.get("d", "").replace("M", " ").replace("L", " ").replace("Z", "").split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= 960
            assert 0 <= y <= float(root.get("height", "0"))


def test_every_text_of_the_picture_fits_its_width():
    long = plain(story(), task="task-" * 30, baseline="b" * 120 + "@1", candidate="c" * 120 + "@2", by="x" * 64)
    root = ET.fromstring(draw(long, NOW))
    for element in root.iter("{http://www.w3.org/2000/svg}text"):
        size = {"h1": 19, "h2": 13, "body": 13, "small": 11}.get((element.get("class") or "").split()[-1], 12)
        if "h1" in (element.get("class") or ""):
            size = 19
        if element.get("text-anchor") is None:
            assert float(element.get("x", "0")) + 0.8 * width_of(element.text or "", size) <= 960, element.text


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.text(max_size=60), st.text(max_size=200))
@pytest.mark.no_cover
def test_names_and_reasons_of_any_characters_stay_well_formed(task, version, ending):
    report = plain(story(hours=0.2), task=task, candidate=version, ending=ending, reason=ending)
    root = ET.fromstring(draw(report, NOW))
    assert all(
        element.tag.endswith(("svg", "title", "desc", "style", "text", "rect", "line", "path", "circle"))
        for element in root.iter()
    )
    assert sheet(report, NOW, ascii_only=True).isascii()


numbers = st.none() | st.floats(allow_nan=False, width=32) | st.just(math.inf) | st.just(-math.inf)


@pytest.mark.no_cover
@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1), numbers, numbers, numbers, numbers), max_size=12),
    st.sampled_from(list(Metric)),
)
def test_any_trace_can_be_drawn(points, metric):
    trace = tuple(
        TracePoint(
            at=START + at, share=share, metric=metric, baseline_n=1, candidate_n=1, baseline=baseline,
            candidate=candidate, lower=lower, upper=upper,
        )
        for at, share, baseline, candidate, lower, upper in points
    )  # fmt: skip
    report = replace(fresh(RolloutState.CANARY), trace=trace)
    assert "nan" not in draw(report, NOW, metric=metric).lower().replace("-nan", "nan")
    ET.fromstring(draw(report, NOW))
    chart(report, NOW, metric=metric, width=70)


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 9))
def test_ticks_are_few_and_inside(low, length, count):
    high = low + length
    found = ticks(low, high, count)
    assert len(found) <= count + 2
    slack = length * 1e-6 + 1e-12 * max(abs(low), abs(high))
    assert all(low - slack <= tick <= high + slack for tick in found)
    assert len(found) >= 1 or high == low


@pytest.mark.parametrize("length", [0.4, 1.9, 30, 600, 7200, 86_400, 7 * 86_400, 400 * 86_400])
def test_time_ticks_start_at_zero_and_stay_inside(length):
    found = time_ticks(length, 8)
    assert found[0] == 0
    assert 1 <= len(found) <= 10
    assert found[-1] <= length * 1.0001


def test_texts_are_wrapped_and_cut_to_a_width():
    text = "a reason that goes on and on " * 20
    lines = wrap(text, 13, 300, 3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert all(width_of(line, 13) <= 300 for line in lines)
    assert wrap("", 13, 300, 3) == []
    assert cut("short", 13, 300) == "short"
    assert cut("w" * 50, 13, 60).endswith("…")


def test_long_reasons_are_wrapped_beside_their_names():
    long = plain(story(), ending="because " * 60)
    lines = sheet(long, NOW, width=90).split("\n")
    start = next(index for index, line in enumerate(lines) if line.startswith("because"))
    assert lines[start + 1].startswith(" " * 9 + "because")
    assert max(len(line) for line in lines[start : start + 4]) <= 90


def test_the_legend_speaks_of_a_band_only_where_there_is_one():
    report = story()
    bare = replace(report, trace=tuple(replace(point, lower=None, upper=None) for point in report.trace))
    with_band, without = (draw(one, NOW, metric=Metric.QUALITY) for one in (report, bare))
    assert "band: holds at all times" in with_band
    assert "band: holds" not in without
    assert "no bounds yet" in without
    assert 'class="band"' not in without
