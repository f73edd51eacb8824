"""Sums of what happened in the last minutes, hours and days, in a fixed number of pieces of time.

Owns the pieces. Must not know what is summed; reads no clock. Time that goes back counts as the newest there was.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence


class Ring:
    """Sums of ``width`` numbers for each of the newest ``pieces`` pieces of ``piece_s`` seconds."""

    __slots__ = ("_newest", "_pieces", "_sums", "_width", "piece_s")

    def __init__(self, piece_s: float, pieces: int, width: int, now: float) -> None:
        self.piece_s = piece_s
        self._pieces = pieces
        self._width = width
        self._newest = int(now // piece_s)
        self._sums = array("f", bytes(4 * pieces * width))

    def add(self, at: float, values: Sequence[float]) -> None:
        """Count ``values`` at a time; what is older than the oldest piece is left out."""
        piece = int(at // self.piece_s)
        if piece > self._newest:
            self._go_to(piece)
        elif piece <= self._newest - self._pieces:
            return
        start = piece % self._pieces * self._width
        for place, value in enumerate(values, start):
            self._sums[place] += value

    def last(self, span_s: float, now: float) -> list[float]:
        """Sums of the newest ``span_s`` seconds, in whole pieces, the present one among them."""
        piece = int(now // self.piece_s)
        if piece > self._newest:
            self._go_to(piece)
        count = min(self._pieces, max(1, round(span_s / self.piece_s)))
        start = (self._newest - count + 1) % self._pieces
        spans = [(start, min(start + count, self._pieces)), (0, max(0, start + count - self._pieces))]
        total = [0.0] * self._width
        for first, end in spans:
            piece_sums = self._sums[first * self._width : end * self._width]
            for place in range(self._width):
                total[place] += sum(piece_sums[place :: self._width])
        return [max(0.0, one) for one in total]

    def _go_to(self, piece: int) -> None:
        width = self._width
        for skipped in range(max(self._newest + 1, piece - self._pieces + 1), piece + 1):
            start = skipped % self._pieces * width
            self._sums[start : start + width] = array("f", bytes(4 * width))
        self._newest = piece
