"""How figures look to people: units chosen to fit, three digits, a dash for what nobody measured. Pure.

Every function is a filter of the templates under its own name. The dash is an em dash with words for a screen reader.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from markupsafe import Markup

DASH = Markup('<span class="none"><span aria-hidden="true">—</span><span class="sr">not measured</span></span>')
_SPACE = "\u202f"
_COUNT = ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))


def digits(value: float) -> str:
    """At most three significant digits, thousands apart: ``0.0123``, ``1.24``, ``48``, ``1,234``."""
    size = abs(value)
    if size >= 100 or size == 0:
        return f"{value:,.0f}"
    if size < 0.001:
        return f"{value:.1e}"
    places = max(0, 2 - math.floor(math.log10(size)))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if places else text


def _with(value: float, unit: str) -> str:
    return f"{digits(value)}{_SPACE}{unit}"


def count(value: float | None) -> str:
    """``12``, ``4,812``, ``48.1 k``, ``1.2 M``."""
    if value is None:
        return DASH
    for least, size, unit in _COUNT:
        if abs(value) >= least:
            return _with(value / size, unit)
    return f"{value:,.0f}" if float(value).is_integer() else digits(value)


def number(value: float | None, unit: str = "") -> str:
    """Three digits and the unit."""
    return DASH if value is None else _with(value, unit) if unit else digits(value)


def percent(value: float | None, places: int | None = None) -> str:
    """A share in [0, 1] as per cent; ``places`` decimals, by default enough to tell it from 0 and 100."""
    if value is None:
        return DASH
    hundredths = value * 100
    if places is None:
        near = min(hundredths, 100 - hundredths)
        places = 0 if near <= 0 or near >= 5 else 1
    return f"{hundredths:.{places}f}{_SPACE}%"


def ms(value: float | None) -> str:
    """Milliseconds as µs, ms, s, min or h."""
    if value is None:
        return DASH
    if value < 1:
        return _with(value * 1000, "µs")
    return _with(value, "ms") if value < 1000 else seconds(value / 1000)


def seconds(value: float | None) -> str:
    """Seconds as ms, s, min, h or days."""
    if value is None:
        return DASH
    if value < 1:
        return _with(value * 1000, "ms") if value else f"0{_SPACE}s"
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if value >= 2 * size:
            return _with(value / size, unit)
    return _with(value, "s")


def mb(value: float | None) -> str:
    """MiB as MB or GB."""
    return DASH if value is None else _with(value / 1024, "GB") if value >= 1024 else _with(value, "MB")


def mwh(value: float | None) -> str:
    """Milliwatt hours as µWh, mWh, Wh or kWh."""
    if value is None:
        return DASH
    for size, unit in ((1e6, "kWh"), (1e3, "Wh"), (1.0, "mWh")):
        if value >= size:
            return _with(value / size, unit)
    return _with(value * 1000, "µWh") if value else f"0{_SPACE}mWh"


def usd(value: float | None) -> str:
    """Dollars; parts of a cent keep three digits."""
    if value is None:
        return DASH
    return f"${value:,.2f}" if value >= 1 or value == 0 else f"${digits(value)}"


def score(value: float | None) -> str:
    """A quality in [0, 1], two decimals."""
    return DASH if value is None else f"{value:.2f}"


def between(low: float | None, high: float | None, places: int = 2) -> str:
    """An interval, its ends joined by a dash."""
    return DASH if low is None or high is None else f"{low:.{places}f}\u2009\u2013\u2009{high:.{places}f}"


def when(at: float | None) -> Markup | str:
    """A point in time: shown as ``HH:MM:SS`` in UTC, and by the browser as how long ago, in its own time zone."""
    if at is None:
        return DASH
    moment = datetime.fromtimestamp(at, UTC)
    return Markup('<time datetime="{}" data-ago>{}</time>').format(
        moment.isoformat(timespec="seconds"), moment.strftime("%Y-%m-%d %H:%M:%S")
    )


def plural(value: float, one: str, many: str = "") -> str:
    """``1 request``, ``2 requests``."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def words(items: Sequence[object] | None, most: int = 6) -> str:
    """``a, b and c``; of a long list the first and how many more."""
    texts = [str(item) for item in items or ()]
    if len(texts) > most:
        return ", ".join(texts[: most - 1]) + f" and {len(texts) - most + 1} more"
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)


def ref(name: str | None) -> Markup | str:
    """``name@version`` that may break after the name."""
    if not name:
        return DASH
    base, mark, version = name.partition("@")
    return Markup('<span class="ref">{}<wbr><span class="ver">{}{}</span></span>').format(base, mark, version)


def said(value: object, name: str = "") -> str:
    """A value of an event in words; the end of its ``name`` tells the unit."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, (int, float)):
        for end, shown in _UNITS.items():
            if name.endswith(end):
                return shown(value)
        return digits(value)
    return str(value)


def titled(name: str) -> str:
    """The name of a field in words, without its unit."""
    for end in _UNITS:
        name = name.removesuffix(end)
    return name.replace("_", " ")


_UNITS: Mapping[str, Callable[[float | None], str]] = {"_ms": ms, "_s": seconds, "_mb": mb, "_mwh": mwh}
FILTERS: Mapping[str, Callable[..., str]] = {
    name.__name__: name
    for name in (
        count, number, percent, ms, seconds, mb, mwh, usd, score, between, when, plural, words, ref, said, titled,
    )
}  # fmt: skip
