"""docs/providers.md is true to the code: every provider, every setting, every default."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from podium.providers import anthropic, artifact, command, llamacpp, ollama, openai_compatible
from podium.providers.script import FaultKind, read_script

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
ARTIFACTS = (ROOT / "docs" / "artifacts.md").read_text(encoding="utf-8").split("\n## Settings\n")[1].split("\n## ")[0]


def section(name: str) -> str:
    return PAGE.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]


def test_every_provider_has_a_row_and_a_section():
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["podium.providers"]
    first = PAGE.split("\n## ", 1)[0]
    assert set(re.findall(r"^\| `(\w+)` \|", first, re.MULTILINE)) == set(points)
    assert set(points) <= set(re.findall(r"^## (\w+)$", PAGE, re.MULTILINE))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("artifact", artifact.Settings),
        ("llamacpp", llamacpp.Settings),
        ("command", command.Settings),
        ("ollama", ollama.Settings),
        ("openai", openai_compatible.Settings),
        ("anthropic", anthropic.Settings),
    ],
)
def test_every_setting_has_a_row_with_its_default(name, settings):
    rows: dict[str, str] = {}
    text = ARTIFACTS if name == "artifact" else section(name)
    for names, default in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*?) \|", text, re.MULTILINE):
        rows |= dict.fromkeys(re.findall(r"\w+", names), default)
    fields = {field.name: field for field in msgspec.structs.fields(settings)}
    assert set(rows) == set(fields)
    for field in fields.values():
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert rows[field.name] == f"{field.default:g}", field.name


def test_the_script_on_the_page_is_valid_and_every_fault_is_named():
    (example,) = re.findall(r"^```json\n(.*?)^```$", section("scripted"), re.MULTILINE | re.DOTALL)
    assert read_script(example.encode(), "the page").faults
    for kind in FaultKind:
        assert f"`{kind}`" in section("scripted")
