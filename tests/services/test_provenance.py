"""Where a version comes from: declared once, shown, kept over a restart, and heeded when it names hardware."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from podium import Podium
from podium.errors import NoCandidate
from podium.store import open_store
from podium.store.engine import writing
from providers.server_answers import Fake

pytestmark = pytest.mark.requirement("REG-5", "REG-1")
ABOUT = {
    "parent": "base@1",
    "specialisation": "code-review",
    "licence": "Apache-2.0",
    "training_data": "https://example.org/reviews",
    "hardware": ["cpu"],
}


def script(folder: Path, name: str = "m") -> str:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"text": "hello"}))
    return str(path)


async def test_what_is_declared_is_shown_and_kept_over_a_restart(home, tmp_path):
    async with Podium.open(home=home) as podium:
        made = await podium.add_model("m", provider="scripted", location=script(tmp_path), version="1", **ABOUT)
        assert made["status"] == "active"
    async with Podium.open(home=home) as podium:
        shown = await podium.model("m@1")
    assert {key: shown[key] for key in ("parent", "specialisation", "training_data", "hardware")} == {
        key: value for key, value in ABOUT.items() if key != "licence"
    }
    assert shown["facts"]["licence"] == "Apache-2.0"
    assert shown["source"]["location"].endswith("m.json")
    assert shown["digest"].startswith("sha256:")


async def test_it_never_changes(home, tmp_path):
    async with Podium.open(home=home) as podium:
        await podium.add_model("m", provider="scripted", location=script(tmp_path), version="1", **ABOUT)
        again = await podium.add_model(
            "m", provider="scripted", location=script(tmp_path), version="1", training_data="other"
        )
        assert (again["created"], again["training_data"]) == (False, ABOUT["training_data"])
    engine = writing(home / "podium.db")
    try:
        for change in ("UPDATE provenance SET licence = 'mine'", "DELETE FROM provenance"):
            with engine.begin() as connection, pytest.raises(DatabaseError, match="what is known of a version"):
                connection.execute(text(change))
    finally:
        engine.dispose()
    store = open_store(home / "podium.db")
    try:
        (version,) = (await store.load()).versions
        assert version.provenance.hardware == {"cpu"}
    finally:
        await store.close()


async def test_hardware_it_needs_and_this_machine_has_not_keeps_it_from_serving(home, tmp_path):
    async with Podium.open(home=home) as podium:
        await podium.add_model("m", provider="scripted", location=script(tmp_path), version="1", hardware=["ane"])
        with pytest.raises(NoCandidate) as caught:
            await podium.execute("hi")
        assert "needs hardware ane" in caught.value.details["dropped"]["m@1"]


async def test_declared_models_say_it_in_the_configuration(home, tmp_path):
    about = 'specialisation = "poetry"\nlicence = "MIT"\ntraining_data = "poems"\nhardware = ["cpu", "cuda"]\n'
    (home / "podium.toml").write_text(f'[models."m@1"]\nscripted = "{script(tmp_path)}"\n{about}')
    async with Podium.open(home=home) as podium:
        shown = await podium.model("m@1")
    assert (shown["specialisation"], shown["training_data"], shown["hardware"]) == ("poetry", "poems", ["cpu", "cuda"])
    assert shown["facts"]["licence"] == "MIT"


async def test_how_the_facts_of_a_server_are_known_is_shown_after_a_restart(home):
    server = Fake("vllm", tools=False)
    try:
        async with Podium.open(home=home) as podium:
            made = await podium.add_model("s", provider="openai", location=server.url, version="1")
            assert made["status"] == "active"
    finally:
        server.stop()
    async with Podium.open(home=home) as podium:
        shown = await podium.model("s@1")
    assert shown["evidence"]["server"] == "vLLM"
    assert shown["evidence"]["context_length"] == "GET /v1/models: data.@.max_model_len"
    assert shown["evidence"]["tools"].startswith("probed, does not work: accepted and left out")
    assert shown["facts"]["capabilities"] == ["chat", "completion", "json_schema", "logprobs"]
