"""One judged answer, read once for all graders. Pure.

Owns which text each grader sees. Must not measure anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from podium.core.graders.address import without_orders
from podium.core.graders.cleaning import MOST_GROUND_CHARS, clean, clip
from podium.domain.judgment import Judged


@dataclass(frozen=True, slots=True)
class Read:
    """Cleaned texts. ``output`` lacks what speaks to a judge, ``whole`` does not; ``ground`` is the context, else the prompt."""

    prompt: str
    context: str
    output: str
    whole: str
    expected: str | None
    removed: int
    """Pieces of the output that speak to a judge."""
    finish: str | None

    @property
    def ground(self) -> str:
        """What the output has to be faithful to: the context and the question when both exist."""
        if self.context and self.prompt and self.prompt != self.context:
            return f"{self.context}\n{self.prompt}"
        return self.context or self.prompt


def read(item: Judged) -> Read:
    """Cleans the texts of ``item``."""
    prompt = clean(item.prompt)
    longer = clean(item.output, MOST_GROUND_CHARS).strip()
    whole = clip(longer)
    spoken = without_orders(whole, prompt)
    return Read(
        prompt=prompt.strip(),
        context=clean(item.context, MOST_GROUND_CHARS).strip() if item.context else "",
        output=spoken.text,
        whole=longer,
        expected=clean(item.expected).strip() if item.expected is not None else None,
        removed=spoken.removed,
        finish=item.finish,
    )
