"""When windows open: cron fields in a time zone become openings in Unix time.

Owns the reading of cron expressions, time zones, durations and points in time. Decides nothing about schedules.

The clocks change: where the hour is named (``30 2 * * *``), an opening whose local time does not exist that night comes
as soon as the clock has jumped, and one whose local time comes twice comes the first time only (the rule of Debian's
cron); each of them says so in its ``note``. Where the hour is ``*`` or ``*/N``, openings follow real time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from podium.domain.schedule import Moment, Opening, Window
from podium.errors import InvalidRequest

_LONGEST = 200
_FIELDS = "five fields: minute, hour, day of month, month, day of week, such as '30 2 * * 1-5'"
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_BEFORE_S = 3 * 3600.0
"""Iterating begins this much earlier: an hour that comes twice is read as the first one."""
_LATEST = 250_000_000_000.0
"""Near the last year a date can have."""


def zone(name: str) -> tzinfo:
    """The time zone with an IANA name. Raises ``InvalidRequest``."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidRequest(
            f"there is no time zone {name[:64]!r}; use an IANA name such as Europe/Berlin or UTC", param="timezone"
        ) from None


def kept_zone(name: str) -> tzinfo:
    """The zone of something that is on record: UTC when this machine does not know it any more."""
    try:
        return zone(name)
    except InvalidRequest:
        return UTC


def lost_zone(name: str) -> str | None:
    """What is wrong with the zone of something on record; ``None`` when it is known."""
    try:
        zone(name)
    except InvalidRequest:
        return f"this machine does not know its time zone {name[:64]!r} any more"
    return None


def duration(value: str | float) -> float:
    """Seconds from a number of them or from text such as ``90m`` or ``1h30m``. Raises ``InvalidRequest``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip().lower()
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()) or len(text) > 20:
        raise InvalidRequest(f"{text[:32]!r} is no duration; write 45m, 2h or 1h30m", param="duration")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()


def point(text: str, timezone: str) -> float:
    """Unix time of an ISO 8601 time; one without an offset is meant in ``timezone``. Raises ``InvalidRequest``."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"{text[:64]!r} is no time; write 2027-03-28T02:30 or add an offset", param="at") from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=zone(timezone))
        if _imaginary(at):
            raise InvalidRequest(f"{text} does not exist in {timezone}: the clocks go forward then", param="at")
    return at.timestamp()


def shown(at: float, timezone: str) -> str:
    """A Unix time as people of that zone write it, with its offset; in UTC when the zone is not known any more."""
    return datetime.fromtimestamp(at, kept_zone(timezone)).isoformat(sep=" ", timespec="minutes")


def of_window(window: Window) -> Callable[[float], Iterator[Opening]]:
    """The openings of a window, for ``core.schedule``. Raises ``InvalidRequest`` for one that cannot be read, or that
    never opens.
    """
    where, fields = zone(window.timezone), _fields(window.cron)
    named = None if fields.split()[1].startswith("*") else _read(*fields.split())

    def openings(after: float) -> Iterator[Opening]:
        if after >= _LATEST:
            return
        last = after
        for local in CronSim(fields, datetime.fromtimestamp(max(0.0, after - _BEFORE_S), where)):
            at = local.timestamp()
            if at > last:  # what falls into a gap comes at its end, maybe together with another
                last = at
                note = None if named is None else _note(named, local, window.timezone)
                yield Opening(opens_at=at, closes_at=at + window.duration_s, note=note)

    return openings


def of_moment(moment: Moment) -> Callable[[float], Iterator[Opening]]:
    """Its one opening."""
    opening = Opening(opens_at=moment.at, closes_at=moment.at + moment.duration_s)
    return lambda after: iter((opening,) if moment.at > after else ())


def coming(openings: Callable[[float], Iterator[Opening]], now: float, count: int = 3) -> tuple[Opening, ...]:
    """The next ones that begin after ``now``."""
    return tuple(islice(openings(now), count))


def _fields(cron: str) -> str:
    """The five fields as the iterator wants them. Raises ``InvalidRequest``."""
    parts = cron.upper().split()
    if len(parts) != 5 or len(cron) > _LONGEST:
        raise _wrong(cron, f"it needs {_FIELDS}")
    minute, hour, day, month, weekday = parts
    try:
        read = _read(*parts)
    except CronSimError as error:
        try:  # each field may be right and the date still impossible
            _read(minute, hour, "*", month, weekday)
            _read(minute, hour, day, "*", weekday)
        except CronSimError:
            raise _wrong(cron, f"{str(error).lower()}; it needs {_FIELDS}") from None
        raise _never(cron) from None
    if next(read, None) is None:
        raise _never(cron)
    if minute.startswith("*") and not hour.startswith("*"):
        # A star in the minutes would make the hour, which is named, follow real time: skipped one night, twice another.
        minute = ",".join(str(each) for each in sorted(read.minutes))
    return f"{minute} {hour} {day} {month} {weekday}"


def _read(*fields: str) -> CronSim:
    try:
        return CronSim(" ".join(fields), datetime(2000, 1, 1, tzinfo=UTC))
    except (ValueError, AssertionError) as error:  # what the parser lets slip through
        raise CronSimError("it cannot be read") from error


def _wrong(cron: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{cron[:64]!r} is no cron expression: {why}", param="cron")


def _never(cron: str) -> InvalidRequest:
    return InvalidRequest(f"a window at {cron!r} never opens: no such day exists in those months", param="cron")


def _note(read: CronSim, local: datetime, timezone: str) -> str | None:
    if local.hour not in read.hours or local.minute not in read.minutes:
        return f"the clocks go forward in {timezone} and skip its time; it opens when they have"
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        return f"the clocks go back in {timezone} and its time comes twice; it opens the first time only"
    return None


def _imaginary(at: datetime) -> bool:
    return at.astimezone(UTC).astimezone(at.tzinfo).replace(tzinfo=None) != at.replace(tzinfo=None)
