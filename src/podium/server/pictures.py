"""Turns an SVG into a PNG with the optional library of the extra ``plots``. Owns nothing else."""

from __future__ import annotations

import functools
from collections.abc import Callable

from podium.errors import CallerError

ZOOM = 2.0
"""Pixels per unit of the SVG."""
_HINT = "format=svg works everywhere"


def png_of(svg: str) -> bytes:
    """The picture as PNG. Raises ``CallerError`` (406) without the library or without any font to write with."""
    render = _renderer()
    if not _has_font():
        raise CallerError(
            f"no font is installed on this machine, so a PNG would lack its text; install one such as DejaVu, or {_HINT}",
            status=406,
            code="not_acceptable",
            param="format",
        )
    return bytes(render(svg_string=svg, zoom=ZOOM, font_family="sans-serif"))


def _renderer() -> Callable[..., bytes]:
    try:
        from resvg_py import svg_to_bytes  # noqa: PLC0415 - an extra that need not be installed
    except ImportError as error:
        raise CallerError(
            f"PNG needs the extra `plots` (`pip install 'podium[plots]'`); {_HINT}",
            status=406,
            code="not_acceptable",
            param="format",
        ) from error
    render: Callable[..., bytes] = svg_to_bytes
    return render


@functools.cache
def _has_font() -> bool:
    """Whether a letter leaves a mark."""
    render = _renderer()
    empty = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">{}</svg>'
    letter = '<text x="2" y="16" font-size="16" font-family="DejaVu Sans,sans-serif">M</text>'
    return bytes(render(svg_string=empty.format(letter))) != bytes(render(svg_string=empty.format("")))
