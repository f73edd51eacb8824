"""Finds out what a server really supports by asking it: one call per feature, one token at most.

A claim is believed when the answer shows it, not when the field was merely accepted: tools must make the prompt longer,
a JSON schema must make the first token open an object, logprobs must be there. Where an answer can show neither, what
the documentation promises stands, and the evidence says so. Owns no list of who promises what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from podium.domain.model import Capability
from podium.errors import ProviderError
from podium.transport.client import HttpClient

_CONNECT_S = 10.0
_FIRST_S = 300.0
"""The first call may have the model loaded."""
_KNOWN = frozenset(each.value for each in Capability)
_BUSY = frozenset({408, 425, 429, 502, 503, 504, 529})
_ASK = [{"role": "user", "content": "Hi"}]
_TOOL = {
    "type": "function",
    "function": {
        "name": "look_up_the_weather_of_a_city",
        "description": "Tells the weather of a city at some hour of today.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
_SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"answer": {"type": "string"}},
            "required": ["answer"],
            "additionalProperties": False,
        },
    },
}
_PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@dataclass(frozen=True, slots=True)
class Probed:
    """``works``: ``None`` when the answer shows neither. ``evidence`` is for people."""

    works: bool | None
    evidence: str


@dataclass(frozen=True, slots=True)
class _Said:
    status: int
    body: Any
    raw: bytes

    @property
    def words(self) -> str:
        """Status and reason, for people."""
        error = self.body.get("error", self.body) if isinstance(self.body, dict) else None
        said = error.get("message") if isinstance(error, dict) else error
        text = str(said) if said else self.raw[:200].decode("utf-8", "replace").strip()
        head = f"HTTP {self.status}" if self.status else "no answer"
        return head + (f": {' '.join(text.split())[:200]}" if text else "")


class Probe:
    """Asks one model of one server. ``limit_name``: how it wants the number of tokens limited."""

    def __init__(
        self,
        client: HttpClient,
        base: str,
        headers: Sequence[tuple[bytes, bytes]],
        model: str,
        limit_name: str = "max_tokens",
    ) -> None:
        self._client = client
        self._base = base
        self._headers = (*headers, (b"content-type", b"application/json"))
        self._model = model
        self._limit_name = limit_name
        self._prompt: int | None = None
        self._chats = False

    async def run(self, promised: frozenset[str]) -> dict[str, Probed]:
        """What was found out, by feature. Features that nobody promised are not tried, but chat and its usage are.

        Raises ``ProviderUnreachable``, ``ProviderTimeout`` when nothing answers.
        """
        found = {"chat": await self._chat()}
        if found["chat"].works is False:
            found["completion"] = await self._completion()
            if not found["completion"].works:
                found["embedding"] = await self._embedding()
            return found
        if found["chat"].works is None:
            return found
        found["usage"] = self._usage()
        if "stream_options" in promised:
            found["stream_options"] = await self._stream_options()
        trials = {
            Capability.TOOLS: self._tools,
            Capability.JSON_SCHEMA: self._schema,
            Capability.LOGPROBS: self._logprobs,
            Capability.VISION: self._vision,
            Capability.COMPLETION: self._completion,
        }
        for capability, trial in trials.items():
            if capability.value in promised:
                found[capability.value] = await trial()
        return found

    async def _chat(self) -> Probed:
        said = await self._post("chat/completions", {"messages": _ASK})
        if said.status != 200:
            return Probed(None if said.status in _BUSY else False, said.words)
        if _choice(said.body) is None:
            return Probed(False, "HTTP 200 without choices")
        self._prompt = _tokens(said.body)
        self._chats = True
        return Probed(True, "it answered")

    def _usage(self) -> Probed:
        if self._prompt is None:
            return Probed(False, "it reports no usage; tokens are estimated")
        return Probed(True, f"{self._prompt} tokens for a short prompt")

    async def _stream_options(self) -> Probed:
        body = {"messages": _ASK, "stream": True, "stream_options": {"include_usage": True}}
        said = await self._post("chat/completions", body)
        if said.status != 200:
            return Probed(None if said.status in _BUSY else False, said.words)
        if b'"usage"' in said.raw and b'"prompt_tokens"' in said.raw:
            return Probed(True, "its stream ended with usage")
        return Probed(False, "its stream told no usage")

    async def _tools(self) -> Probed:
        said = await self._post("chat/completions", {"messages": _ASK, "tools": [_TOOL]})
        if said.status != 200:
            return Probed(None if said.status in _BUSY else False, said.words)
        with_tools = _tokens(said.body)
        if with_tools is None or self._prompt is None:
            return Probed(None, "accepted; whether the model saw them cannot be told without usage")
        if with_tools <= self._prompt:
            return Probed(False, f"accepted and left out: the prompt had {with_tools} tokens with and without")
        return Probed(True, f"the prompt grew from {self._prompt} to {with_tools} tokens")

    async def _schema(self) -> Probed:
        said = await self._post("chat/completions", {"messages": _ASK, "response_format": _SCHEMA})
        if said.status != 200:
            return Probed(None if said.status in _BUSY else False, said.words)
        text = ((_choice(said.body) or {}).get("message") or {}).get("content")
        if not isinstance(text, str) or not text.strip():
            return Probed(None, "accepted; its one token told nothing")
        if text.lstrip().startswith("{"):
            return Probed(True, "its first token opened an object")
        return Probed(False, f"accepted and ignored: its first token was {text.strip()[:20]!r}")

    async def _logprobs(self) -> Probed:
        said = await self._post("chat/completions", {"messages": _ASK, "logprobs": True, "top_logprobs": 1})
        if said.status != 200:
            return Probed(None if said.status in _BUSY else False, said.words)
        logprobs = (_choice(said.body) or {}).get("logprobs")
        if isinstance(logprobs, dict) and logprobs.get("content"):
            return Probed(True, "they were in the answer")
        return Probed(False, "accepted and left out")

    async def _vision(self) -> Probed:
        content = [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": _PIXEL}}]
        said = await self._post("chat/completions", {"messages": [{"role": "user", "content": content}]})
        if said.status != 200:
            return Probed(None if said.status in _BUSY else False, said.words)
        tokens = _tokens(said.body)
        if tokens is None or self._prompt is None:
            return Probed(None, "accepted; whether the model saw the picture cannot be told without usage")
        if tokens <= self._prompt:
            return Probed(False, "accepted and left out: the prompt did not grow")
        return Probed(True, f"the prompt grew from {self._prompt} to {tokens} tokens")

    async def _completion(self) -> Probed:
        said = await self._post("completions", {"prompt": "Once upon a"})
        if said.status != 200:
            return Probed(None if said.status in _BUSY else False, said.words)
        text = (_choice(said.body) or {}).get("text")
        return Probed(isinstance(text, str), "it answered" if isinstance(text, str) else "HTTP 200 without a text")

    async def _embedding(self) -> Probed:
        said = await self._post("embeddings", {"input": "Hi"}, generates=False)
        if said.status != 200:
            return Probed(None if said.status in _BUSY else False, said.words)
        rows = said.body.get("data") if isinstance(said.body, dict) else None
        vector = rows[0].get("embedding") if isinstance(rows, list) and rows and isinstance(rows[0], dict) else None
        if not vector:
            return Probed(False, "HTTP 200 without a vector")
        return Probed(True, f"a vector of {len(vector)} numbers" if isinstance(vector, list) else "it answered")

    async def _post(self, path: str, body: Mapping[str, Any], *, generates: bool = True) -> _Said:
        limits = {self._limit_name: 1} if generates else {}
        try:
            reply = await self._client.request(
                b"POST",
                f"{self._base}/{path}".encode(),
                headers=self._headers,
                body=msgspec.json.encode({"model": self._model, **body, **limits}),
                connect_s=_CONNECT_S,
                first_byte_s=_FIRST_S,
                total_s=_FIRST_S,
            )
        except ProviderError as error:
            if not self._chats:
                raise
            return _Said(0, None, error.message.encode())  # it chats, and breaks over this
        raw = await _read(reply.read)
        try:
            return _Said(reply.status, msgspec.json.decode(raw), raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _Said(reply.status, None, raw)


def conclude(
    told: frozenset[str], promised: frozenset[str], found: Mapping[str, Probed]
) -> tuple[frozenset[str], tuple[tuple[str, str], ...]]:
    """(capabilities, evidence for each feature): what was shown, and what was promised and not disproved.

    A model that does not chat has only what was shown.
    """
    generates = "chat" not in found or found["chat"].works is not False
    capabilities = set()
    evidence = []
    for feature in sorted((promised | told if generates else frozenset[str]()) | set(found)):
        probe = found.get(feature)
        works = probe.works if probe is not None else None
        if (works or (works is None and feature in told | promised)) and feature in _KNOWN:
            capabilities.add(feature)
        if probe is None:
            source = "the server says so" if feature in told else "as documented"
            evidence.append((feature, f"not probed: {source}"))
        else:
            verdict = {True: "works", False: "does not work", None: "not shown"}[probe.works]
            evidence.append((feature, f"probed, {verdict}: {probe.evidence}"))
    return frozenset(capabilities), tuple(evidence)


async def _read(read: Any) -> bytes:
    """The body; one that ends early shows nothing."""
    try:
        return bytes(await read())
    except ProviderError:
        return b""


def _choice(body: object) -> dict[str, Any] | None:
    choices = body.get("choices") if isinstance(body, dict) else None
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None


def _tokens(body: object) -> int | None:
    """Prompt tokens of the usage; 0 is no usage."""
    usage = body.get("usage") if isinstance(body, dict) else None
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else None
