"""Which backend and precision would be chosen, from what tools and kernels print on other machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from podium.core.hardware_plan import Gain, Precision, gain, plan
from podium.domain.hardware import Backend, Found
from podium.host import readings

DATA = Path(__file__).parents[1] / "data" / "hardware"


def text(name: str) -> str:
    return (DATA / name).read_text()


def kfd(name: str) -> Found:
    found = readings.amd("/sys/class/kfd/kfd/topology/nodes/1", text(f"kfd_{name}.txt"), text("kfd_bank.txt"), "\n")
    assert found is not None
    return found


def mac() -> list[Found]:
    return readings.apple(text("system_profiler_m3.json"), readings.sysctl_facts(text("sysctl_m3.txt")))


def order(*found: Found, **more: object) -> list[tuple[Backend, Precision]]:
    return [(step.backend, step.precision) for step in plan(found, **more).steps]


@pytest.mark.requirement("PRV-8")
def test_cuda_comes_first_the_largest_card_before_others_in_the_precision_of_its_generation() -> None:
    found = readings.nvidia(text("nvidia_smi_two.csv"))
    assert [(one.name, one.memory_bytes, one.capability, one.card) for one in found] == [
        ("NVIDIA H100 80GB HBM3", 81559 << 20, (9, 0), "0000:18:00.0"),
        ("Tesla V100-SXM2-16GB", 16384 << 20, (7, 0), "0000:3b:00.0"),
    ]
    made = plan(found)
    assert [(step.device, step.precision) for step in made.steps] == [
        ("NVIDIA H100 80GB HBM3", Precision.BF16),
        ("Tesla V100-SXM2-16GB", Precision.FP16),
        ("cpu", Precision.FP32),
    ]
    assert "9.0" in made.first.why
    assert dict(made.left_out)[Backend.ROCM] == "not found"


def test_a_card_before_volta_is_used_in_32_bits() -> None:
    assert order(*readings.nvidia(text("nvidia_smi_old.csv")))[0] == (Backend.CUDA, Precision.FP32)


def test_a_driver_that_only_complains_is_no_card() -> None:
    assert readings.nvidia(text("nvidia_smi_failed.txt")) == []
    assert order() == [(Backend.CPU, Precision.FP32)]


@pytest.mark.requirement("PRV-8")
@pytest.mark.parametrize(
    ("name", "target", "precision"), [("mi300x", "gfx942", Precision.BF16), ("rx7900", "gfx1100", Precision.BF16)]
)
def test_rocm_cards_are_named_by_their_target(name: str, target: str, precision: Precision) -> None:
    card = kfd(name)
    assert (card.target, card.memory_bytes) == (target, 25753026560)
    assert order(card) == [(Backend.ROCM, precision), (Backend.CPU, Precision.FP32)]


def test_a_card_that_rocm_dropped_falls_to_vulkan_and_a_processor_is_no_card() -> None:
    old = kfd("rx580")
    seen = Found(backend=Backend.VULKAN, name="RX 580", memory_bytes=None, evidence="vulkaninfo", card=old.card)
    made = plan([old, seen])
    assert [step.backend for step in made.steps] == [Backend.VULKAN, Backend.CPU]
    assert "gfx803 is older" in dict(made.left_out)[Backend.ROCM]
    assert readings.amd("n", text("kfd_cpu.txt"), text("kfd_bank.txt"), "") is None


@pytest.mark.requirement("PRV-8")
def test_vulkan_comes_where_neither_cuda_nor_rocm_is_and_a_software_renderer_never() -> None:
    arc, llvmpipe = readings.vulkan(text("vulkaninfo_intel.txt"))
    assert (arc.name, arc.software, llvmpipe.software) == ("Intel(R) Arc(tm) A770 Graphics (DG2)", False, True)
    assert order(arc, llvmpipe) == [(Backend.VULKAN, Precision.FP16), (Backend.CPU, Precision.FP32)]
    assert "in disguise" in dict(plan([llvmpipe]).left_out)[Backend.VULKAN]
    both = order(arc, *readings.nvidia(text("nvidia_smi_two.csv")))
    assert [backend for backend, _ in both] == [Backend.CUDA, Backend.CUDA, Backend.VULKAN, Backend.CPU]


def test_one_card_seen_by_two_drivers_is_used_by_its_own() -> None:
    card = kfd("mi300x")
    assert card.card == "0000:05:00.0"
    seen = Found(backend=Backend.VULKAN, name="MI300X", memory_bytes=None, evidence="vulkaninfo", card=card.card)
    assert [backend for backend, _ in order(card, seen)] == [Backend.ROCM, Backend.CPU]


@pytest.mark.requirement("PRV-8")
def test_apple_silicon_takes_the_neural_engine_for_core_ml_else_metal_else_the_cpu() -> None:
    found = mac()
    assert {one.backend for one in found} == {Backend.METAL, Backend.ANE}
    assert "40 cores, metal3" in next(one.evidence for one in found if one.backend is Backend.METAL)
    features = readings.features_of_mac(readings.sysctl_facts(text("sysctl_m3.txt")))
    converted = order(*found, formats=["coreml", "gguf"], cpu_features=features)
    assert [backend for backend, _ in converted] == [Backend.ANE, Backend.METAL, Backend.CPU]
    assert order(*found, formats=["coreml"])[0] == (Backend.ANE, Precision.FP16)
    plain = plan(found, formats=["gguf"], cpu_features=features)
    assert [(step.backend, step.precision) for step in plain.steps] == [
        (Backend.METAL, Precision.FP16),
        (Backend.CPU, Precision.BF16),
    ]
    assert "Core ML only" in dict(plain.left_out)[Backend.ANE]


@pytest.mark.parametrize("profile", ["", "not json", "[]", "{}"])
def test_a_mac_whose_profiler_says_nothing_has_no_metal_for_sure_and_an_intel_mac_no_neural_engine(
    profile: str,
) -> None:
    found = readings.apple(profile, readings.sysctl_facts(text("sysctl_m3.txt")))
    assert [one.backend for one in found] == [Backend.ANE]
    assert readings.apple(profile, readings.sysctl_facts(text("sysctl_intel_mac.txt"))) == []


@pytest.mark.requirement("PRV-8")
def test_instructions_of_the_processor_decide_its_precision() -> None:
    xeon = readings.features(text("cpuinfo_sapphire.txt"))
    assert {"AVX2", "AVX512", "AMX-BF16"} <= set(readings.feature_names(xeon))
    assert order(cpu_features=xeon) == [(Backend.CPU, Precision.BF16)]
    arm = readings.features(text("cpuinfo_graviton.txt"))
    assert {"NEON", "NEON-FP16", "SVE"} <= set(readings.feature_names(arm))
    assert order(cpu_features=[flag for flag in arm if flag != "bf16"]) == [(Backend.CPU, Precision.FP16)]
    assert readings.features("") == ()


def test_a_gain_is_what_was_measured() -> None:
    assert gain(10.0, 2.0, 400.0, 100.0) == Gain(5.0, 0.25, worth_it=True)
    assert gain(10.0, 9.9) == Gain(10.0 / 9.9, None, worth_it=False)
    with pytest.raises(ValueError, match="above 0"):
        gain(0.0, 1.0)
