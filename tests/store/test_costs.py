"""What things cost on record: operations, charges, sums by the hour, price tables, and their bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger_samples import attempt
from podium.domain.cost import METERED, Cause, Cost, Method, Operation, SpentKey, SpentRow
from podium.domain.unmeasured import NO_GPU, REASONS
from podium.ports import Batch
from podium.store import open_store
from podium.store.cost_packing import pack_cost, unpack_cost

FULL = Cost(
    wall_ms=100.0,
    cpu_ms=5.0,
    peak_memory_mb=90.0,
    mean_memory_mb=80.0,
    energy_mwh=0.25,
    energy_method=Method.ESTIMATED,
    input_tokens=7,
    cached_tokens=3,
    output_tokens=9,
    tokens_per_s=30.0,
    price_microusd=12,
    price_table="2026-01",
    estimated=("input_tokens", "cpu_ms"),
    cause=Cause.JUDGE,
    charged_to="req_1",
    missing=(("gpu_ms", NO_GPU), ("own", "a reason nobody foresaw")),
)


def operation(name: str, at: float = 10.0, **cost: object) -> Operation:
    return Operation(id=name, at=at, task="t", ref="m@1", success=True, cost=Cost(wall_ms=1.0, **cost), request_id="r")


@pytest.mark.requirement("COST-1")
def test_a_cost_comes_back_from_its_row_as_it_was_with_the_method_of_every_figure() -> None:
    kept = unpack_cost(pack_cost(FULL))
    assert (sorted(kept.estimated), kept.missing, kept.cause) == (["cpu_ms", "input_tokens"], FULL.missing, Cause.JUDGE)
    assert all(kept.method(name) is FULL.method(name) for name in METERED)
    assert [kept.method(name).value for name in ("cpu_ms", "gpu_ms", "energy_mwh", "output_tokens")] == [
        "estimated", "unavailable", "estimated", "measured",
    ]  # fmt: skip


@pytest.mark.requirement("COST-4")
def test_known_reasons_take_a_byte_and_not_a_sentence() -> None:
    all_missing = Cost(wall_ms=1.5, missing=tuple(REASONS[:6]))
    assert len(pack_cost(all_missing)) < 50
    assert len(pack_cost(FULL)) < 150


def test_a_row_of_an_earlier_version_is_read_too() -> None:
    import msgspec

    old = msgspec.msgpack.encode((1.0, 2.0, None, 0.5, "measured", 3, 4, None, [("cpu_ms", "why")]))
    kept = unpack_cost(old)
    assert (kept.cpu_ms, kept.energy_method, kept.mean_memory_mb, kept.missing) == (
        2.0, Method.MEASURED, None, (("cpu_ms", "why"),),
    )  # fmt: skip


async def test_operations_and_attempts_are_found_by_what_they_are_charged_to(tmp_path: Path) -> None:
    store = open_store(tmp_path / "p.db")
    judged = operation("op1", cause=Cause.JUDGE, charged_to="r")
    tried, ended = attempt(1, cost=Cost(wall_ms=5.0, cause=Cause.CANARY, charged_to="rol_1"))
    batch = Batch(decisions=[(tried, ended)], operations=[judged])
    await store.write_batch(batch)
    await store.write_batch(batch)
    attempts, operations = await store.charged("rol_1")
    assert [(one.decision_id, one.cost.cause) for one in attempts] == [(tried.id, Cause.CANARY)]
    assert operations == ()
    assert await store.charged("r") == ((), (judged,))
    assert await store.operations_about("r") == (judged,)
    assert await store.prune(0, 0.0) == 1
    assert await store.charged("rol_1") == ((), ())
    assert (await store.counts())["charges"] == 0
    await store.close()


async def test_sums_are_whole_rows_so_that_writing_them_twice_changes_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "p.db")
    key = SpentKey(5, "t", "m@1", Cause.REQUEST)
    row = SpentRow(operations=3, wall_ms=9.0, peak_memory_mb=None, price_microusd=4, price_samples=1)
    for _ in range(2):
        await store.write_batch(Batch(spending={key: row, SpentKey(7, "u", "m@1", Cause.JUDGE): row}))
    assert await store.spending(0, 7) == {key: row}
    assert list(await store.spending(task="u")) == [SpentKey(7, "u", "m@1", Cause.JUDGE)]
    assert (await store.load()).spending.keys() == {key, SpentKey(7, "u", "m@1", Cause.JUDGE)}
    await store.close()


@pytest.mark.requirement("COST-4")
async def test_operations_and_sums_are_bounded_by_caps_and_age(tmp_path: Path) -> None:
    store = open_store(tmp_path / "p.db")
    await store.write_batch(Batch(operations=[operation(f"o{i}", at=float(i)) for i in range(10)]))
    rows = {SpentKey(hour, "t", "m@1", Cause.REQUEST): SpentRow(operations=1) for hour in range(10)}
    await store.write_batch(Batch(spending=rows))
    assert await store.prune_costs(8, 6, older_than=4.0) == 4 + 4
    assert [one.id for one in await store.operations_about("r")] == ["o4", "o5", "o6", "o7", "o8", "o9"]
    assert [key.hour for key in await store.spending()] == [4, 5, 6, 7, 8, 9]
    assert await store.prune_costs(2, 6, older_than=0.0) == 4
    await store.close()


async def test_a_price_table_is_kept_as_it_was_first_used(tmp_path: Path) -> None:
    store = open_store(tmp_path / "p.db")
    await store.keep_price_table("2026-01", "{}", 1.0)
    await store.keep_price_table("2026-01", '{"other": 1}', 2.0)
    assert await store.price_table("2026-01") == "{}"
    assert await store.price_table("2026-02") is None
    await store.close()
