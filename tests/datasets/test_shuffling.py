"""Sorting beyond memory gives what sorting in memory gives, for any sizes, keys and memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.datasets.shuffling import Sorter

RECORD = np.dtype([("key", "u8"), ("number", "i8")])


def records(keys: list[int], start: int):
    made = np.empty(len(keys), dtype=RECORD)
    made["key"], made["number"] = keys, np.arange(start, start + len(keys))
    return made


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1]), max_size=40), max_size=12),
    st.integers(16, 2000),
    st.integers(0, 600),
)
def test_any_memory_gives_the_stable_order_of_the_keys(parts, memory, slack):
    count = sum(map(len, parts))
    with Sorter(RECORD, count + slack, memory) as sorter:
        start = 0
        for part in parts:
            sorter.add(records(part, start))
            start += len(part)
        found = [np.concatenate([np.empty(0, RECORD), *sorter.sorted()]) for _ in range(2)]
    keys = np.array([key for part in parts for key in part], dtype=np.uint64)
    for one in found:
        assert np.array_equal(one["number"], np.argsort(keys, kind="stable"))
        assert np.array_equal(one["key"], np.sort(keys))


@pytest.mark.parametrize("rows", [10_000, 200_000])
def test_no_bucket_is_much_larger_than_the_memory(rows):
    # Seed 1; random keys: a bucket holds at most a few standard deviations more than its part.
    memory = 64_000
    with Sorter(RECORD, rows, memory) as sorter:
        keys = np.random.default_rng(1).integers(0, 2**64, rows, dtype=np.uint64)
        for start in range(0, rows, 1000):
            sorter.add(records(keys[start : start + 1000].tolist(), start))
        largest = max(part.nbytes for part in sorter.sorted())
    assert largest < 1.25 * memory
