"""The page of events names every kind there is, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AREAS = "alert|autoswap|breaker|budget|config|execution|follow|instance|memory|rollout|rule|schedule|store|swap|webhook"
NO_EVENTS = {"memory.current", "memory.max", "memory.stat", "memory.high", "memory.events"}
"""Files of control groups."""


def test_every_kind_in_the_source_is_on_the_page_and_the_other_way_round():
    page = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    described = set(re.findall(rf"`((?:{AREAS})\.[a-z_]+)`", page.partition("## Kinds")[2]))
    said = set()
    for file in (ROOT / "src").rglob("*.py"):
        if "cli" not in file.parts:
            said |= set(re.findall(rf'"((?:{AREAS})\.[a-z_]+)"', file.read_text(encoding="utf-8")))
    files = {name for name in said if name.endswith((".json", ".html"))}
    assert described == said - NO_EVENTS - files
