"""Turns an encoder's hidden states into one vector per text, as the folder of the model says.

Source: the layout of sentence-transformers (``modules.json``, ``1_Pooling/config.json``). A folder without it gets the
mean over the tokens, of length one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .backend import CannotLoad

_BATCH = 16
_MODES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_max_tokens": "max",
}


@dataclass(frozen=True)
class Pooling:
    """``mode`` is mean, cls, last or max; ``normalize`` scales vectors to length one."""

    mode: str = "mean"
    normalize: bool = True

    def embed(self, torch: Any, model: Any, tokenizer: Any, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        """Vectors in 32 bits, in the order of ``inputs``, worked on in batches of ``_BATCH``."""
        made: list[list[float]] = []
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        for at in range(0, len(inputs), _BATCH):
            rows = inputs[at : at + _BATCH]
            width = max(map(len, rows))
            ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=model.device)
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
            with torch.inference_mode():
                hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            made += self._pool(torch, hidden, mask).tolist()
        return made

    def _pool(self, torch: Any, hidden: Any, mask: Any) -> Any:
        """(texts, tokens, width) to (texts, width)."""
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        if self.mode == "cls":
            pooled = hidden[:, 0]
        elif self.mode == "last":
            pooled = hidden[torch.arange(hidden.shape[0], device=hidden.device), mask.sum(1) - 1]
        elif self.mode == "max":
            pooled = hidden.masked_fill(weights == 0, float("-inf")).amax(1)
        else:
            pooled = (hidden * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(pooled, dim=1) if self.normalize else pooled


def pooling_of(folder: Path) -> Pooling:
    """What the folder says. Raises ``CannotLoad`` for steps this worker does not know (a dense layer after pooling)."""
    listed = folder / "modules.json"
    if not listed.is_file():
        return Pooling()
    modules = json.loads(listed.read_text())
    kinds = [str(each.get("type", "")).rpartition(".")[2] for each in modules]
    unknown = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
    if unknown:
        raise CannotLoad(f"modules.json names {', '.join(unknown)}, which this worker does not know")
    pooling = next((each for each in modules if str(each.get("type", "")).endswith("Pooling")), None)
    mode = "mean"
    if pooling is not None:
        said = json.loads((folder / str(pooling.get("path", "")) / "config.json").read_text())
        on = [name for key, name in _MODES.items() if said.get(key)]
        if len(on) != 1:
            raise CannotLoad(
                f"the pooling of this model ({', '.join(k for k, v in said.items() if v is True)}) is not known here"
            )
        mode = on[0]
    return Pooling(mode, "Normalize" in kinds)
