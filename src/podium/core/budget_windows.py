"""When the windows of budgets begin and end: midnights, Mondays, firsts of the month in a time zone. Pure.

Windows of one period and zone follow each other without gap or overlap, whatever the clocks of that zone do: a day has
23, 24 or 25 hours. A midnight that the clocks skip is the moment they skip it, one that comes twice is the first.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, tzinfo

from podium.domain.budget import Period, Window

HOUR_S = 3600.0


def window_at(period: Period, zone: tzinfo, now: float) -> Window:
    """The window that ``now`` (Unix seconds) lies in."""
    match period:
        case Period.TOTAL:
            return Window(start=0.0, end=None)
        case Period.HOUR:
            return _hour(zone, now)
        case Period.DAY | Period.WEEK | Period.MONTH:
            return _days(period, zone, now)


def _days(period: Period, zone: tzinfo, now: float) -> Window:
    first = _first(period, datetime.fromtimestamp(now, zone).date())
    start, following = _midnight(first, zone), _after(period, first)
    while start > now:  # a midnight that came twice: between the two it is the day before again
        following, first = first, _first(period, first - timedelta(days=1))
        start = _midnight(first, zone)
    end = _midnight(following, zone)
    while end <= now:  # a day that the zone skipped
        following = _after(period, following)
        end = _midnight(following, zone)
    return Window(start=start, end=end)


def _first(period: Period, day: date) -> date:
    if period is Period.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period is Period.MONTH else day


def _after(period: Period, first: date) -> date:
    if period is Period.MONTH:
        return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=7 if period is Period.WEEK else 1)


def _midnight(day: date, zone: tzinfo) -> float:
    return datetime.combine(day, time(0), zone).timestamp()


def _hour(zone: tzinfo, now: float) -> Window:
    """The hour on the zone's clock; where the clocks change by part of an hour, the hours around that are cut there."""
    offset = _offset(zone, now)
    start = (now + offset) // HOUR_S * HOUR_S - offset
    end = start + HOUR_S
    if _fraction(zone, start) != offset % HOUR_S:
        start = _change(zone, start, now)
    if _fraction(zone, end - 1) != offset % HOUR_S:
        end = _change(zone, now, end)
    return Window(start=start, end=end)


def _change(zone: tzinfo, before: float, after: float) -> float:
    """The whole second at which the part of an hour changes, known to be in ``(before, after]``."""
    low, high = int(before), int(-(-after // 1))
    wanted = _fraction(zone, high)
    while high - low > 1:
        middle = (low + high) // 2
        if _fraction(zone, middle) == wanted:
            high = middle
        else:
            low = middle
    return float(high)


def _fraction(zone: tzinfo, at: float) -> float:
    return _offset(zone, at) % HOUR_S


def _offset(zone: tzinfo, at: float) -> float:
    found = datetime.fromtimestamp(at, zone).utcoffset()
    return 0.0 if found is None else found.total_seconds()
