"""Judges a sample of live traffic in the background, and whatever somebody hands in. See ``pipeline.Judging``."""

from podium.services.judging.bench import Bench
from podium.services.judging.pipeline import Judging

__all__ = ["Bench", "Judging"]
