"""Custom artifacts: a folder with a model of one's own, run by its framework in a worker process of its own.

Owns the choice of framework, interpreter and device. What is in the folder is read by ``artifact_facts``, the worker
is ``artifact_worker``. GGUF goes to the embedded llama.cpp.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import psutil

from podium import nvml
from podium.domain.model import Capability, Facts, ModelVersion, Source
from podium.errors import InvalidRequest, LoadFailed
from podium.ports import RAM, Characteristics
from podium.providers import artifact_worker
from podium.providers.artifact_facts import Artifact, read_artifact, with_digest
from podium.providers.artifact_folder import Folder, read_folder, refuse
from podium.providers.artifact_frameworks import NEEDS, Framework, check_platform, detect, install
from podium.providers.artifact_memory import cpu_dtype, estimate
from podium.providers.catalogue import ProviderContext
from podium.providers.http_instance import HttpInstance
from podium.providers.llamacpp import DEFAULT_CONTEXT, LlamaCppProvider, default_threads
from podium.providers.own_worker import INTERPRETER, KEPT, environment, start_worker
from podium.providers.settings import read_settings

WORKER = Path(artifact_worker.__file__).parent
_ALSO_KEPT = (
    "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION", "PYTORCH_CUDA_ALLOC_CONF",
    "DYLD_LIBRARY_PATH",
)  # fmt: skip
_CUDA_BUILD = re.compile(r"^cuda\b[^=]*=\s*['\"]", re.MULTILINE)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``python`` is the interpreter of another environment, which needs the framework but not Podium."""

    framework: Framework | None = None
    python: str | None = None
    device: Annotated[str, msgspec.Meta(pattern=r"^(auto|ram|gpu|cuda:[0-9]+|mps|xpu|ane|all)$")] = "auto"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    context: Annotated[int, msgspec.Meta(ge=16)] | None = None
    threads: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] | None = None
    chat_template: str | None = None
    embedding: bool | None = None
    allow_pickle: bool = False
    trust_remote_code: bool = False
    ready_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 600.0


def create(context: ProviderContext) -> ArtifactProvider:
    """Entry point of the provider ``artifact``."""
    return ArtifactProvider(context)


