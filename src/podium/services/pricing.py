"""What an operation on a hosted model is billed: finds its price, and names the table that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from podium.core.prices import PriceTable, Quote, bill
from podium.domain.budget import Price
from podium.domain.model import ModelVersion
from podium.services.costing import Billed, Tokens

MODEL_SETTINGS = ("remote", "remote_id", "model")


class Pricing:
    """``own`` prices come before those that are listed."""

    def __init__(self, own: Mapping[str, Quote]) -> None:
        self._table = PriceTable(own)
        self.version = self._table.version
        """Names the whole table."""

    def content(self) -> str:
        """The whole table as JSON, to be kept with the record."""
        return self._table.content()

    def quote(self, version: ModelVersion) -> Quote | None:
        """What its provider asks; ``None`` for one that nobody bills."""
        host = urlsplit(version.source.location).hostname or ""
        settings = version.source.settings
        model = next((str(settings[name]) for name in MODEL_SETTINGS if settings.get(name)), version.name)
        return self._table.find(host, model, version.ref, version.name)

    def price(self, version: ModelVersion) -> Price | None:
        """The same in millionths of a dollar per million tokens, for budgets."""
        found = self.quote(version)
        return None if found is None else Price(input_per_mtok=found.input * 1e6, output_per_mtok=found.output * 1e6)

    def bill(self, version: ModelVersion, tokens: Tokens) -> Billed | None:
        """By the tokens of the cost; nothing is billed for what nobody counted."""
        quote = self.quote(version)
        if quote is None or (tokens.input is None and tokens.output is None):
            return None
        return Billed(bill(quote, tokens.input or 0, tokens.cached or 0, tokens.output or 0), self.version)
