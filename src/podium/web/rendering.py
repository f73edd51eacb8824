"""Draws templates: whole pages, and single blocks of them for what is live. Owns the Jinja environment."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from podium.web.assets import Assets
from podium.web.formatting import FILTERS
from podium.web.page import TABS

if TYPE_CHECKING:
    from jinja2 import Environment

ROOT = Path(__file__).parent / "templates"
PARTS = "parts.html"
"""Its macros are there in every template, without an import."""


class Drawing:
    """One per gateway; templates are read and compiled when they are first used."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets

    @cached_property
    def _environment(self) -> Environment:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - gateways nobody looks at

        made = Environment(
            loader=FileSystemLoader(ROOT),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        made.filters.update(FILTERS)
        made.filters["json"] = as_json
        made.globals.update(static=self._assets.url, tabs=TABS)
        parts = made.get_template(PARTS).module
        made.globals.update({name: macro for name, macro in vars(parts).items() if not name.startswith("_")})
        return made

    def page(self, template: str, values: Mapping[str, object]) -> str:
        """The whole page."""
        return self._environment.get_template(template).render(values)

    def blocks(self, template: str) -> frozenset[str]:
        """Names of the blocks a template has of its own."""
        return frozenset(self._environment.get_template(template).blocks)

    def block(self, template: str, name: str, values: Mapping[str, object]) -> str:
        """One block alone, as it is within the page."""
        found = self._environment.get_template(template)
        return "".join(found.blocks[name](found.new_context(dict(values))))


def as_json(value: Any) -> str:
    """For an attribute: ``data-series="{{ series | json }}"``. What JSON has no word for (nan) is null."""
    return msgspec.json.encode(value).decode()