class ArtifactProvider:
    """Runs folders."""

    name = "artifact"
    characteristics = Characteristics(owns_process=True, streaming=True, continuous_batching=False, local=True)

    def __init__(self, context: ProviderContext) -> None:
        self._context = context
        self._llamacpp = LlamaCppProvider(context)
        self._known: dict[tuple[object, ...], tuple[Framework, Source | None]] = {}
        """What a folder is run by, and as what: the pool asks often, and a folder takes time to list."""

    async def inspect(self, source: Source) -> Facts:
        """Read the folder and check the settings. Raises ``InvalidRequest``."""
        if (gguf := await asyncio.to_thread(_as_gguf, source)) is not None:
            return await self._llamacpp.inspect(gguf)
        settings = read_settings(source, Settings)
        if settings.python is not None:
            _interpreter(settings.python)
        artifact = await asyncio.to_thread(_read, source, settings)
        check_platform(artifact.framework)
        _check_context(settings, artifact.facts)
        facts = (await with_digest(artifact)).facts
        if settings.chat_template is not None and not artifact.embedding:
            facts = replace(facts, capabilities=facts.capabilities | {Capability.CHAT.value})
        return facts

    def context_length(self, version: ModelVersion) -> int | None:
        """Tokens of prompt and answer together."""
        framework, version = self._run_as(version)
        if framework is Framework.GGUF:
            return self._llamacpp.context_length(version)
        return _context(read_settings(version.source, Settings), version.facts)

    def footprint(self, version: ModelVersion) -> int | None:
        """See ``artifact_memory``."""
        framework, version = self._run_as(version)
        if framework is Framework.GGUF:
            return self._llamacpp.footprint(version)
        settings = read_settings(version.source, Settings)
        return estimate(
            version.facts,
            framework,
            dtype=settings.dtype,
            context=_context(settings, version.facts),
            on_gpu=self.devices(version)[0] != RAM,
        )

    def devices(self, version: ModelVersion) -> tuple[str, ...]:
        """NVIDIA's GPUs, the largest first, and memory after them; what was set where something was set.

        A framework that is not built for them stays in memory.
        """
        try:
            framework, version = self._run_as(version)
        except InvalidRequest:
            return (RAM,)  # loading it will say what is wrong
        if framework is Framework.GGUF:
            return (RAM,)
        settings = read_settings(version.source, Settings)
        if settings.device.startswith(f"{nvml.CUDA}:"):
            return (settings.device,)
        driver = nvml.opened() if settings.device in ("auto", "gpu") else None
        cards = tuple(card.id for card in sorted(driver.devices, key=lambda card: -card.total_bytes)) if driver else ()
        if settings.device == "gpu":
            return cards or (f"{nvml.CUDA}:0",)
        return (*cards, RAM) if cards and _built_for_cuda(framework, settings) else (RAM,)

    def ready_within(self, version: ModelVersion) -> float | None:
        """What was set, if it was."""
        if "ready_timeout_s" not in version.source.settings:
            return None
        return read_settings(version.source, Settings).ready_timeout_s

    async def load(self, version: ModelVersion, instance_id: str, *, device: str = RAM) -> HttpInstance:
        """Start the worker; returns when the model is loaded and it listens. Raises ``LoadFailed``."""
        try:
            framework, version = self._run_as(version)
            if framework is Framework.GGUF:
                return await self._llamacpp.load(version, instance_id)
            settings = read_settings(version.source, Settings)
            artifact = await with_digest(await asyncio.to_thread(_read, version.source, settings))
            python = _interpreter(settings.python) if settings.python is not None else sys.executable
        except InvalidRequest as error:
            raise LoadFailed(f"{version.ref} cannot be loaded any more: {error.message}") from error
        if artifact.facts.digest != version.facts.digest:
            raise LoadFailed(
                f"the files in {artifact.folder.root} are not those of {version.ref} any more; register them as a new version"
            )
        if settings.python is None:
            _check_installed(artifact.framework)
        worker = await start_worker(
            self._context.home,
            instance_id,
            [python, str(WORKER)],
            _order(version, settings, artifact, python, device),
            env=self._environment(settings, device),
            ref=version.ref,
            timeout_s=settings.ready_timeout_s,
        )
        return HttpInstance(
            worker.client,
            model=version.ref,
            concurrency=1,
            capabilities=version.facts.capabilities,
            headers=worker.headers,
            process=worker.process,
        )

    def _run_as(self, version: ModelVersion) -> tuple[Framework, ModelVersion]:
        """The framework, and the version as its provider knows it. Raises ``InvalidRequest`` when the folder is gone."""
        source = version.source
        key = (source.location, str(source.settings), version.facts.digest)
        if key not in self._known:
            gguf = _as_gguf(source)
            framework = Framework.GGUF if gguf is not None else read_settings(source, Settings).framework
            self._known[key] = framework or detect(read_folder(source.location)), gguf
        framework, gguf = self._known[key]
        return framework, version if gguf is None else replace(version, source=gguf)

    def _environment(self, settings: Settings, device: str) -> dict[str, str]:
        """Under another interpreter nothing of this one's; a GPU alone where the pool chose one, none where not."""
        names = (*KEPT, *_ALSO_KEPT, *(INTERPRETER if settings.python is None else ()))
        made = environment(self._context.environ, names)
        if device.startswith(f"{nvml.CUDA}:"):
            made |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": device.partition(":")[2]}
        elif _worker_device(settings, device) == "cpu":
            made["CUDA_VISIBLE_DEVICES"] = ""
        return made


def _read(source: Source, settings: Settings) -> Artifact:
    folder = read_folder(source.location)
    framework = settings.framework or detect(folder)
    return read_artifact(
        folder,
        framework,
        allow_pickle=settings.allow_pickle,
        trust_code=settings.trust_remote_code,
        embedding=settings.embedding,
    )


