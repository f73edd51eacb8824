"""What the call of a webhook holds: body and signatures as Standard Webhooks 1.0.0 has them. Shows no secret.

Source: https://github.com/standard-webhooks/standard-webhooks, ``spec/standard-webhooks.md``, "Payload structure" and
"Signature scheme".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from podium.domain.swap import Event

PREFIX = "whsec_"
_FEWEST_BYTES, _MOST_BYTES = 24, 64
Key = bytes


def body(event: Event, event_id: int | None) -> bytes:
    """One event as a JSON object."""
    at = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    told = {"type": event.kind, "timestamp": at, "id": event_id, "subject": event.subject, "data": dict(event.data)}
    return msgspec.json.encode(told)


def read_keys(text: str) -> tuple[Key, ...]:
    """The keys in ``whsec_…``, or in several of them while a secret is being changed, split by white space.

    Raises ``ValueError`` that says what is wrong and never holds any of the text.
    """
    keys = []
    for word in text.split():
        if not word.startswith(PREFIX):
            raise ValueError(f"a secret starts with {PREFIX} and goes on in base64")
        try:
            key = base64.b64decode(word.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            raise ValueError(f"what follows {PREFIX} is not base64") from None
        if not _FEWEST_BYTES <= len(key) <= _MOST_BYTES:
            raise ValueError(f"a secret has {_FEWEST_BYTES} to {_MOST_BYTES} bytes, this one {len(key)}")
        keys.append(key)
    if not keys:
        raise ValueError("it is empty")
    return tuple(keys)


def signature(key: Key, message_id: str, timestamp: int, content: bytes) -> str:
    """``v1,`` and the base64 of HMAC-SHA256 over ``ID.TIMESTAMP.BODY``."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), content))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def headers(keys: Sequence[Key], message_id: str, at: float, content: bytes) -> Mapping[str, str]:
    """The three headers of one attempt made at Unix time ``at``: one signature per key."""
    timestamp = int(at)
    signatures = " ".join(signature(key, message_id, timestamp, content) for key in keys)
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": signatures}
