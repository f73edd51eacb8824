"""The chain of an export: every way to change a file shows, and it is said which row it is."""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import Any

import pytest

from podium.core.hash_chain import FINAL, HASH, MOST_PROBLEMS, PREVIOUS, ROW, START, Checker, Link, Sealer, canonical
from podium.core.pseudonyms import Pseudonyms

Rows = list[dict[str, Any]]


def chain(rows: int = 6) -> Rows:
    sealer, made = Sealer(), []
    for number in range(rows):
        row: dict[str, object] = {"task": f"t{number}", "reward": number / 7, "name": "über"}
        sealer.seal(row, final=number == rows - 1)
        made.append(row)
    return made


def check(rows: Rows, expected: str | None = None) -> tuple[str, ...]:
    checker = Checker()
    for place, row in enumerate(rows, start=1):
        contents = {name: value for name, value in row.items() if name != HASH}
        intact = hashlib.sha256(canonical(contents).encode()).hexdigest() == row[HASH]
        link = Link(row=row[ROW], previous=row[PREVIOUS], hash=row[HASH], final=row[FINAL], intact=intact)
        checker.add(place, link)
    return checker.finish(expected).problems


def resealed(row: dict[str, Any], **changes: object) -> dict[str, Any]:
    """The row changed by somebody who knows how its hash is made."""
    contents = {name: value for name, value in (row | changes).items() if name != HASH}
    return contents | {HASH: hashlib.sha256(canonical(contents).encode()).hexdigest()}


@pytest.mark.requirement("TRK-3")
def test_a_hash_covers_the_row_and_the_hash_before_it_as_documented():
    rows = chain(3)
    before = START
    for number, row in enumerate(rows, start=1):
        said = row.pop(HASH)
        assert (row[ROW], row[PREVIOUS], row[FINAL]) == (number, before, number == 3)
        text = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert hashlib.sha256(text.encode()).hexdigest() == said
        before = said


def test_a_field_that_is_written_already_gives_the_same_hash():
    shared = [{"ref": "a@1", "score": 0.1}, {"ref": '"quoted" \\ and \x00', "score": None}]
    plain, quick = Sealer(), Sealer()
    for number in range(3):
        one: dict[str, object] = {"shared": shared, "n": number}
        other = dict(one)
        text = plain.seal(one, final=False)
        assert quick.seal(other, final=False, written=("shared", canonical(shared))) == text
        assert one == other
    assert plain.last == quick.last


@pytest.mark.requirement("TRK-3")
def test_an_untouched_chain_has_no_problem_whatever_its_length():
    for length in (1, 2, 50):
        rows = chain(length)
        assert check(rows) == ()
        assert check(rows, rows[-1][HASH]) == ()


@pytest.mark.requirement("TRK-3")
@pytest.mark.parametrize("at", [0, 2, 5])
def test_an_altered_row_is_named(at):
    rows = chain()
    rows[at]["reward"] = 1.0
    assert check(rows) == (f"row {at + 1} (line {at + 1}) was altered: its hash is not that of its contents",)


@pytest.mark.requirement("TRK-3")
def test_a_row_that_was_altered_and_sealed_again_is_named_by_the_next_one():
    rows = chain()
    rows[2] = resealed(rows[2], reward=1.0)
    assert check(rows) == ("row 4 (line 4) follows on another row than the one before it: row 3 was replaced",)


@pytest.mark.requirement("TRK-3")
def test_removed_rows_are_named_wherever_they_were():
    rows = chain()
    assert check(rows[1:]) == ("row 1 is missing before line 1",)
    assert check(rows[:2] + rows[4:]) == ("rows 3 to 4 are missing before line 3",)
    assert check(rows[:-1]) == ("the file ends with row 5, which was not the last one: it was cut off",)
    assert check([]) == ("there is no row",)


@pytest.mark.requirement("TRK-3")
def test_moved_and_repeated_rows_are_named():
    rows = chain()
    assert check([rows[0], rows[2], rows[1], *rows[3:]]) == ("row 2 was moved: it stands in line 3, behind later rows",)
    assert check([rows[0], rows[3], rows[4], rows[1], rows[2], rows[5]]) == (
        "row 2 was moved: it stands in line 4, behind later rows",
        "row 3 was moved: it stands in line 5, behind later rows",
    )
    assert check([*rows[:3], rows[1], *rows[3:]]) == ("row 2 was repeated: it stands in line 4 once more",)
    assert check([*rows, rows[0]])[0] == "row 1 (line 7) comes after the row that was the last one"


@pytest.mark.requirement("TRK-3")
def test_two_exports_put_together_do_not_pass_for_one():
    rows, other = chain(), chain(9)
    rows[3] = resealed(rows[3], previous="f" * 64)
    assert "row 3 was replaced" in check(rows)[0]
    assert "row 1 (line 10) comes after the row that was the last one" in check([*other, *chain()])


@pytest.mark.requirement("TRK-3")
def test_any_single_change_of_the_order_or_number_of_rows_is_found():
    # All 720 orders of six rows but one, and all 64 subsets but the whole.
    rows = chain()
    for order in itertools.permutations(rows):
        assert bool(check(list(order))) == (list(order) != rows)
    for size in range(6):
        for part in itertools.combinations(rows, size):
            assert check(list(part)), part


def test_an_export_made_anew_shows_against_the_hash_that_was_noted():
    rows = chain()
    noted = rows[-1][HASH]
    rows[-1] = resealed(rows[-1], reward=1.0)
    assert check(rows) == ()
    assert "not " + noted in check(rows, noted)[0]


def test_many_problems_are_counted_not_kept():
    rows = chain(200)
    for row in rows:
        row["reward"] = -1.0
    checker = Checker()
    for place, row in enumerate(rows, start=1):
        checker.add(place, Link(row=row[ROW], previous=row[PREVIOUS], hash=row[HASH], final=row[FINAL], intact=False))
    verdict = checker.finish()
    assert (len(verdict.problems), verdict.more) == (MOST_PROBLEMS, 200 - MOST_PROBLEMS)
    assert not verdict.intact


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_not_is_refused_rather_than_sealed(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        Sealer().seal({"reward": value}, final=True)


# ---------------------------------------------------------------- pseudonyms


@pytest.mark.requirement("TRK-3")
def test_ids_get_the_same_name_with_the_same_key_only():
    one, same, other = Pseudonyms(b"k" * 16), Pseudonyms(b"k" * 16), Pseudonyms(b"l" * 16)
    assert one.of("request", "req-1") == same.of("request", "req-1")
    names = {one.of("request", "req-1"), one.of("request", "req-2"), one.of("decision", "req-1")}
    assert len(names | {other.of("request", "req-1")}) == 4
    assert one.key_id == same.key_id != other.key_id


def test_the_hash_is_hmac_sha_256_as_documented():
    # Computed with another implementation: openssl dgst -sha256 -hmac 0123456789abcdef
    assert Pseudonyms(b"0123456789abcdef").of("request", "req-1") == "cc8c299313012ed780465d0a590081ce"


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="15 bytes; 16 are the least"):
        Pseudonyms(b"x" * 15)
