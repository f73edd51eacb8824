"""Which framework runs an artifact: what the folder shows, and what each framework needs to be installed. Pure."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from enum import StrEnum

from podium.providers.artifact_folder import Folder, refuse
from podium.providers.safetensors import read_head


class Framework(StrEnum):
    """As ``--framework`` takes it."""

    PYTORCH = "pytorch"
    ONNX = "onnx"
    GGUF = "gguf"
    MLX = "mlx"
    COREML = "coreml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Python modules a framework's worker imports, and the packages that bring them."""

    modules: tuple[str, ...]
    packages: tuple[str, ...]
    apple: bool = False


MLX = "mlx-lm" if sys.platform == "darwin" else "mlx-lm[cpu]"
"""Away from Apple silicon its backend is a package of its own: ``cpu``, ``cuda12`` or ``cuda13``."""
NEEDS = {
    Framework.PYTORCH: Needs(modules=("torch", "transformers"), packages=("torch", "transformers", "safetensors")),
    Framework.ONNX: Needs(modules=("onnxruntime_genai",), packages=("onnxruntime-genai",)),
    Framework.MLX: Needs(modules=("mlx_lm",), packages=(MLX,)),
    Framework.COREML: Needs(
        modules=("coremltools", "transformers"), packages=("coremltools", "transformers"), apple=True
    ),
}


def install(framework: Framework, python: str | None) -> str:
    """The command that installs what is missing: the extra, or the packages in another environment."""
    if python is None:
        return f"pip install 'podium[{framework}]'"
    return f"{python} -m pip install {' '.join(NEEDS[framework].packages)}"


def detect(folder: Folder) -> Framework:
    """By what lies in the folder. Raises ``InvalidRequest`` when that is nothing, or more than one."""
    found = []
    if "genai_config.json" in folder.files:
        found.append(Framework.ONNX)
    if folder.packages():
        found.append(Framework.COREML)
    if folder.top(".gguf"):
        found.append(Framework.GGUF)
    weights = folder.top(".safetensors")
    if weights:
        made_by = read_head(folder.root / weights[0]).metadata.get("format")
        found.append(Framework.MLX if made_by == "mlx" else Framework.PYTORCH)
    elif folder.pickles() and Framework.ONNX not in found:
        found.append(Framework.PYTORCH)
    if len(found) > 1:
        raise refuse(f"{folder.root} holds files for {' and '.join(found)}; say which with --framework")
    if not found:
        raise refuse(
            f"{folder.root} holds no model: neither .safetensors (PyTorch, MLX), genai_config.json with .onnx (ONNX), "
            ".gguf nor .mlpackage"
        )
    return found[0]


def check_platform(framework: Framework) -> None:
    """Raises ``InvalidRequest`` where the framework cannot run."""
    if framework in NEEDS and NEEDS[framework].apple and (sys.platform, platform.machine()) != ("darwin", "arm64"):
        raise refuse(f"{framework} runs on Apple silicon only; this is {platform.system()} on {platform.machine()}")
