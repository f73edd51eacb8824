"""The list of prices that comes with Podium, as ``scripts/take_prices.py`` took it from ``genai-prices``. Only reads it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from podium.core.prices import PriceList


@cache
def price_list() -> PriceList:
    """Read once; some 200 kB."""
    return msgspec.json.decode((Path(__file__).parent / "listed.json").read_bytes(), type=PriceList)
