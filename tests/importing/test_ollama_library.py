"""Ollama's library on disk, with and without Ollama, whole and damaged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from podium.errors import InvalidRequest
from podium.importing import Report
from podium.importing.ollama_library import library, read_ollama

pytestmark = pytest.mark.requirement("REG-7")


class Library:
    """As ``ollama create`` lays it out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs").mkdir(parents=True)
        (folder / "manifests").mkdir()

    def blob(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs" / f"sha256-{digest}").write_bytes(content)
        return f"sha256:{digest}"

    def model(self, place: str, weights: bytes = b"GGUF....", **layers: bytes) -> dict[str, Any]:
        rows = [
            {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": self.blob(content), "size": len(content)}
            for kind, content in {"model": weights, **layers}.items()
        ]
        path = self.folder / "manifests" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        manifest = {"schemaVersion": 2, "layers": rows}
        path.write_text(json.dumps(manifest))
        return manifest


@pytest.fixture
def stock(tmp_path: Path) -> Library:
    made = Library(tmp_path / "models")
    params = json.dumps({"num_ctx": 4096, "temperature": 0.5, "stop": ["<end>"], "repeat_penalty": 1.1}).encode()
    made.model("registry.ollama.ai/library/gemma3/1b", params=params, template=b"{{ .Prompt }}", system=b"Be brief.")
    made.model("registry.ollama.ai/library/llama3/latest", weights=b"GGUF2")
    made.model("registry.ollama.ai/ann/tuned/v1", weights=b"GGUF3", adapter=b"lora")
    made.model("hf.co/bartowski/Qwen-GGUF/Q4_K_M", weights=b"GGUF4")
    return made


def said(report: Report) -> str:
    return "\n".join(f"{note.where}: {note.said}" for note in report.notes)


def test_through_ollama_every_tag_comes_with_its_context(stock: Library):
    report = read_ollama(stock.folder, direct=False)
    found = {one.location: one for one in report.proposals}
    assert set(found) == {"gemma3:1b", "llama3:latest", "ann/tuned:v1", "hf.co/bartowski/Qwen-GGUF:Q4_K_M"}
    assert found["gemma3:1b"].commands() == ("podium models add gemma3:1b --ollama gemma3:1b --set num_ctx=4096",)
    assert found["llama3:latest"].name == "llama3"
    assert report.notes == []
    far = read_ollama(stock.folder, direct=False, host="http://gpu:11434").proposals[0]
    assert far.settings["host"] == "http://gpu:11434"


def test_without_ollama_the_weights_come_with_what_llama_cpp_knows(stock: Library):
    report = read_ollama(stock.folder, direct=True)
    found = {one.name: one for one in report.proposals}
    one = found["gemma3:1b"]
    assert one.provider == "llamacpp"
    assert Path(one.location).read_bytes() == b"GGUF...."
    assert one.settings == {"context": 4096, "temperature": 0.5, "system_prompt": "Be brief."}
    for line in ("PARAMETER stop", "PARAMETER repeat_penalty", "template does not carry over", "adapter (LoRA)"):
        assert line in said(report)


def test_what_is_damaged_is_said_and_the_rest_is_there(stock: Library, tmp_path: Path):
    manifests = stock.folder / "manifests" / "registry.ollama.ai" / "library"
    (manifests / "bad").mkdir()
    (manifests / "bad" / "json").write_text("{")
    (manifests / "bad" / "types").write_text('{"layers": 5}')
    (manifests / "bad" / "binary").write_bytes(b"\xff\x00")
    (manifests / "bad" / "huge").write_bytes(b" " * 2_000_000)
    (stock.folder / "manifests" / "stray").write_text("{}")
    escape = {
        "layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../etc/passwd", "size": 1}]
    }
    (manifests / "bad" / "escape").write_text(json.dumps(escape))
    stock.model("registry.ollama.ai/library/short/1", weights=b"GGUF-short")
    for blob in (stock.folder / "blobs").iterdir():
        if blob.read_bytes() == b"GGUF-short":
            blob.write_bytes(b"GGUF")
    stock.model("registry.ollama.ai/library/other/1", weights=b"safetensors")
    stock.model("registry.ollama.ai/library/gone/1", weights=b"GGUF-gone")
    for blob in (stock.folder / "blobs").iterdir():
        if blob.read_bytes() == b"GGUF-gone":
            blob.unlink()
    report = read_ollama(stock.folder, direct=True)
    assert {one.name for one in report.proposals} == {
        "gemma3:1b",
        "llama3",
        "ann/tuned:v1",
        "hf.co/bartowski/Qwen-GGUF:Q4_K_M",
    }
    told = said(report)
    for line in (
        "bad:json: its manifest cannot be read",
        "bad:types: its manifest cannot be read",
        "bad:binary: its manifest cannot be read",
        "bad:huge: its manifest cannot be read",
        "bad:escape: names no weights",
        "short:1: its weights are not whole (4 of 10 bytes)",
        "other:1: its weights are no GGUF file",
        "gone:1: its weights are not there",
        "stands where no manifest",
    ):
        assert line in told, (line, told)


def test_a_folder_that_is_no_library_is_refused_in_words(tmp_path: Path):
    with pytest.raises(InvalidRequest, match="no library of Ollama"):
        read_ollama(tmp_path, direct=False)


def test_the_library_is_where_the_environment_says(tmp_path: Path):
    assert library({"OLLAMA_MODELS": str(tmp_path)}) == tmp_path
