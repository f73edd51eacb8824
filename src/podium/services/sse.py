"""Relays a server-sent event stream event by event.

Only whole events leave, so an error event can always follow cleanly; nothing follows ``[DONE]``; usage is the
maximum seen over all chunks, and the usage chunk Podium asked for on its own account is kept from callers who
did not ask. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import msgspec

_any = msgspec.json.Decoder()
_DONE = b"[DONE]"
_USAGE = b'"usage"'
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"|"usage"\s*:\s*\{')
_FIELD = re.compile(rb"\s*(?::|(?:event|id|retry)\b)")
_SILENT = re.compile(
    rb'"delta"\s*:\s*\{\s*(?:"role"\s*:\s*"\w*"\s*,?\s*'
    rb'|"(?:content|reasoning|reasoning_content|refusal|tool_calls|function_call)"\s*:\s*(?:""|null|\[\s*\])\s*,?\s*)*\}'
)
"""A chunk that names the speaker and says nothing: many servers send it before the model has read the prompt."""
_LIMIT = 8 * 1024 * 1024


def says_something(data: bytes) -> bool:
    """Whether events of a stream hold more than who will speak: a token, an end, an error, or what is not known."""
    deltas = data.count(b'"delta"')
    return not deltas or deltas > len(_SILENT.findall(data)) or _FINISHED.search(data) is not None


@dataclass(slots=True)
class StreamRelay:
    """The state of one stream. ``hide_usage`` drops the chunk that carries nothing but usage."""

    hide_usage: bool
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    """Of the input, what the server had read before."""
    events: int = 0
    done: bool = False
    broken: str | None = None
    """Why the stream cannot be continued: an upstream error event, an event over 8 MiB, no events at all."""
    _rest: bytes = field(default=b"", repr=False)
    _last: bytes = field(default=b"", repr=False)

    def feed(self, data: bytes) -> bytes:
        """Bytes from upstream in, whole events out (possibly none)."""
        if self.done or self.broken:
            return b""
        if not self._rest and data.endswith(b"\n\n") and _USAGE not in data and _DONE not in data:  # noqa: SIM102
            if data.startswith(b"data: {") and b'{"error"' not in data:  # the fast path: whole plain events
                self.events += data.count(b"\n\n")
                self._last = data
                return data
        data = self._rest + data
        end = _last_boundary(data)
        self._hold(data[end:])
        return self._events(data[:end]) if end else b""

    def end(self) -> None:
        """Upstream's body is complete: was the answer? Sets ``broken`` when it was not."""
        if self.done or self.broken:
            return
        if self._rest.strip():
            self.broken = "the model's server ended the stream inside an event"
        elif not _FINISHED.search(self._last):
            self.broken = "the model's server ended the stream before the answer was complete"

    def _hold(self, rest: bytes) -> None:
        self._rest = rest
        if len(rest) > _LIMIT:
            self.broken = "the model's server sent an event without end"

    def _events(self, data: bytes) -> bytes:
        out = []
        newline = b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n"
        for event in data.split(newline):
            if not event.strip():
                continue
            payload = _payload(event)
            if payload is None and not _FIELD.match(event):
                self.broken = "the model's server sent something that is no event stream"
                break
            if payload == _DONE:
                if not self.events:
                    self.broken = "the model's server ended the stream before it began to answer"
                    break
                self.done = True
                out.append(event + newline)
                break
            if payload is not None and not self._inspect(payload):
                continue
            if self.broken:
                break
            out.append(event + newline)
            self._last = event
        return b"".join(out)

    def _inspect(self, payload: bytes) -> bool:
        """False when the event is for Podium alone."""
        self.events += 1
        if _USAGE not in payload and b'"error"' not in payload:
            return True
        try:
            chunk = _any.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return True
        if not isinstance(chunk, dict):
            return True
        if chunk.get("error"):
            error = chunk["error"]
            self.broken = str(error.get("message", error) if isinstance(error, dict) else error)
            return False
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self.input_tokens = _larger(self.input_tokens, usage.get("prompt_tokens"))
            self.output_tokens = _larger(self.output_tokens, usage.get("completion_tokens"))
            details = usage.get("prompt_tokens_details")
            if isinstance(details, dict):
                self.cached_tokens = _larger(self.cached_tokens, details.get("cached_tokens"))
            if self.hide_usage and not chunk.get("choices"):
                return False
        return True


def _last_boundary(data: bytes) -> int:
    """The index behind the last blank line, 0 without one."""
    plain, crlf = data.rfind(b"\n\n"), data.rfind(b"\r\n\r\n")
    return max(plain + 2 if plain >= 0 else 0, crlf + 4 if crlf >= 0 else 0)


def _payload(event: bytes) -> bytes | None:
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def _larger(old: int | None, new: object) -> int | None:
    if not isinstance(new, int) or isinstance(new, bool) or new < 0:
        return old
    return new if old is None else max(old, new)
