"""Makes a really worse version of a model: the same file with noise on the weights of its layers.

Reads and writes GGUF with the ``gguf`` package; every tensor keeps its type and size. Deterministic for a seed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, quants

SEED = 7


def worsen(source: Path, target: Path, noise: float) -> None:
    """Write ``source`` to ``target`` with Gaussian noise of ``noise`` standard deviations on each layer's weights."""
    rng = np.random.default_rng(SEED)
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind is GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    for tensor in reader.tensors:
        data = tensor.data
        if tensor.name.startswith("blk.") and tensor.tensor_type is not GGMLQuantizationType.F32:
            weights = quants.dequantize(data, tensor.tensor_type)
            weights += rng.standard_normal(weights.shape, dtype=np.float32) * (noise * weights.std())
            data = quants.quantize(weights, tensor.tensor_type)
        writer.add_tensor(tensor.name, data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
