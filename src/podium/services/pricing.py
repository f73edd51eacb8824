"""What an operation on a hosted model is billed: finds its price, and names the table that it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from podium.core.prices import PriceList, PriceTable, Quote, bill
from podium.domain.budget import Price
from podium.domain.model import ModelVersion, Source
from podium.services.costing import Billed, Tokens

MODEL_SETTINGS = ("remote", "remote_id", "model")


class Pricing:
    """``own`` prices come before those that are ``listed``. ``now`` is the Unix time: prices change by day and hour."""

    def __init__(self, own: Mapping[str, Quote], listed: PriceList, now: Callable[[], float]) -> None:
        self._table = PriceTable(own, listed)
        self._now = now
        self._places: dict[str, tuple[Source, str, str]] = {}
        """Source, host and model by version."""
        self.version = self._table.version
        """Names the whole table."""

    def content(self) -> str:
        """The whole table as JSON, to be kept with the record."""
        return self._table.content()

    def quote(self, version: ModelVersion) -> Quote | None:
        """What its provider asks; ``None`` for one that nobody bills."""
        ref, source = version.ref, version.source
        known = self._places.get(ref)
        if known is None or known[0] is not source:
            settings = source.settings
            model = next((str(settings[name]) for name in MODEL_SETTINGS if settings.get(name)), version.name)
            known = self._places[ref] = (source, urlsplit(source.location).hostname or "", model)
        _, host, model = known
        return self._table.find(host, model, ref, version.name, at=self._now())

    def price(self, version: ModelVersion) -> Price | None:
        """The same in millionths of a dollar per million tokens, for budgets."""
        found = self.quote(version)
        if found is None:
            return None
        above = tuple((each.tokens, each.input * 1e6, each.output * 1e6) for each in found.above)
        return Price(input_per_mtok=found.input * 1e6, output_per_mtok=found.output * 1e6, above=above)

    def bill(self, version: ModelVersion, tokens: Tokens) -> Billed | None:
        """By the tokens of the cost; nothing is billed for what nobody counted."""
        quote = self.quote(version)
        if quote is None or (tokens.input is None and tokens.output is None):
            return None
        return Billed(bill(quote, tokens.input or 0, tokens.cached or 0, tokens.output or 0), self.version)
