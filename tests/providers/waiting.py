"""Waiting for what other processes do: polls with a deadline, never a plain sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(check: Callable[[], T], within_s: float = 10.0) -> T:
    """The first true value of ``check``; fails when there is none in time."""
    deadline = time.monotonic() + within_s
    while True:
        if value := check():
            return value
        assert time.monotonic() < deadline, f"not within {within_s} s: {check}"
        time.sleep(0.005)


async def until_async(check: Callable[[], T], within_s: float = 10.0) -> T:
    """The same on a running loop."""
    return await asyncio.to_thread(until, check, within_s)
