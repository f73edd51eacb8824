"""What a row of the training export holds, that it is read in pieces, and what is not in it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from ledger_samples import attempt, choice
from podium.core.hash_chain import Checker
from podium.core.pseudonyms import Pseudonyms
from podium.datasets.export_jsonl import link_of
from podium.datasets.export_parquet import COLUMNS
from podium.domain.cost import Cause, Cost, Method
from podium.domain.decision import Feedback
from podium.errors import NotFound, Overloaded
from podium.ports import Batch, Window
from podium.services.export import SCHEMA, Exporter, Exports, sealed
from podium.store import SqliteStore, engine, open_store, schema
from podium.store.exporting import RecordReader

KEY = b"k" * 32
pytestmark = pytest.mark.requirement("TRK-3")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = open_store(tmp_path / "podium.db")
    yield opened
    await opened.close()


def rows_of(store: SqliteStore, window: Window | None = None) -> list[dict[str, Any]]:
    with RecordReader(store.path) as record:
        asked = window or Window()
        attempts = record.attempts(asked, record.extent(asked))
        return [json.loads(one.line) for one in sealed(attempts, Exporter(Pseudonyms(KEY)))]


def said(number: int, score: float | None, source: str = "user", **other: Any) -> Feedback:
    values = {"task": "code", "ref": "qwen2.5-coder@0", "at": 1.0, "source": source, **other}
    return Feedback(request_id=f"req-{number}", decision_id=f"dec-{number}", score=score, **values)


async def test_a_row_holds_state_choice_propensity_outcome_reward_and_cost(store: SqliteStore) -> None:
    cost = Cost(wall_ms=90.0, cpu_ms=4.0, gpu_ms=2.5, mean_memory_mb=11.0, energy_mwh=0.25, energy_method=Method.ESTIMATED,
                input_tokens=7, price_microusd=12, price_table="2026-11", estimated=("cpu_ms",), cause=Cause.RETRY,
                missing=(("peak_memory_mb", "it ended too soon"),))  # fmt: skip
    picked = dataclasses.replace(choice(), alternatives=("qwen2.5-coder@1",), exploration=0.1, propensity=0.9)
    decision, outcome = attempt(1, picked, cost=cost)
    decision = dataclasses.replace(decision, propensity=0.9, classified_by="signals", task_confidence=0.6)
    await store.write_batch(Batch(decisions=[(decision, outcome)], feedback=[said(1, 1.0), said(1, 0.5, "judge")]))
    (row,) = rows_of(store)
    wanted = {
        "schema": SCHEMA,
        "row": 1,
        "final": True,
        "task": "code",
        "classified_by": "signals",
        "task_confidence": 0.6,
        "strategy": "balanced",
        "confidence": 0.7,
        "expected_latency_ms": 12.5,
        "expected_quality": None,
        "candidates": ["qwen2.5-coder@0", "qwen2.5-coder@1"],
        "chosen": "qwen2.5-coder@0",
        "propensity": 0.9,
        "exploration": 0.1,
        "evaluable": True,
        "fallbacks": ["qwen2.5-coder@1"],
        "parent": None,
        "success": True,
        "error": None,
        "latency_ms": 100.0,
        "reward": 0.75,
        "rewards": {"user": 1.0, "judge": 0.5},
        "judgments": [],
        "wall_ms": 90.0,
        "peak_memory_mb": None,
        "energy_mwh": 0.25,
        "energy_method": "estimated",
        "gpu_ms": 2.5,
        "mean_memory_mb": 11.0,
        "price_microusd": 12,
        "price_table": "2026-11",
        "estimated": ["cpu_ms"],
        "cause": "retry",
        "input_tokens": 7,
        "output_tokens": None,
        "unmeasured": {"peak_memory_mb": "it ended too soon"},
    }
    assert {name: row[name] for name in wanted} == wanted
    assert set(row) == set(COLUMNS.names), "a column that Parquet does not know would be lost there"
    first, *_, dropped = row["considered"]
    assert (first["ref"], first["score"]) == ("qwen2.5-coder@0", picked.candidates[0].score)
    assert first["terms"] == dict(picked.candidates[0].terms)
    assert dropped["dropped"] == "context 2048 is below the 4096 needed"


async def test_ids_are_pseudonyms_that_still_join_and_words_stay_out(store: SqliteStore) -> None:
    first, second = attempt(1), attempt(2, request="req-1")
    second = (dataclasses.replace(second[0], parent="dec-1"), second[1])
    private = said(1, 0.0, comment="call me at 555-0100", label="my doctor", correction_hash="c0ffee" * 10)
    await store.write_batch(Batch(decisions=[first, second], feedback=[private]))
    rows = rows_of(store)
    assert rows[0]["request"] == rows[1]["request"]
    assert rows[1]["parent"] == rows[0]["id"] != rows[1]["id"]
    assert [row["evaluable"] for row in rows] == [True, False]
    text = json.dumps(rows)
    for secret in ("req-1", "dec-1", "555-0100", "my doctor", "c0ffee", KEY.hex(), KEY.decode()):
        assert secret not in text, secret
    other = Exporter(Pseudonyms(b"l" * 32))
    with RecordReader(store.path) as record:
        renamed = [one.row for one in sealed(record.attempts(Window(), record.extent(Window())), other)]
    assert renamed[0]["request"] != rows[0]["request"]
    assert renamed[0]["key"] != rows[0]["key"]


async def test_judgments_stand_apart_from_rewards_each_with_its_judge(store: SqliteStore) -> None:
    await store.write_batch(Batch(decisions=[attempt(1)], feedback=[said(1, 0.2)]))
    kept = {
        "request_id": "req-1", "decision_id": "dec-1", "task": "code", "ref": "qwen2.5-coder@0", "reason": "secret words",
        "features": "{}", "at": 2.0, "probability": 0.25, "used": True, "calibrated": True, "method": "token probabilities",
    }  # fmt: skip
    writing = engine.writing(store.path)
    with writing.begin() as connection:
        for place, (judge, raw, score, invalid) in enumerate(
            [("judge@1", 0.9, 0.7, None), ("rules", None, None, "no ground")]
        ):
            content = {"id": f"j{place}", "criterion": "relevance", "judge": judge, "raw": raw, "score": score}
            connection.execute(insert(schema.judgments).values(**kept, **content, invalid=invalid, sd=0.1))
    writing.dispose()
    (row,) = rows_of(store)
    assert row["rewards"] == {"user": 0.2}
    assert [(one["judge"], one["raw"], one["score"], one["valid"]) for one in row["judgments"]] == [
        ("judge@1", 0.9, 0.7, True),
        ("rules", None, None, False),
    ]
    assert row["judgments"][0]["probability"] == 0.25
    assert "secret words" not in json.dumps(row)


async def test_what_is_no_number_is_null_not_nan(store: SqliteStore) -> None:
    await store.write_batch(Batch(decisions=[attempt(1, ttft_ms=float("nan"))]))
    assert rows_of(store)[0]["ttft_ms"] is None


async def test_a_window_of_time_and_task_is_a_chain_of_its_own(store: SqliteStore) -> None:
    pairs = [attempt(number, choice(task="ab"[number % 2]), at=float(number)) for number in range(2_000)]
    await store.write_batch(Batch(decisions=pairs))
    rows = rows_of(store, Window(since=500.0, until=1_500.0, task="b"))
    assert [row["at"] for row in rows] == [float(number) for number in range(501, 1_500, 2)]
    checker = Checker()
    for place, row in enumerate(rows, start=1):
        checker.add(place, link_of(row))
    assert checker.finish().intact
    assert rows_of(store, Window(task="c")) == []


async def test_gaps_of_pruned_rows_and_rows_recorded_meanwhile_change_nothing(store: SqliteStore) -> None:
    await store.write_batch(Batch(decisions=[attempt(number, at=float(number)) for number in range(1_200)]))
    await store.prune(700, 0.0)
    with RecordReader(store.path) as record:
        within = record.extent(Window())
        assert within.attempts == 700
        attempts = record.attempts(Window(), within)
        first = next(attempts)
        await store.write_batch(Batch(decisions=[attempt(number) for number in range(2_000, 2_300)]))
        rest = list(attempts)
    assert len([first, *rest]) == 700
    assert rest[-1].decision.id == "dec-1199"


async def test_the_stream_of_a_gateway_is_the_same_rows_and_few_run_at_once(store: SqliteStore) -> None:
    await store.write_batch(Batch(decisions=[attempt(number) for number in range(900)]))
    exports = Exports(store, lambda: KEY)
    pieces = [piece async for piece in await exports.stream(Window())]
    assert len(pieces) > 3
    assert [json.loads(line) for line in b"".join(pieces).splitlines()] == rows_of(store)
    running = [await exports.stream(Window()) for _ in range(2)]
    for one in running:
        await anext(one)
    with pytest.raises(Overloaded, match="2 exports are under way"):
        await exports.stream(Window())
    for one in running:
        await one.aclose()
    assert len([piece async for piece in await exports.stream(Window())]) == len(pieces)
    with pytest.raises(NotFound, match="nothing to export"):
        await exports.stream(Window(task="none"))
