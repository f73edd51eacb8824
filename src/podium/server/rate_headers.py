"""What is left of a key's limits, in headers: OpenAI's names, or Anthropic's on its paths. Computes nothing else.

Names and forms as OpenAI (https://platform.openai.com/docs/guides/rate-limits) and Anthropic
(https://docs.anthropic.com/en/api/rate-limits) document them: there ``reset`` is the time until the limit is whole again, as
a duration or as a moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from podium.core.limits import Bucket
from podium.services.limiting import Grant

Headers = tuple[tuple[bytes, bytes], ...]
_OPENAI = {
    kind: tuple(b"x-ratelimit-%b-%b" % (what, kind) for what in (b"limit", b"remaining", b"reset"))
    for kind in (b"requests", b"tokens")
}
_ANTHROPIC = {
    kind: tuple(b"anthropic-ratelimit-%b-%b" % (kind, what) for what in (b"limit", b"remaining", b"reset"))
    for kind in (b"requests", b"tokens")
}


def openai_headers(grant: Grant) -> Headers:
    """``x-ratelimit-*`` of the limits there are, as they stand now."""
    return _headers(grant, _OPENAI, duration)


def anthropic_headers(grant: Grant) -> Headers:
    """``anthropic-ratelimit-*`` likewise."""
    return _headers(grant, _ANTHROPIC, _moment)


def _headers(grant: Grant, names: dict[bytes, tuple[bytes, ...]], reset: Callable[[float], bytes]) -> Headers:
    meter, now = grant.meter, grant.now()
    found: Headers = ()
    if meter.requests is not None:
        found = _three(names[b"requests"], meter.requests, now, reset)
    if meter.tokens is not None:
        found += _three(names[b"tokens"], meter.tokens, now, reset)
    return found


def _three(names: tuple[bytes, ...], bucket: Bucket, now: float, reset: Callable[[float], bytes]) -> Headers:
    left = bucket.look(now)
    return (
        (names[0], b"%d" % bucket.capacity),
        (names[1], b"%d" % left if left > 0.0 else b"0"),
        (names[2], reset(bucket.full_in_s())),
    )


def duration(seconds: float) -> bytes:
    """``6m0s``, ``1.5s``, ``20ms``: as Go prints durations and OpenAI's headers have them."""
    if seconds < 1.0:
        return b"%dms" % (seconds * 1000.0) if seconds > 0.0 else b"0s"
    if seconds < 60.0:
        return b"%.3gs" % seconds
    minutes, rest = divmod(int(seconds + 0.999), 60)
    if minutes < 60:
        return b"%dm%ds" % (minutes, rest)
    return b"%dh%dm%ds" % (*divmod(minutes, 60), rest)


def _moment(seconds: float) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds + 0.999)).encode()
