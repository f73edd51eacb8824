"""``podium judge calibrate`` as a user types it: figures, plots, what is saved, and every bad file."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podium.cli import main as entry
from podium.domain.judgment import Calibration
from podium.store import open_store

Run = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.requirement("JDG-6")
PADDING = "It is important to note that, as a matter of fact, basically and essentially, in order to be very clear, "
FACTS = (
    "the bridge opened in 1932",
    "the river rises in the hills",
    "the museum is closed on Mondays",
    "the train leaves at nine",
)
KEYS = ("n", "auc", "kappa", "ece_before", "ece_after", "judgments_per_s", "invalid")


@pytest.fixture
def judges(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``podium judge ARGUMENTS`` in this process: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["podium", "judge", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            entry.main()
        shown = capsys.readouterr()
        code = done.value.code
        return (code if isinstance(code, int) else 0), shown.out, shown.err

    return run


@pytest.fixture
def podium(judges: Run) -> Run:
    """``podium judge calibrate ARGUMENTS``."""
    return lambda *arguments: judges("calibrate", *arguments)


def padded(n: int = 80, seed: int = 1) -> list[dict[str, Any]]:
    """Sentences with and without padding; people call the padded ones worse, one time in ten the other way round."""
    rng, rows = random.Random(seed), []
    for number in range(n):
        good = rng.random() < 0.5
        text = f"{rng.choice(FACTS).capitalize()} and {rng.choice(FACTS)}, says guide {number}."
        label = float(good if rng.random() < 0.9 else not good)
        output = text if good else PADDING + text
        rows.append(row(number, "minimality", output, label, context=output))
    return rows


def row(number: object, criterion: str, output: str, human: float, **more: object) -> dict[str, Any]:
    made = {
        "id": f"{criterion}-{number}",
        "dataset": "made",
        "criterion": criterion,
        "task": "rewrite",
        "context": "What?",
    }
    return {**made, "output": output, "human": human, "human_scale": "0 or 1", **more}


def pairs(n: int = 40, seed: int = 2) -> list[dict[str, Any]]:
    """Pairs of which the one without padding is better."""
    rng, rows = random.Random(seed), []
    for number in range(n):
        texts = [f"{rng.choice(FACTS)} ({number})", f"{PADDING}{rng.choice(FACTS)} ({number})"]
        first = rng.randrange(2)
        made = row(
            f"pair-{number}", "minimality", "", first + 1, human_scale="1|2 = the better one", context=f"What {number}?"
        )
        del made["output"]
        rows.append({**made, "output_1": texts[first], "output_2": texts[1 - first]})
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(one) + "\n" for one in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def results(podium: Run, *arguments: object) -> list[dict[str, Any]]:
    code, out, err = podium(*arguments, "--json")
    assert code == 0, err
    found: list[dict[str, Any]] = json.loads(out)["results"]
    return found


def test_json_holds_the_figures_of_each_criterion_and_judge(podium: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "labels.jsonl.gz", padded())
    found = results(podium, file)
    assert [(one["criterion"], one["judge"]) for one in found] == [("minimality", "rules"), ("minimality", "stack")]
    for one in found:
        assert set(KEYS) <= set(one)
        assert one["n"] == one["outputs"] == 80
        assert one["invalid"] == 0
        assert one["judgments_per_s"] > 0
        assert 0.6 < one["auc"] <= 1.0
        low, high = one["intervals"]["auc"]
        assert low < one["auc"] < high
        assert one["informative"] is True
        assert one["ece_after"] < 0.2
        assert one["datasets"]["made"]["n"] == 80
        assert "a label passes from 0.7" in one["label_rule"]


def test_plain_and_packed_files_give_the_same_figures_every_time(podium: Run, tmp_path: Path) -> None:
    plain, packed = write(tmp_path / "a.jsonl", padded()), write(tmp_path / "b.jsonl.gz", padded())
    first, second = (results(podium, file, "--judge", "rules")[0] for file in (plain, packed))
    for one in (first, second):
        del one["judgments_per_s"]
    assert first == second


def test_pairs_are_measured_by_which_output_scores_higher(podium: Run, tmp_path: Path) -> None:
    found = results(podium, write(tmp_path / "pairs.jsonl", pairs()), "--judge", "rules")[0]
    assert found["n"] == 40
    assert found["outputs"] == 80
    assert found["pairs"]["n"] == 40
    assert found["pairs"]["right"] > 0.9
    assert found["auc"] > 0.9
    both = results(podium, write(tmp_path / "both.jsonl", padded() + pairs()), "--judge", "rules")[0]
    assert both["n"] == 120
    assert both["calibration"]["n"] == 80


def test_graded_labels_are_ranked_too_and_the_pass_rule_is_said(podium: Run, tmp_path: Path) -> None:
    rng = random.Random(3)
    rows = [
        {**one, "human": (4.0 if one["human"] else 2.0) + rng.choice((0, 0.5, 1)), "human_scale": "1..5 how concise"}
        for one in padded()
    ]
    found = results(podium, write(tmp_path / "graded.jsonl", rows), "--judge", "rules")[0]
    assert found["label_rule"] == "a label passes from 3.8 of 1 to 5 on"
    assert found["spearman"] > 0.3
    assert found["kappa_graded"] is not None
    other = results(podium, tmp_path / "graded.jsonl", "--judge", "rules", "--label-pass", "0.9")[0]
    assert other["label_rule"] == "a label passes from 4.6 of 1 to 5 on"
    assert other["positives"] < found["positives"]


def test_where_all_labels_pass_the_mark_their_median_divides_them(podium: Run, tmp_path: Path) -> None:
    rng = random.Random(4)
    rows = [{**one, "human": 0.85 + 0.1 * one["human"] + 0.05 * rng.random()} for one in padded()]
    found = results(podium, write(tmp_path / "high.jsonl", rows), "--judge", "rules")[0]
    assert "the median" in found["label_rule"]
    assert 30 <= found["positives"] <= 50


def test_outputs_to_one_and_the_same_prompt_are_measured_too(podium: Run, tmp_path: Path) -> None:
    rows = [{**one, "context": "Say where the bridge is."} for one in padded()]
    found = results(podium, write(tmp_path / "one.jsonl", rows), "--judge", "rules")[0]
    assert found["n"] == 80
    low, high = found["intervals"]["auc"]
    assert 0.5 < low < found["auc"] < high
    assert found["intervals"]["kappa"][0] < found["kappa"] < found["intervals"]["kappa"][1]


def test_people_get_a_table_and_what_it_cannot_say(podium: Run, tmp_path: Path) -> None:
    rng = random.Random(5)
    noise = [{**one, "id": f"n{number}", "human": float(rng.random() < 0.5)} for number, one in enumerate(padded())]
    code, out, _ = podium(write(tmp_path / "noise.jsonl", noise), "--judge", "rules")
    assert code == 0
    assert "no better than chance" in out
    assert "nothing is learned from it unless saved with --force" in out


def test_diagrams_are_drawn(podium: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "labels.jsonl", padded())
    assert results(podium, file, "--plot", tmp_path / "out.svg")
    drawn = ET.parse(tmp_path / "out.svg").getroot()
    texts = " ".join(drawn.itertext())
    assert "minimality, rules: AUC" in texts
    assert "minimality, stack: AUC" in texts
    assert "ECE" in texts
    pytest.importorskip("resvg_py")
    assert results(podium, file, "--judge", "rules", "--plot", tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert podium(file, "--plot", tmp_path / "out.gif")[0] == 2
    assert podium(file, "--judge", "rules", "--plot", tmp_path / "nowhere" / "out.svg")[0] == 1


def stored(home: Path) -> dict[str, Calibration]:
    async def read() -> dict[str, Calibration]:
        store = open_store(home / "podium.db")
        try:
            return {one.judge: one for one in await store.calibrations()}
        finally:
            await store.close()

    return asyncio.run(read())


def test_what_is_saved_is_applied_by_whoever_reads_it(podium: Run, tmp_path: Path, home: Path) -> None:
    from podium.core.calibration import apply
    from podium.core.graders import grade
    from podium.core.stacking import apply_stack, features_of
    from podium.domain.judgment import Judged

    file = write(tmp_path / "labels.jsonl", padded())
    assert results(podium, file)
    assert not (home / "podium.db").exists()
    code, out, _ = podium(file, "--save", "--json")
    assert code == 0
    assert [(one["judge"], one["teaches"]) for one in json.loads(out)["saved"]] == [("rules", True), ("stack", True)]
    kept = stored(home)
    assert set(kept) == {"rules", "stack"}
    assert kept["rules"].n == 80
    assert kept["rules"].at > 0
    assert kept["rules"].informative
    assert not kept["rules"].forced
    long, short = (
        grade(Judged(id="x", task="rewrite", prompt="", output=text), "minimality")
        for text in (PADDING + "The bridge opened in 1932.", "The bridge opened in 1932.")
    )
    assert long.score is not None
    assert short.score is not None
    assert apply(kept["rules"], long.score) <= apply(kept["rules"], short.score)
    assert apply_stack(kept["stack"], features_of([long])) < apply_stack(kept["stack"], features_of([short])) - 0.2
    assert podium(file, "--judge", "rules", "--save", "--force")[0] == 0
    assert stored(home)["rules"].forced
    assert podium(file, "--force")[0] == 2


def test_what_is_saved_is_listed_and_can_be_taken_back(judges: Run, home: Path, tmp_path: Path) -> None:
    assert "none is saved" in judges("calibrations")[2]
    file = write(tmp_path / "labels.jsonl", padded())
    assert judges("calibrate", str(file), "--save")[0] == 0
    listed = json.loads(judges("calibrations", "--json")[1])["calibrations"]
    assert [(one["judge"], one["criterion"], one["n"], one["teaches"]) for one in listed] == [
        ("rules", "minimality", 80, True), ("stack", "minimality", 80, True),
    ]  # fmt: skip
    assert "minimality" in judges("calibrations")[1]
    code, _, err = judges("forget", "rules", "--criterion", "safety")
    assert (code, "no calibration of rules on safety is saved" in err) == (1, True)
    assert json.loads(judges("forget", "rules", "--json")[1])["forgotten"] == ["minimality"]
    assert set(stored(home)) == {"stack"}
    assert judges("forget", "rules")[0] == 1


def test_a_judge_no_better_than_chance_is_said_so_and_teaches_only_by_force(
    podium: Run, tmp_path: Path, home: Path
) -> None:
    rng = random.Random(5)
    blind = [one | {"human": float(rng.random() < 0.5)} for one in padded()]
    file = write(tmp_path / "labels.jsonl", blind)
    code, out, _ = podium(file, "--judge", "rules", "--save")
    assert code == 0
    assert "no better than chance" in out
    assert "shown, never learned from" in out
    assert not stored(home)["rules"].informative
    code, out, _ = podium(file, "--judge", "rules", "--save", "--force")
    assert "learned from by order" in out
    assert stored(home)["rules"].forced
    [saved] = json.loads(podium(file, "--judge", "rules", "--save", "--json")[1])["saved"]
    assert saved["teaches"] is False


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (padded(3), "3 labels are too few"),
        ([{**one, "human": 1.0} for one in padded(40)], "0 of 40 labels fail"),
        ([{**one, "human": 0} for one in padded(40)], "0 of 40 labels pass"),
    ],
)
def test_labels_that_show_nothing_are_refused_with_the_reason(
    podium: Run, tmp_path: Path, rows: list[dict[str, Any]], said: str
) -> None:
    file = write(tmp_path / "few.jsonl", rows)
    code, out, _ = podium(file, "--json")
    assert code == 1
    for one in json.loads(out)["results"]:
        assert said in one["problem"]
        assert one["n"] == 0
        assert one["auc"] is None
    code, out, err = podium(file, "--save", "--plot", tmp_path / "none.svg")
    assert code == 1
    assert said in out
    assert "nothing was saved" in err
    assert "none.svg was not written" in err
    assert not (tmp_path / "none.svg").exists()


def changed(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in {**row(7, "safety", "Sure.", 1.0), **fields}.items() if value != "gone"}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (changed(human="gone"), "line 2, column human: is missing"),
        (changed(criterion="gone"), "line 2, column criterion: is missing"),
        (changed(output="gone"), "line 2, column output: is missing"),
        (changed(output="gone", output_1="a"), "line 2, column output_2: is missing"),
        (changed(id="gone"), "line 2, column id: is missing"),
        (changed(human="good"), "line 2, column human: 'good' is not a number"),
        (changed(human=None), "line 2, column human: None is not a number"),
        (changed(human=7), "line 2, column human: 7 is outside of 0 to 1"),
        (changed(human=4, human_scale="1..3 stars"), "line 2, column human: 4 is outside of 1 to 3"),
        (changed(human_scale="3..1"), "line 2, column human_scale: the scale '3..1' is empty"),
        (changed(human_scale="1|2"), "line 2, column human_scale: '1|2': the line has one output"),
        (
            changed(output="gone", output_1="a", output_2="b", human=3, human_scale="1|2"),
            "column human: 3 is neither 1 nor 2",
        ),
        (changed(output=5), "line 2, column output: 5 is not a text"),
        (changed(context=["a"]), "line 2, column context: ['a'] is not a text"),
        (changed(id="safety-0"), "line 2, column id: 'safety-0' is on line 1 already"),
        (changed(criterion=" "), "line 2, column criterion: is empty"),
        (changed(output="gone", verdicts={}), "stored verdicts"),
        (b"[1, 2]", "line 2 is not a JSON object"),
        (b'{"id": 1, ', "line 2 is not JSON"),
        (b"\xff\xfe", "line 2 is not UTF-8"),
        (b'{"id": "a", "criterion": "c", "context": "x", "output": "\\ud800", "human": 1}', "half of a surrogate pair"),
        (
            b'{"id": "a", "criterion": "c", "context": "x", "output": "o", "human": NaN}',
            "column human: nan is not a number",
        ),
        (
            b'{"id": "a", "criterion": "c", "context": "x", "output": "o", "human": 1e999}',
            "column human: inf is not a number",
        ),
        (
            b'{"id": "a", "criterion": "c", "context": "x", "output": "o", "human": 1' + b"0" * 400 + b"}",
            "is not a number",
        ),
    ],
)
def test_a_bad_line_is_named_with_its_column(podium: Run, tmp_path: Path, bad: object, said: str) -> None:
    good = json.dumps(row(0, "safety", "No.", 0.0)).encode()
    line = bad if isinstance(bad, bytes) else json.dumps(bad).encode()
    file = tmp_path / "bad.jsonl"
    file.write_bytes(good + b"\n" + line + b"\n")
    code, out, err = podium(file, "--json")
    assert code == 1
    assert out == ""
    assert said in err
    assert str(file) in err


def test_files_that_are_none(podium: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b"x" * 5000)[:-9])
    for name, said in (
        ("empty.jsonl", "has no rows"),
        ("cut.jsonl.gz", "damaged gzip"),
        ("none.jsonl", "No such file"),
        (".", "directory"),
    ):
        code, _, err = podium(tmp_path / name)
        assert code == 1
        assert said in err
    code, _, err = podium(write(tmp_path / "ok.jsonl", padded(30)), "--criterion", "safety")
    assert code == 1
    assert "no rows for safety; it has minimality" in err


def test_missing_optional_columns_and_a_boolean_label_are_fine(podium: Run, tmp_path: Path) -> None:
    rows = [{**one, "human": bool(one["human"])} for one in padded()]
    for one in rows:
        for name in ("dataset", "task", "human_scale"):
            del one[name]
    assert results(podium, write(tmp_path / "short.jsonl", rows), "--judge", "rules")[0]["n"] == 80


def test_a_criterion_of_ones_own_without_ground_says_that_nobody_scored(podium: Run, tmp_path: Path) -> None:
    rows = [row(number, "wit", f"Joke {number}", float(number % 2)) for number in range(40)]
    code, out, _ = podium(write(tmp_path / "wit.jsonl", rows), "--judge", "rules", "--json")
    found = json.loads(out)["results"][0]
    assert code == 1
    assert found["abstained"] == 40
    assert "no output got a score" in found["problem"]


def test_models_are_asked_through_the_gateway_and_stacked_with_the_rules(
    podium: Run, tmp_path: Path, home: Path
) -> None:
    """A scripted judge that marks down padding, and answers prose to one text: that is invalid, not a number."""
    script = tmp_path / "judge.json"
    answers = [
        {"match": "guide 3,|guide 3\\.", "text": "I would rather not say."},
        {"match": "important to note", "text": '{"score": 2}'},
        {"match": ".", "text": '{"score": 4}'},
    ]
    script.write_text(json.dumps({"answers": answers}))
    added = Runner().run("models", "add", "critic", "--version", "1", "--scripted", str(script))
    assert added == 0
    rows = padded(60)
    file = write(tmp_path / "labels.jsonl", rows)
    found = results(podium, file, "--judge", "critic", "--judge", "stack", "--judge", "rules")
    assert [one["judge"] for one in found] == ["rules", "critic@1", "stack"]
    critic = found[1]
    assert critic["invalid"] == 1
    assert critic["n"] == 59
    assert critic["auc"] > 0.8
    assert found[2]["n"] == 60
    assert podium(file, "--judge", "nobody@7")[0] == 1


class Runner:
    """Other commands of ``podium``, in this process."""

    def run(self, *arguments: str) -> int:
        from typer.testing import CliRunner

        return CliRunner().invoke(entry.app, list(arguments)).exit_code
