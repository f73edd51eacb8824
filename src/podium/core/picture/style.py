"""Colours and type of the SVG: one style sheet for light and dark. The arms differ in lightness too, not in hue alone."""

from __future__ import annotations

from types import MappingProxyType

FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','DejaVu Sans',Arial,sans-serif"
_LIGHT = MappingProxyType(
    {
        "page": "#ffffff", "ink": "#1b1f24", "dim": "#59636e", "grid": "#e4e7eb", "axis": "#8b949e",
        "baseline": "#0b5cad", "candidate": "#c2410c", "band": "#c2410c", "share": "#c2410c", "pause": "#6e7781",
        "good": "#1a7f37", "bad": "#b42318", "busy": "#57606a", "on": "#ffffff",
    }
)  # fmt: skip
_DARK = MappingProxyType(
    {
        "page": "#15191e", "ink": "#e6e9ed", "dim": "#9aa4af", "grid": "#2a3037", "axis": "#6e7781",
        "baseline": "#6cb6ff", "candidate": "#ffa657", "band": "#ffa657", "share": "#ffa657", "pause": "#9aa4af",
        "good": "#57ab5a", "bad": "#f47067", "busy": "#8b949e", "on": "#15191e",
    }
)  # fmt: skip


def _colours(names: MappingProxyType[str, str]) -> str:
    fills = ".page{{fill:{page}}}.ink{{fill:{ink}}}.dim{{fill:{dim}}}.of-baseline{{fill:{baseline}}}"
    fills += (
        ".of-candidate{{fill:{candidate}}}.good{{fill:{good}}}.bad{{fill:{bad}}}.busy{{fill:{busy}}}.on{{fill:{on}}}"
    )
    fills += ".band{{fill:{band}}}.share{{fill:{share}}}.pause{{fill:{pause}}}"
    strokes = (
        ".grid{{stroke:{grid}}}.axis{{stroke:{axis}}}.baseline{{stroke:{baseline}}}.candidate{{stroke:{candidate}}}"
    )
    strokes += ".limit{{stroke:{ink}}}.edge{{stroke:{band}}}.ramp{{stroke:{axis}}}.zero{{stroke:{baseline}}}"
    strokes += ".end-good{{stroke:{good}}}.end-bad{{stroke:{bad}}}.end-busy{{stroke:{busy}}}"
    return (fills + strokes).format(**names)


SHEET = (
    f"text{{font-family:{FONT};font-size:12px}}"
    ".h1{font-size:19px;font-weight:600}.h2{font-size:13px;font-weight:600}.body{font-size:13px}.small{font-size:11px}"
    ".pill{font-size:12px;font-weight:600}.strong{font-weight:600}"
    ".grid,.axis{stroke-width:1}.baseline,.candidate{stroke-width:2.2;fill:none;stroke-linejoin:round}"
    ".zero{stroke-width:1.6}.limit{stroke-width:1.4;stroke-dasharray:6 4}.edge{stroke-width:1;fill:none;stroke-opacity:.55}"
    ".band{fill-opacity:.17}.share{fill-opacity:.32}.pause{fill-opacity:.16}.ramp{stroke-width:1;stroke-dasharray:1 4}"
    ".end-good,.end-bad,.end-busy{stroke-width:2}"
    f"{_colours(_LIGHT)}@media (prefers-color-scheme:dark){{{_colours(_DARK)}}}"
)
