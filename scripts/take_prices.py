"""Takes the prices of hosted services from the package ``genai-prices`` into ``src/podium/price_list/listed.json``.

For releases: ``uv run --no-project --with genai-prices python scripts/take_prices.py``. Podium does not import that package
when it runs: it takes 0.8 s and 50 MB. Only what is asked per text token is taken, for the services that Podium can call.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices import types
from genai_prices.data import providers

TARGET = Path(__file__).resolve().parent.parent / "src" / "podium" / "price_list" / "listed.json"
HOSTS = {
    "openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
    "google": "generativelanguage.googleapis.com",
    "groq": "api.groq.com",
    "openrouter": "openrouter.ai",
    "mistral": "api.mistral.ai",
    "deepseek": "api.deepseek.com",
    "together": "api.together.xyz",
    "fireworks": "api.fireworks.ai",
    "x-ai": "api.x.ai",
    "cerebras": "api.cerebras.ai",
    "moonshotai": "api.moonshot.ai",
}
"""Services with OpenAI's or Anthropic's API, as ``providers/servers.toml`` lists them."""
KEYS = {"input": "input_mtok", "output": "output_mtok", "cached": "cache_read_mtok"}
SIGNS = (
    (types.ClauseEquals, "=", "equals"),
    (types.ClauseStartsWith, "^", "starts_with"),
    (types.ClauseEndsWith, "$", "ends_with"),
    (types.ClauseContains, "*", "contains"),
    (types.ClauseRegex, "~", "regex"),
)


def clause(match: Any) -> str | list[str]:
    """One condition as a sign and its text; a list of them has to hold together."""
    if isinstance(match, types.ClauseAnd):
        return [text for part in match.and_ if isinstance(text := clause(part), str)]
    for kind, sign, name in SIGNS:
        if isinstance(match, kind):
            text = getattr(match, name)
            return sign + (text if sign == "~" else text.lower())
    raise SystemExit(f"a condition that is not known: {match!r}")


def alternatives(match: Any) -> Iterator[str | list[str]]:
    """Conditions of which one has to hold."""
    for part in match.or_ if isinstance(match, types.ClauseOr) else [match]:
        if isinstance(part, types.ClauseOr):
            yield from alternatives(part)
        else:
            yield clause(part)


def at(price: Any, tokens: int) -> float | None:
    """Dollars per million tokens for a prompt of so many."""
    if not isinstance(price, types.TieredPrices):
        return None if price is None else float(price)
    return float(next((tier.price for tier in reversed(price.tiers) if tokens > tier.start), price.base))


def figures(prices: Any, tokens: int) -> dict[str, float]:
    """The figures for a prompt of so many tokens; what is not asked is left out."""
    found = {name: at(prices.__dict__.get(key), tokens) for name, key in KEYS.items()}
    return {name: value for name, value in found.items() if value is not None}


def clock(when: time) -> str:
    """A time of day in UTC."""
    moved = datetime.combine(date(1970, 1, 2), when if when.tzinfo else when.replace(tzinfo=UTC))
    return moved.astimezone(UTC).strftime("%H:%M")


def rate(prices: Any, constraint: Any) -> dict[str, Any] | None:
    """What is asked under one condition; ``None`` where nothing is asked per token of text."""
    made: dict[str, Any] = figures(prices, 0)
    if "input" not in made and "output" not in made:
        return None
    made = {"input": 0.0, "output": 0.0} | made
    tiered = [p for p in (prices.__dict__.get(key) for key in KEYS.values()) if isinstance(p, types.TieredPrices)]
    starts = sorted({tier.start for price in tiered for tier in price.tiers})
    if starts:
        made["above"] = [{"tokens": start} | figures(prices, start + 1) for start in starts]
    if isinstance(constraint, types.StartDateConstraint):
        made["since"] = constraint.start_date.isoformat()
    elif isinstance(constraint, types.TimeOfDateConstraint):
        made["hours"] = [clock(constraint.start_time), clock(constraint.end_time)]
    return made


def models(provider: Any) -> Iterator[dict[str, Any]]:
    """Every model of a service with prices per token, first match first."""
    for model in provider.models:
        given = model.prices if isinstance(model.prices, list) else [types.ConditionalPrice(prices=model.prices)]
        rates = [made for one in given if (made := rate(one.prices, one.constraint)) is not None]
        if rates:
            yield {"id": model.id, "match": list(alternatives(model.match)), "rates": rates}


def main() -> int:
    """Write the list, one model a line."""
    release = version("genai-prices")
    parts = []
    for provider in providers:
        if provider.id in HOSTS:
            lines = [json.dumps(each, separators=(",", ":")) for each in models(provider)]
            parts.append(f'"{HOSTS[provider.id]}":[\n' + ",\n".join(lines) + "\n]")
    head = f'"source":"genai-prices {release}","unit":"USD per million tokens"'
    TARGET.write_text("{" + head + ',"hosts":{\n' + ",\n".join(parts) + "\n}}\n", encoding="utf-8")
    print(f"{TARGET}: genai-prices {release}, {TARGET.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
