"""The chain of the audit log, exports of it, what is kept of an order, and how many refusals are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.core.audit_chain import NOTHING, Checker, Verdict, against, entry_of, fields, link
from podium.core.audit_events import entry_of_event
from podium.core.audit_file import verify_lines
from podium.core.audit_rate import BURST, EVERY_S, MOST_BUCKETS, Bucket, Buckets
from podium.core.audit_redaction import MOST_BYTES, plain, scrub, small
from podium.domain.audit import AuditEntry, Author, Head, Phase
from podium.domain.swap import Event

pytestmark = pytest.mark.requirement("OPS-3")
Row = dict[str, Any]


def entry(number: int) -> AuditEntry:
    author = Author(id="k1", name="ann", role="admin", via="cli", origin="10.0.0.1")
    return AuditEntry(
        at=float(number), phase=Phase.DONE, action=f"a{number}", author=author, what="PUT /x", subject=f"task:t{number}"
    )


def chain(count: int) -> list[Row]:
    rows, last = [], NOTHING
    for number in range(1, count + 1):
        row = link(entry(number), last)
        rows.append({**fields(row.entry), "seq": row.seq, "previous": row.previous, "hash": row.hash})
        last = Head(seq=row.seq, hash=row.hash)
    return rows


def checked(rows: list[Row]) -> Verdict:
    checker = Checker()
    for row in rows:
        if not checker.add(row):
            break
    return checker.finish()


def test_an_entry_is_the_same_after_it_was_a_row() -> None:
    assert entry_of(fields(entry(3))) == entry(3)


def test_a_chain_nobody_touched_is_whole_and_ends_with_its_head() -> None:
    rows = chain(5)
    verdict = checked(rows)
    assert (verdict.problem, verdict.rows, verdict.head) == (None, 5, Head(seq=5, hash=rows[4]["hash"]))


def swapped(rows: list[Row]) -> None:
    rows[2], rows[4] = {**rows[4], "seq": 3}, {**rows[2], "seq": 5}


def rehashed(rows: list[Row]) -> None:
    """Row 3 with another subject and a hash that fits: the next one does not follow on it."""
    made = link(replace(entry(3), subject="task:other"), Head(seq=2, hash=rows[1]["hash"]))
    rows[2] = {**fields(made.entry), "seq": 3, "previous": made.previous, "hash": made.hash}


@pytest.mark.parametrize(
    ("harm", "row", "words"),
    [
        (lambda rows: rows[2].update(subject="task:other"), 3, "row 3 was altered"),
        (lambda rows: rows[2].update(at=99.0), 3, "row 3 was altered"),
        (lambda rows: rows[2].update(status="200"), 3, "row 3 was altered"),
        (lambda rows: rows[2].update(after=b"\xff"), 3, "row 3 was altered"),
        (lambda rows: rows.pop(2), 3, "row 3 is missing"),
        (lambda rows: rows.__delitem__(slice(1, 4)), 2, "rows 2 to 4 are missing"),
        (lambda rows: rows.pop(0), 1, "row 1 is missing"),
        (swapped, 3, "it was row 5 and has been moved here"),
        (rehashed, 4, "row 3 was replaced"),
        (lambda rows: rows.insert(2, rows[1]), 3, "row 2 stands where row 3 is due"),
    ],
)
def test_the_first_wrong_row_is_named(harm: Callable[[list[Row]], object], row: int, words: str) -> None:
    rows = chain(6)
    harm(rows)
    verdict = checked(rows)
    assert verdict.row == row
    assert words in (verdict.problem or "")


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 5), st.sampled_from(sorted(fields(entry(1)))), st.text(max_size=5))
def test_no_field_of_any_row_can_be_altered_unseen(place: int, field: str, value: str) -> None:
    rows = chain(6)
    if rows[place][field] == value:
        return
    rows[place][field] = value
    assert checked(rows).row == place + 1


def test_a_cut_off_end_and_a_log_written_anew_show_against_a_kept_head() -> None:
    rows = chain(6)
    kept = Head(seq=6, hash=rows[5]["hash"])
    hashes = {row["seq"]: row["hash"] for row in rows}
    assert against(checked(rows), kept, hashes.get, "audit.head") is None
    short = checked(rows[:4])
    assert short.problem is None, "the chain alone cannot tell"
    assert "the last 2 rows are missing" in (against(short, kept, hashes.get, "audit.head") or "")
    anew = chain(3)
    said = against(checked(anew), Head(seq=3, hash="0" * 64), lambda seq: anew[seq - 1]["hash"], "what you noted")
    assert "written anew" in (said or "")
    assert against(checked(rows), Head(seq=2, hash=rows[1]["hash"]), hashes.get, "what you noted") is None


def lines(rows: list[Row], after: int = 0) -> list[str]:
    end = {"after": after, "rows": len(rows), "row": rows[-1]["seq"], "hash": rows[-1]["hash"]}
    return [json.dumps(row) + "\n" for row in rows] + [json.dumps({"end": end}) + "\n"]


def test_an_export_is_checked_anywhere_and_in_pieces() -> None:
    rows = chain(6)
    whole = verify_lines(lines(rows), Head(seq=4, hash=rows[3]["hash"]))
    assert (whole.problem, whole.rows, whole.head.seq) == (None, 6, 6)
    second = verify_lines(lines(rows[3:], after=3), Head(seq=3, hash=rows[2]["hash"]))
    assert (second.problem, second.after, second.rows) == (None, 3, 3)
    assert "another hash" in (verify_lines(lines(rows[3:], after=3), Head(seq=3, hash="f" * 64)).problem or "")
    assert "not in this file" in (verify_lines(lines(rows), Head(seq=9, hash="f" * 64)).problem or "")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda text: text[:-1], "it was cut off"),
        (lambda text: text[:2] + text[3:], "row 3 is missing"),
        (lambda text: text[1:], "says that it begins with row 1"),
        (lambda text: [*text[:-2], text[-1]], "ends with row 5, but says"),
        (lambda text: [*text, text[0]], "comes after the end"),
        (lambda text: ["{}\n", *text], "line 1 is no row"),
        (lambda text: [text[0], "not JSON\n"], "line 2 is no row"),
        (lambda text: [text[0], '{"seq": 2}\n'], "lacks a part of the chain"),
    ],
)
def test_an_export_that_was_harmed_is_refused(made: Callable[[list[str]], list[str]], words: str) -> None:
    assert words in (verify_lines(made(lines(chain(6)))).problem or "")


def test_of_an_order_names_and_numbers_stay_and_texts_only_by_length() -> None:
    asked = {
        "to": "m@2",
        "strict": True,
        "share": 0.5,
        "prompt": "what they asked",
        "api_key": "hunter2-hunter2",
        "settings": {"context": 4096, "system_prompt": "be kind", "name": "kept from nobody"},
        "reason": "because sk-abcdefghijklmnopqrstuvwx said so",
    }
    kept = plain(asked)
    assert isinstance(kept, dict)
    assert (kept["to"], kept["strict"], kept["share"], kept["prompt"]) == ("m@2", True, 0.5, "[15 characters]")
    assert kept["settings"] == {"context": 4096, "system_prompt": "[7 characters]", "name": "[16 characters]"}
    text = small(asked) or ""
    assert "because" in text
    assert not any(secret in text for secret in ("hunter2", "abcdefghij", "what they", "be kind", "nobody"))
    assert small({}) is None


def test_what_is_kept_is_bounded_whatever_is_sent() -> None:
    deep: object = "x"
    for _ in range(50):
        deep = {"to": [deep]}
    for value in (deep, {f"name{n}": "y" * 900 for n in range(500)}, {"name": "z" * 10**6}, {"to": ["a" * 200] * 40}):
        text = small(value) or ""
        assert len(text) <= MOST_BYTES
        json.loads(text)


@pytest.mark.parametrize(
    "secret",
    [
        "https://ann:pass-word-1@example.com/v1",
        "server --api-key pass-word-1 --port 1",
        "password=pass-word-1",
        "--token pass-word-1",
        "Authorization: Bearer pass-word-1",
        "eyJhbGciOiJIUzI1NiJ9.eyJwYXNzLXdvcmQtMSI6MX0.pass-word-1",
    ],
)
def test_the_forms_of_credentials_are_taken_out_of_what_stays(secret: str) -> None:
    assert "pass-word-1" not in scrub(secret)


def test_words_about_tokens_are_no_credentials() -> None:
    for text in ("a token budget for the team", "tokens per second: 17", "the secret sauce works"):
        assert scrub(text) == text


def test_refusals_are_written_at_a_bounded_rate_and_counted_beyond_it() -> None:
    bucket = Bucket(0.0)
    assert sum(bucket.take(0.0) for _ in range(10_000)) == BURST
    assert bucket.owed(0.0) == 0, "no room to say so yet"
    assert bucket.owed(EVERY_S) == 10_000 - BURST
    day = sum(bucket.take(EVERY_S + second) for second in range(86_400))
    assert day <= 86_400 / EVERY_S + 1
    buckets = Buckets()
    for number in range(10_000):
        buckets.of(f"key{number}", 0.0).take(0.0)
    assert len(buckets.each) <= MOST_BUCKETS + 1


@pytest.mark.parametrize(
    ("kind", "by", "kept"),
    [
        ("swap.completed", "autoswap", True),
        ("swap.completed", "rule:cheap", True),
        ("swap.failed", "follow", True),
        ("swap.completed", "ann (abcdefgh)", False),
        ("rollout.started", "ann (abcdefgh)", False),
        ("rollout.promoted", "ann (abcdefgh)", True),
        ("rollout.rolled_back", "rule:cheap", True),
        ("schedule.done", None, True),
        ("instance.ready", None, False),
        ("swap.warmed", "autoswap", False),
    ],
)
def test_what_nobody_ordered_at_that_moment_is_an_action_of_podium(kind: str, by: str | None, kept: bool) -> None:
    data = (("swap", "s1"), ("before", "m@1"), ("after", "m@2"), ("error", None))
    made = entry_of_event(Event(kind=kind, at=5.0, subject="code", data=data), by)
    assert (made is not None) == kept
    if made is not None:
        assert (made.phase, made.author.id, made.what) == (Phase.EVENT, "podium", kind)
        assert made.subject in ("task:code", "schedule:code")
