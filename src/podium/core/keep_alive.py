"""Reading ``keep_alive``, how long an idle model stays in memory, in every form Ollama accepts. Pure.

Owns the grammar. Must not know what the pool does with it; ``null`` and a missing field mean "the default" and are
the caller's to handle.

Sources: ``Duration.UnmarshalJSON`` in ``api/types.go`` of github.com/ollama/ollama (a JSON number is seconds,
fractions count, anything negative is for ever, a string goes through Go's parser, everything else is refused) and
``ParseDuration`` in ``src/time/format.go`` of github.com/golang/go (the grammar, the units, 64-bit nanoseconds).

One thing is defined here that Go leaves open: a number of seconds too large for 64-bit nanoseconds (292 years)
means for ever.
"""

from __future__ import annotations

import math
import re

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # Greek letter mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_LIMIT_NS = 2**63
_INT_DIGITS, _FRACTION_DIGITS = 19, 18
"""More digits than these do not fit (whole part) or do not count (fraction)."""
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_HOW = 'give a number of seconds (300), a duration such as "5m", "1h30m" or "300ms", or -1 to keep it loaded'
_SHOWN = 40


def parse_keep_alive(value: object) -> float:
    """Seconds to stay loaded: 0 unloads after this request, ``math.inf`` keeps the model for ever.

    ``value`` is what the JSON decoder gave: a number of seconds or a string in Go's duration grammar (``"5m"``,
    ``"1h30m"``, ``"300ms"``, ``"1.5h"``, ``"+5s"``, ``"0"``). Negative values, of either kind, mean for ever. Whole
    nanoseconds count, the rest is cut off. Raises ``ValueError`` with a message for the user for anything else:
    no unit, an unknown unit (days do not exist), an empty string, NaN, infinity, true, false, null, lists, objects.
    """
    if isinstance(value, str):
        return _go_duration(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        kind = {bool: "true or false", type(None): "null", list: "a list", dict: "an object"}.get(type(value))
        raise ValueError(f"keep_alive cannot be {kind or type(value).__name__}: {_HOW}")  # noqa: TRY004 - one kind of error for bad input
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"keep_alive is not a finite number: {_HOW}")
    if value < 0 or value >= _LIMIT_NS // 1_000_000_000:
        return math.inf
    return int(value * 1e9) / 1e9


def _go_duration(text: str) -> float:
    negative = text.startswith("-")
    rest = text[1:] if text[:1] in {"+", "-"} else text
    if rest == "0":
        return 0.0
    if not rest:
        raise _wrong(text, "is empty" if not text else "has no number")
    total = at = 0
    while at < len(rest):
        part = _PART.match(rest, at)
        assert part is not None  # every group may be empty
        total += _part_ns(text, *part.groups(""))
        if total > _LIMIT_NS - (not negative):
            raise _wrong(text, "is longer than 292 years")
        at = part.end()
    if negative:
        return math.inf if total else 0.0
    return total / 1e9


def _part_ns(text: str, whole: str, fraction: str, unit: str) -> int:
    if not whole and not fraction:
        raise _wrong(text, "is not a number followed by a unit")
    if not unit:
        raise _wrong(text, "has no unit (ns, us, ms, s, m or h); without quotes it would be seconds")
    size = _UNITS_NS.get(unit)
    if size is None:
        raise _wrong(text, f"has the unit {_short(unit)}, known are ns, us, ms, s, m and h")
    digits = whole.lstrip("0")
    if len(digits) > _INT_DIGITS:
        raise _wrong(text, "is longer than 292 years")
    kept = fraction[:_FRACTION_DIGITS]
    # The fraction in floats, cut off to the nanosecond, as Go does it.
    return size * int(digits or "0") + int(float(kept or "0") * (size / 10.0 ** len(kept)))


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _wrong(text: str, problem: str) -> ValueError:
    return ValueError(f"keep_alive {_short(text)} {problem}: {_HOW}")