def _as_gguf(source: Source) -> Source | None:
    """The same source for llama.cpp, when it is one of a GGUF file. Raises ``InvalidRequest``."""
    stated = source.settings.get("framework")
    path = Path(source.location).expanduser()
    if stated not in (None, Framework.GGUF):
        return None
    if path.suffix != ".gguf":
        folder = read_folder(source.location)
        if stated is None and detect(folder) is not Framework.GGUF:
            return None
        path = _gguf_in(folder)
    settings = {name: value for name, value in source.settings.items() if name != "framework"}
    return Source(provider=LlamaCppProvider.name, location=str(path), settings=settings)


def _gguf_in(folder: Folder) -> Path:
    found = folder.top(".gguf")
    if len(found) != 1:
        raise refuse(f"{folder.root} must hold one .gguf file; it holds {', '.join(found[:5]) or 'none'}")
    return folder.root / found[0]


def _context(settings: Settings, facts: Facts) -> int:
    return settings.context or min(DEFAULT_CONTEXT, facts.context_length or DEFAULT_CONTEXT)


def _check_context(settings: Settings, facts: Facts) -> None:
    trained = facts.context_length
    if settings.context is not None and trained is not None and settings.context > trained:
        raise InvalidRequest(
            f"context {settings.context} is more than the {trained} tokens the model was made for",
            param="source.settings.context",
        )


def _interpreter(python: str) -> str:
    path = Path(python).expanduser()
    if not path.is_absolute() or not path.is_file() or not os.access(path, os.X_OK):
        raise InvalidRequest(
            f"there is no interpreter {python!r}; give the whole path, such as /home/me/venv/bin/python",
            param="source.settings.python",
        )
    return str(path)


def _check_installed(framework: Framework) -> None:
    missing = [name for name in NEEDS[framework].modules if importlib.util.find_spec(name) is None]
    if missing:
        raise LoadFailed(
            f"{framework} models need {' and '.join(missing)}, which is not installed: {install(framework, None)}, or "
            "name the interpreter of an environment that has it in the setting python"
        )


def _built_for_cuda(framework: Framework, settings: Settings) -> bool:
    """Whether the interpreter's torch is a build for CUDA, as its ``version.py`` says; true where that is not found."""
    if framework is not Framework.PYTORCH:
        return False
    if settings.python is None:
        spec = importlib.util.find_spec("torch")
        places = [Path(each) for each in spec.submodule_search_locations or ()] if spec is not None else []
    else:
        found = shutil.which(settings.python) or settings.python
        places = list(Path(found).parent.parent.glob("lib/python3*/site-packages/torch"))
    told = [(place / "version.py").read_text() for place in places if (place / "version.py").is_file()]
    return not told or any(_CUDA_BUILD.search(text) for text in told)


def _worker_device(settings: Settings, device: str) -> str:
    """What the worker is told. The pool knows NVIDIA's GPUs only; of others the framework is asked."""
    if device != RAM:
        return f"{nvml.CUDA}:0"
    if settings.device not in ("auto", RAM):
        return settings.device
    return "cpu" if settings.device == RAM or nvml.opened() is not None else "auto"


def _order(
    version: ModelVersion, settings: Settings, artifact: Artifact, python: str, device: str
) -> dict[str, object]:
    """All the worker needs to know; see its ``serving`` and the ``load`` of each backend."""
    package = artifact.weights.package
    return {
        "framework": artifact.framework,
        "path": str(artifact.folder.root),
        "package": None if package is None else str(artifact.folder.root / package),
        "python": python,
        "install": install(artifact.framework, settings.python),
        "alias": version.ref,
        "device": _worker_device(settings, device),
        "dtype": settings.dtype,
        "cpu_dtype": cpu_dtype(version.facts.quantization),
        "quantized": version.facts.quantization not in (None, "F64", "F32", "F16", "BF16"),
        "pickles": list(artifact.weights.pickles),
        "trust_remote_code": settings.trust_remote_code,
        "embedding": artifact.embedding,
        "context": _context(settings, version.facts),
        "threads": settings.threads or default_threads(psutil.cpu_count(logical=False) or 1),
        "chat_template": settings.chat_template,
        "chats": Capability.CHAT in version.facts.capabilities,
        "search": dict(artifact.search),
        "temperature": settings.temperature,
        "top_k": settings.top_k,
        "top_p": settings.top_p,
        "min_p": settings.min_p,
        "seed": settings.seed,
    }
